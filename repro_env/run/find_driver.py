"""NVIDIA's driver on this machine: where its nodes and libraries are. Nothing of it is opened."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from repro_env.edges import process
from repro_env.edges.host import read_text
from repro_env.errors import ToolError
from repro_env.run.driver import DriverFiles, Library, chosen, listed
from repro_env.run.gpus import GpuDevice, GpuGrant

_ANSWER_SECONDS = 20.0

_CONTROL = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")

_DIRECTORIES = (
    "usr/local/nvidia/lib64",  # where Kubernetes' device plugins put them
    "run/opengl-driver/lib",  # NixOS
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/lib",
)
"""Where libraries are looked for that the loader's cache does not list."""

_PREFIXES = ("libcuda", "libnv", "libvdpau_nvidia")
"""What the names of the driver's libraries begin with. Those of few others do."""

_PROGRAMS = ("usr/bin", "usr/local/nvidia/bin", "run/current-system/sw/bin", "usr/local/bin")


def find_driver(grant: GpuGrant, *, root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> DriverFiles:
    """Return what this machine has for a grant, of a driver that is installed below `root`.

    `environ` is the caller's, whose `LD_LIBRARY_PATH` may be where the libraries are.
    """
    _load_unified_memory(root, environ)
    nodes = _nodes(grant, root)
    cached = list(_cached(root))
    asked = map(Path, filter(None, environ.get("LD_LIBRARY_PATH", "").split(":")))
    usual = (root / place for place in _DIRECTORIES)
    found = [*_libraries_in(asked), *cached, *_libraries_in(usual)]  # in the order in which the loader looks
    libraries = chosen(found, grant.driver, grant.capabilities)
    cuda = next((one for one in libraries if one.name == "libcuda.so.1"), None)
    smi = next((root / place / "nvidia-smi" for place in _PROGRAMS if (root / place / "nvidia-smi").exists()), None)
    return DriverFiles(
        nodes=tuple(node for node in nodes if node.exists()),
        libraries=libraries,
        smi=smi,
        unlisted=cuda.file.parent if cuda is not None and cuda not in cached else None,
        lacking=_lacking(nodes, libraries, root),
    )


def _load_unified_memory(root: Path, environ: Mapping[str, str]) -> None:
    """Have the node that CUDA needs and that the driver makes at a program's first use of it, which a sandbox forbids.

    The program is the driver's own and may do so for every user. Source: nvidia-modprobe(1).
    """
    program = shutil.which("nvidia-modprobe", path=environ.get("PATH", ""))
    if program and (root / "dev/nvidiactl").exists() and not (root / "dev/nvidia-uvm").exists():
        with contextlib.suppress(ToolError):
            process.run([program, "-c", "0", "-u"], timeout=_ANSWER_SECONDS, env=environ, check=False)


def _nodes(grant: GpuGrant, root: Path) -> list[Path]:
    """Return where the nodes should be: the driver's own, and each granted device's."""
    minors = sorted({device.index if device.minor is None else device.minor for device in grant.devices})
    names = [*_CONTROL, *(f"nvidia{minor}" for minor in minors)]
    for device in grant.devices:
        names += [f"nvidia-caps/nvidia-cap{number}" for number in _capabilities(device, root)]
    return [root / "dev" / name for name in dict.fromkeys(names)]


def _capabilities(device: GpuDevice, root: Path) -> Iterator[str]:
    """Yield the numbers of the nodes by which the driver lets a program use a MIG instance.

    Source: NVIDIA's MIG user guide, "Device nodes and capabilities".
    """
    if not device.instance:
        return
    whole = device.index if device.minor is None else device.minor
    gpu = root / f"proc/driver/nvidia/capabilities/gpu{whole}/mig/gi{device.instance[0]}"
    for place in (gpu, *(gpu / f"ci{number}" for number in device.instance[1:])):
        match = re.search(r"DeviceFileMinor:\s*(\d+)", read_text(place / "access"))
        if match:
            yield match[1]


def _cached(root: Path) -> Iterator[Library]:
    """Yield the libraries that the loader finds by itself."""
    for name, path in listed(_loader_cache(root), os.uname().machine):
        if name.startswith(_PREFIXES):
            yield from _library(name, root / path.lstrip("/"))


def _loader_cache(root: Path) -> str:
    """Return what ldconfig lists, or nothing where there is no such program or no cache, as with musl."""
    program = next((place for place in ("/sbin/ldconfig", "/usr/sbin/ldconfig") if os.path.exists(place)), "ldconfig")
    with contextlib.suppress(ToolError):
        cache = root / "etc/ld.so.cache"
        return process.run([program, "-C", cache, "-p"], timeout=_ANSWER_SECONDS, check=False).stdout
    return ""


def _libraries_in(directories: Iterable[Path]) -> Iterator[Library]:
    for directory in directories:
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(directory)):
                if name.startswith(_PREFIXES) and ".so." in name:
                    yield from _library(name, directory / name)


def _library(name: str, path: Path) -> Iterator[Library]:
    with contextlib.suppress(OSError):
        yield Library(name, path.resolve(strict=True))


def _lacking(nodes: list[Path], libraries: tuple[Library, ...], root: Path) -> str:
    """Return what is missing, for people."""
    needed = [node for node in nodes if re.fullmatch(r"nvidia(ctl|-uvm|\d+)", node.name)]
    absent = [str(node) for node in needed if not node.exists()]
    if absent and (root / "dev/dxg").exists():
        return "this is WSL, which has no device node for each GPU"
    if absent:
        made = ": make it with `sudo nvidia-modprobe -c 0 -u`" if absent[0].endswith("nvidia-uvm") else ""
        return f"there is no device node {absent[0]}{made}"
    if not any(library.name == "libcuda.so.1" for library in libraries):
        return "the driver's library libcuda.so.1 was not found"
    return ""
