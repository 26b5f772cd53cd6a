"""A host's facts, from the kernel."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from repro_env.edges.host import read_machine, read_text
from repro_env.verify.facts import Host

# Of the x86-64 psABI, table "Micro-Architecture Levels", in the kernel's names of the flags; abm stands for lzcnt.
_LEVELS = (
    {"lm", "cmov", "cx8", "fpu", "fxsr", "mmx", "syscall", "sse", "sse2"},
    {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"},
    {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"},
    {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
)
_GROUPS = "sys/fs/cgroup"
_MEMORY_LIMITS = ("memory.max", "memory.limit_in_bytes")


def read_host(project: Path, root: Path = Path("/")) -> Host:
    """Return what this machine gives to a process of this one's limits, with the disk that `project` is on."""
    machine = read_machine(root)
    return Host(
        kernel=machine.kernel,
        architecture=machine.architecture,
        processor=machine.processor,
        cpus=_cpus(machine.cpus, root),
        memory=min([machine.memory, *_memory_limits(root)]),
        disk=_size(project, free=True),
        shm=_size(root / "dev/shm", free=False),
        cpu_level=cpu_level(machine.flags) if machine.architecture == "x86_64" else 0,
        infiniband=_infiniband(root / "sys/class/infiniband"),
    )


def cpu_level(flags: frozenset[str]) -> int | None:
    """Return the highest x86-64 level that all flags of are there, None where there are no flags."""
    if not flags:
        return None
    level = 0
    for needed in _LEVELS:
        if not needed <= flags:
            break
        level += 1
    return level


def _cpus(usable: int, root: Path) -> int:
    """Return how many processors' time this process may use: control groups may give less than those it may run on."""
    quotas = [read_text(group / "cpu.max").split() for group in _control_groups("cpu", root)]
    quotas += [
        [read_text(group / name).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
        for group in _control_groups("cpu", root)
    ]
    limits = [int(quota[0]) // int(quota[1]) for quota in quotas if _is_quota(quota)]
    return max(1, min([usable, *limits]))


def _is_quota(words: Sequence[str]) -> bool:
    """Whether these are two numbers of microseconds, of each period; without a limit the first is `max` or -1."""
    return len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]) > 0  # noqa: PLR2004 - a pair


def _memory_limits(root: Path) -> list[int]:
    found = []
    for group in _control_groups("memory", root):
        for name in _MEMORY_LIMITS:
            with contextlib.suppress(ValueError):
                found.append(int(read_text(group / name)))
    return found


def _control_groups(controller: str, root: Path) -> list[Path]:
    """Return where the limits of this process stand: its own control group and all above, of both versions.

    In a container the kernel may tell a path that is not there, because the container's own group is mounted at the
    top: that counts always. Source: cgroups(7), "/proc/pid/cgroup".
    """
    mounts = {"": root / _GROUPS, controller: root / _GROUPS / controller}
    found = list(mounts.values())
    for line in read_text(root / "proc/self/cgroup").splitlines():
        _number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        for name in {"", controller}.intersection(names.split(",")):
            group = mounts[name]
            for part in path.split("/"):
                if part not in {"", ".."}:
                    group /= part
                    found.append(group)
    return found


def _size(path: Path, *, free: bool) -> int | None:
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_frsize * (found.f_bavail if free else found.f_blocks)


def _infiniband(devices: Path) -> tuple[str, ...]:
    """Return the devices with an active port of InfiniBand. Source: the kernel's sysfs-class-infiniband.

    Network cards for Ethernet that know RDMA stand there as well.
    """
    try:
        names = sorted(os.listdir(devices))
    except OSError:
        return ()
    return tuple(name for name in names if any(map(_is_active, (devices / name).glob("ports/*"))))


def _is_active(port: Path) -> bool:
    layer = read_text(port / "link_layer").strip()  # kernels before 2.6.37 had no other
    return read_text(port / "state").strip().endswith("ACTIVE") and layer in {"", "InfiniBand"}
