"""The Container Device Interface: which NVIDIA GPUs this machine's specifications describe to container engines.

Source: https://github.com/cncf-tags/container-device-interface, SPEC.md, version 0.8; `nvidia-ctk cdi generate`.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from repro_env.run.gpus import GpuDevice, GpuGrant, Passing, selection

KIND = "nvidia.com/gpu"
DIRECTORIES = (Path("/etc/cdi"), Path("/var/run/cdi"))
"""Where engines look unless they are told otherwise."""

HINT = "describe them with NVIDIA's container toolkit: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"

_ITEM = re.compile(r"(\s*)- .*")
_FIELD = re.compile(r"(\s*)(\w+):\s*(.*)")


def described(directories: Iterable[Path] = DIRECTORIES) -> frozenset[str]:
    """Return the names of the NVIDIA GPUs that the specifications in these directories describe: `0`, `GPU-...`, `all`.

    What cannot be read describes nothing.
    """
    names: set[str] = set()
    for directory in directories:
        for path in sorted((*directory.glob("*.yaml"), *directory.glob("*.json"))):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                names |= device_names(path.read_text("utf-8"))
    return frozenset(names)


def device_names(text: str) -> frozenset[str]:
    """Return the names of the devices that one specification of `KIND` describes, in JSON or as YAML in block style.

    A full reader of YAML is not needed for what `nvidia-ctk` writes; a specification written otherwise, in flow style
    say, is taken to describe nothing.
    """
    with contextlib.suppress(ValueError):
        return _json_names(json.loads(text))
    if not re.search(rf"^kind:\s*[\"']?{re.escape(KIND)}[\"']?\s*$", text, re.MULTILINE):
        return frozenset()
    return frozenset(_yaml_names(text.splitlines()))


def _json_names(document: object) -> frozenset[str]:
    if not isinstance(document, dict) or document.get("kind") != KIND:
        return frozenset()
    devices = document.get("devices")
    entries = devices if isinstance(devices, list) else []
    return frozenset(str(entry["name"]) for entry in entries if isinstance(entry, dict) and "name" in entry)


def _yaml_names(lines: Iterable[str]) -> Iterator[str]:
    """Yield the `name` of each item of the top-level list `devices`: a key two columns in."""
    inside, depth = False, None
    for line in lines:
        if re.match(r"\w", line):
            inside, depth = line.startswith("devices:"), None
            continue
        item = _ITEM.fullmatch(line)
        if inside and item and depth is None:
            depth = len(item[1])
        field = _FIELD.fullmatch(line.replace("- ", "  ", 1) if item and len(item[1]) == depth else line)
        if inside and field and depth is not None and len(field[1]) == depth + 2 and field[2] == "name":
            yield field[3].strip().strip("\"'")


def passing(grant: GpuGrant, known: Collection[str]) -> Passing | None:
    """Return how an engine brings in the granted devices by name, or None where not all of them are described.

    A UUID names a device whatever is added to the machine later, so it goes before an index. `all` stands for them only
    where there are no others, as on WSL, whose specification has no other name.
    """
    found = [next((name for name in _names(device) if name in known), "") for device in grant.devices]
    if not all(found):
        found = ["all"] if grant.everything and "all" in known else []
    if not found:
        return None
    # `void`: the specification has brought the devices in, and an engine's NVIDIA runtime is to bring no others.
    variables = {"NVIDIA_VISIBLE_DEVICES": "void", **selection(grant, renumbered=True)}
    return Passing(how="by CDI", names=tuple(f"{KIND}={name}" for name in found), variables=variables)


def _names(device: GpuDevice) -> tuple[str, ...]:
    """Return what a specification may call a device; an instance of MIG is told by its UUID alone."""
    return (device.uuid,) if device.is_mig else (device.uuid, str(device.index))
