"""What the kernel and the distribution say of this machine."""

from __future__ import annotations

import os
from pathlib import Path

from repro_env.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine. `cpus` are those that this process may use, `memory` is in bytes; what is not said is empty."""

    system: str
    kernel: str
    architecture: str
    processor: str
    flags: frozenset[str]
    cpus: int
    memory: int


def read_machine(root: Path = Path("/")) -> Machine:
    """Read `/etc/os-release`, `/proc/cpuinfo` and what the kernel answers."""
    names = os.uname()
    processor = read_text(root / "proc/cpuinfo")
    return Machine(
        system=_assignment(read_text(root / "etc/os-release"), "PRETTY_NAME"),
        kernel=names.release,
        architecture=names.machine,
        processor=_field(processor, "model name"),
        flags=frozenset(_field(processor, "flags").split()),
        cpus=len(os.sched_getaffinity(0)),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


def read_text(path: Path) -> str:
    """Return a small file of the kernel's, or nothing where it cannot be read."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _assignment(text: str, name: str) -> str:
    found = (line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{name}="))
    return next(found, "").strip("\"'")


def _field(text: str, name: str) -> str:
    found = (line.partition(":")[2] for line in text.splitlines() if line.startswith(name))
    return next(found, "").strip()
