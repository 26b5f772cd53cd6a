"""What a step asks of the machine it runs on: `[step.X.gpu]` and `[step.X.host]`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import List, Union

from repro_env.config.versions import VersionRange
from repro_env.frozen import dataclass
from repro_env.sizes import format_size, parse_size

ARCHITECTURES = ("x86_64", "aarch64")
CPU_LEVELS = ("x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4")
"""The microarchitecture levels of the x86-64 psABI. Source: https://gitlab.com/x86-psABIs/x86-64-ABI"""

SIZES = frozenset({"memory", "disk", "shm"})
"""The keys of both tables whose numbers are bytes."""

_NEWEST = 30
"""A major version that no compute capability has: 70 was meant to be 7.0."""

_MIG_SINCE = "8.0"
"""The compute capability of the first GPUs that have MIG. Source: NVIDIA's MIG user guide, "Supported GPUs"."""

_MIG = re.compile(r"(?:[1-9]c\.)?[1-9]g\.([1-9]\d{0,3})gb(?:[+-][a-z.]+)?\Z")
_MOST = 10**6

Plain = Union[str, int, bool, List[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRequest:
    """What every GPU that the step can see must be, and that there are at least `count` of them.

    `names` are models of which each must be one, compared as `name_matches` does; `memory` is in bytes, 0 for any;
    `mig` is the profile of a MIG instance, such as `1g.10gb`; `nvlink` and `peer_access` are between every two GPUs.
    """

    count: int = 1
    names: tuple[str, ...] = ()
    memory: int = 0
    compute_capability: VersionRange = field(default_factory=VersionRange)
    driver: VersionRange = field(default_factory=VersionRange)
    mig: str = ""
    nvlink: bool = False
    peer_access: bool = False
    ecc: bool = False

    def to_dict(self) -> dict[str, Plain]:
        """Return what is asked by the keys of `repro.toml`; sizes in bytes, what is as by default left out."""
        values: Mapping[str, Plain] = {
            "count": self.count,
            "names": list(self.names),
            "memory": self.memory,
            "compute-capability": str(self.compute_capability),
            "driver": str(self.driver),
            "mig": self.mig,
            "nvlink": self.nvlink,
            "peer-access": self.peer_access,
            "ecc": self.ecc,
        }
        return {key: value for key, value in values.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRequest:
    """What the machine around the GPUs must be. Sizes are in bytes; 0 and empty ask for nothing.

    `disk` is free space where the project is, `shm` the size of `/dev/shm`, `cpu` one of `CPU_LEVELS`.
    """

    cpus: int = 0
    memory: int = 0
    disk: int = 0
    shm: int = 0
    kernel: VersionRange = field(default_factory=VersionRange)
    architecture: str = ""
    cpu: str = ""
    infiniband: bool = False

    def to_dict(self) -> dict[str, Plain]:
        """Return what is asked by the keys of `repro.toml`; sizes in bytes, what asks for nothing left out."""
        values: Mapping[str, Plain] = {
            "cpus": self.cpus,
            "memory": self.memory,
            "disk": self.disk,
            "shm": self.shm,
            "kernel": str(self.kernel),
            "architecture": self.architecture,
            "cpu": self.cpu,
            "infiniband": self.infiniband,
        }
        return {key: value for key, value in values.items() if value}


def amount(text: str) -> int:
    """Return bytes for `40GiB` or `>=40GiB`, which mean the same. Errors: `ValueError`, also for nothing at all."""
    size = parse_size(re.sub(r"\A>=", "", text.strip()))
    if size <= 0:
        raise ValueError("expected more than nothing")
    return size


def mig_profile(text: str) -> str:
    """Return the name of a MIG profile: `1g.10gb`, `1c.3g.40gb` of a compute instance, `1g.24gb+gfx`.

    Source: NVIDIA's MIG user guide, "MIG Device Names" and "Supported MIG Profiles".
    """
    if not _MIG.match(text):
        raise ValueError(f'expected a MIG profile such as "1g.10gb", found "{text}"')
    return text


def gpu_name(text: str) -> str:
    """Return the name of a GPU model, or enough of it."""
    if not _words(text):
        raise ValueError(f'expected a model such as "H100" or "A100 80GB", found "{text}"')
    return text


def architecture(text: str) -> str:
    """Return a processor architecture as the kernel calls it."""
    if text not in ARCHITECTURES:
        raise ValueError(f'expected one of {", ".join(ARCHITECTURES)}, found "{text}"')
    return text


def cpu_level(text: str) -> str:
    """Return a microarchitecture level."""
    if text not in CPU_LEVELS:
        raise ValueError(f'expected one of {", ".join(CPU_LEVELS)}, found "{text}"')
    return text


def name_matches(wanted: str, found: str) -> bool:
    """Whether a device's name has all words of the wanted one, in that order: `A100 80GB` is `A100-SXM4-80GB`.

    Words are whole, so that `L4` is no `L40S`.
    """
    words = iter(_words(found))
    return all(word in words for word in _words(wanted))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def gpu_contradictions(gpu: GpuRequest) -> Iterator[tuple[str, str]]:
    """Yield what no machine can have at once, as a key and why."""
    for clause in gpu.compute_capability.clauses:
        number, *more = clause.text.split(".")
        if int(number) >= _NEWEST and not more and clause.operator not in {"<", "<=", "!="}:
            yield "compute-capability", f"there is no {number}: sm_{number} is {int(number) // 10}.{int(number) % 10}"
    for key, asked in (("nvlink", gpu.nvlink), ("peer-access", gpu.peer_access)):
        if asked and gpu.count == 1:
            yield key, "is between GPUs, and count asks for one"
        if asked and gpu.mig:
            yield key, "is not between MIG instances"
    if gpu.mig and not gpu.compute_capability.meets(f">={_MIG_SINCE}"):
        yield "mig", f"begins with compute capability {_MIG_SINCE}, and compute-capability is {gpu.compute_capability}"
    profile = _MIG.match(gpu.mig)
    most = int(profile[1]) * 10**9 * 11 // 10 if profile else 0  # a profile's name is rounded, in GB or GiB
    if profile and gpu.memory > most:
        yield "memory", f"a {gpu.mig} instance has less than {format_size(gpu.memory)}"


def host_contradictions(host: HostRequest) -> Iterator[tuple[str, str]]:
    """Yield what no machine can have at once, as a key and why."""
    if host.cpu and host.architecture == "aarch64":
        yield "cpu", f"{host.cpu} is of x86_64, and architecture is aarch64"
    if host.shm and host.memory and host.shm > host.memory:
        yield "shm", "is memory, and more than memory asks for"


def count(number: int) -> int:
    """Return a number of things that a machine may have. Errors: `ValueError`."""
    if not 1 <= number <= _MOST:
        raise ValueError(f"expected a number from 1 to {_MOST}, found {number}")
    return number
