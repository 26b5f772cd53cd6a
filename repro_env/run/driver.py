"""What of NVIDIA's driver a step needs beside its image: device nodes, libraries, nvidia-smi.

This is what NVIDIA's container toolkit would bring in, for machines that have the driver and not the toolkit. Only
files of the driver itself are passed: what CUDA loads of them needs nothing but the C library, and not a new one, so
that they run in images that are older or newer than this machine.

Sources: libnvidia-container, `nvc_info.c` (its lists of libraries); ldconfig(8); NVIDIA's driver documentation,
"Listing of Installed Components" and the MIG user guide, "Device nodes and capabilities".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from repro_env.frozen import dataclass
from repro_env.run.gpus import LIBRARIES, PROGRAMS, GpuGrant, Node, Passing, selection
from repro_env.run.mounts import Mount

_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "utility": ("libnvidia-ml", "libnvidia-cfg", "libnvidia-nscq", "libnvidia-sandboxutils"),
    "compute": (
        "libcuda",
        "libcudadebugger",
        "libnvidia-allocator",
        "libnvidia-compiler",
        "libnvidia-fatbinaryloader",
        "libnvidia-gpucomp",
        "libnvidia-nvvm",
        "libnvidia-nvvm70",
        "libnvidia-opencl",
        "libnvidia-pkcs11",
        "libnvidia-pkcs11-openssl3",
        "libnvidia-ptxjitcompiler",
    ),
    "video": ("libnvcuvid", "libnvidia-encode", "libnvidia-opticalflow", "libvdpau_nvidia"),
}
"""Libraries by what of `NVIDIA_DRIVER_CAPABILITIES` brings them."""

_LISTED = re.compile(r"\s*(\S+) \(([^)]*)\) => (\S+)")
_SHARED = re.compile(r"(lib[\w+-]+?)\.so((?:\.\d+)+)")
_LOADER_NAMES = {"x86_64": "x86-64", "aarch64": "AArch64"}


@dataclass(frozen=True, slots=True, order=True)
class Library:
    """A shared library under a name that it can be loaded by, and the file which that name leads to."""

    name: str
    file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverFiles:
    """What this machine has for one grant.

    `nodes` are device nodes: the driver's own, those of the granted GPUs, and of their MIG instances. `unlisted` is the
    directory of `libcuda.so.1` where this machine's loader does not find it by itself. `lacking` says what was not
    found without which no program of CUDA works, or nothing.
    """

    nodes: tuple[Path, ...] = ()
    libraries: tuple[Library, ...] = ()
    smi: Path | None = None
    unlisted: Path | None = None
    lacking: str = ""


def listed(text: str, machine: str) -> Iterator[tuple[str, str]]:
    """Yield name and path of each library of this architecture that `ldconfig -p` lists."""
    loader = _LOADER_NAMES.get(machine, machine)
    for name, kind, path in (match.groups() for match in map(_LISTED.fullmatch, text.splitlines()) if match):
        if loader in kind.split(","):
            yield name, path


def chosen(found: Iterable[Library], version: str, wanted: Iterable[str]) -> tuple[Library, ...]:
    """Return the libraries that a step gets, for these capabilities, sorted by name.

    Those of the driver's own version go before those of another, as a compat package has; of one name the first that is
    found is taken, as by the loader; and of one library the names with one number, `libcuda.so.1`, which programs load
    it by. `libnvidia-gpucomp` has only a longer one.
    """
    families = {family for name in _expanded(wanted) for family in _FAMILIES.get(name, ())}
    grouped: dict[str, list[Library]] = {}
    for library in found:
        match = _SHARED.fullmatch(library.name)
        if match and match[1] in families:
            grouped.setdefault(match[1], []).append(library)
    kept = (library for group in grouped.values() for library in _of_one(group, version))
    return tuple(sorted(kept))


def _expanded(wanted: Iterable[str]) -> frozenset[str]:
    words = frozenset(wanted)
    return words | frozenset(_FAMILIES) if "all" in words else words


def _of_one(group: Sequence[Library], version: str) -> list[Library]:
    same = [library for library in group if version and library.file.name.endswith(f".so.{version}")]
    short = [library for library in same or group if library.name.rpartition(".so.")[2].isdigit()]
    first: dict[str, Library] = {}
    for library in short or same or group:
        first.setdefault(library.name, library)
    return list(first.values())


def passing(grant: GpuGrant, files: DriverFiles) -> Passing:
    """Return how a step gets the granted devices from nodes and files of this machine."""
    mounts = {f"{LIBRARIES}/{library.name}": library.file for library in files.libraries}
    paths = {"LD_LIBRARY_PATH": LIBRARIES}
    # Compilers that link against the driver ask for the name without a number.
    mounts |= {f"{LIBRARIES}/libcuda.so": one.file for one in files.libraries if one.name == "libcuda.so.1"}
    if files.smi is not None:
        mounts[f"{PROGRAMS}/nvidia-smi"] = files.smi
        paths["PATH"] = PROGRAMS
    return Passing(
        how=f"as {len(files.nodes)} device nodes and {len(files.libraries)} libraries of this machine's driver",
        nodes=tuple(Node(source=node, target=_in_dev(node)) for node in files.nodes),
        mounts=tuple(Mount(source=file, target=target) for target, file in mounts.items()),
        # `void`: an engine's NVIDIA runtime, where it is the default, is to bring in nothing of its own.
        variables={"NVIDIA_VISIBLE_DEVICES": "void", **selection(grant, renumbered=True)},
        paths=paths,
    )


def _in_dev(node: Path) -> str:
    """Return where a node stands in a step's `/dev`, wherever the driver keeps its own."""
    return "/dev/" + str(node).rpartition("/dev/")[2]
