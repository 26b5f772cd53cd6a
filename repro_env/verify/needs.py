"""What a step needs of a machine, as its image carries it: a slice of the lock that can be judged with nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, field
from typing import TYPE_CHECKING, Any

from repro_env.config.machine import GpuRequest, HostRequest
from repro_env.config.versions import VersionRange
from repro_env.frozen import dataclass
from repro_env.lock.cuda import CudaCompat, CudaFacts, CudaLibrary
from repro_env.verify.cuda_check import is_bridged
from repro_env.verify.door import Door, count, flag, indices, items
from repro_env.verify.facts import Facts
from repro_env.verify.findings import NAMES, Finding, met, not_met, unknown
from repro_env.verify.gpu_checks import check_gpu
from repro_env.verify.host_checks import check_host
from repro_env.verify.kernels import Library, check_kernels
from repro_env.verify.require import check_require

if TYPE_CHECKING:
    from typing import Self

VERSION = 1
"""Of the document that an image holds."""

MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
"""Platforms, and how the kernel calls their processors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one step needs on one platform, `linux/amd64`.

    `gpu` and `host` are what it asks for. The others follow from what is locked, and count for a step with `gpu` alone:
    without one its programs may run on the CPU. `require` are the variables of the base's image that speak to NVIDIA's
    container toolkit; `libraries` carry code for GPUs, None where that is not known because nothing was built yet.
    """

    project: str
    step: str
    platform: str
    gpu: GpuRequest | None = None
    host: HostRequest | None = None
    cuda: CudaFacts | None = None
    compat: CudaCompat | None = None
    require: Mapping[str, str] = field(default_factory=dict)
    libraries: tuple[Library, ...] | None = None

    @property
    def asks(self) -> bool:
        """Whether anything is asked of the machine but its platform."""
        return self.gpu is not None or self.host is not None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document, without what is empty."""
        values = {
            "project": self.project,
            "step": self.step,
            "platform": self.platform,
            "gpu": None if self.gpu is None else self.gpu.to_dict(),
            "host": None if self.host is None else self.host.to_dict(),
            "cuda": None if self.cuda is None else asdict(self.cuda),
            "compat": None if self.compat is None else asdict(self.compat),
            "require": dict(self.require) or None,
            "libraries": None if self.libraries is None else [asdict(one) for one in self.libraries],
        }
        return {"version": VERSION, **{key: value for key, value in values.items() if value is not None}}

    @classmethod
    def from_dict(cls, document: object) -> Self:
        """Read a JSON document. Errors: `ValueError` that names the key which is wrong."""
        door = Door(document, "needs")
        door.format(VERSION, of="a step's needs")
        platform = door.text("platform")
        if platform not in MACHINES:
            raise ValueError(f"needs.platform: expected one of {', '.join(MACHINES)}, found {platform!r}")
        libraries = door.maybe("libraries", items)
        return cls(
            project=door.text("project"),
            step=door.text("step"),
            platform=platform,
            gpu=door.maybe("gpu", _gpu),
            host=door.maybe("host", _host),
            cuda=door.maybe("cuda", _cuda),
            compat=door.maybe("compat", _compat),
            require=door.mapping("require"),
            libraries=None if libraries is None else tuple(map(Library.from_dict, libraries)),
        )


def check(needs: Needs, facts: Facts) -> tuple[Finding, ...]:
    """Return a finding for each of a step's needs, in the order of `findings.NAMES`."""
    found = sorted(_findings(needs, facts), key=lambda finding: NAMES.index(finding.name))
    return tuple(found)


def wrong_platform(needed: str, facts: Facts) -> Finding:
    """Return the finding of a machine that is of none of the platforms that a step is locked for."""
    if not facts.host.architecture:
        return unknown("platform", needed, "the facts do not tell the processor's architecture")
    hint = "add the machine's platform to [project] platforms and lock"
    return not_met("platform", needed, facts.host.architecture, hint=hint)


def _findings(needs: Needs, facts: Facts) -> Iterator[Finding]:
    if facts.host.architecture != MACHINES[needs.platform]:
        yield wrong_platform(needs.platform, facts)
        return
    yield met("platform", needs.platform, needs.platform)
    if needs.gpu is not None:
        yield from check_gpu(needs.gpu, needs.cuda, facts, needs.compat)
        if not facts.no_driver:
            bridge = needs.compat if needs.compat is not None and is_bridged(needs.compat, facts) else None
            yield from check_kernels(needs.libraries or (), facts, bridge.cuda if bridge else "")
            yield from check_require(needs.require, facts)
    if needs.host is not None:
        yield from check_host(needs.host, facts.host)


def _gpu(values: object) -> GpuRequest:
    door = Door(values, "gpu")
    return GpuRequest(
        count=door.maybe("count", count) or 1,
        names=door.texts("names"),
        memory=door.maybe("memory", count) or 0,
        compute_capability=_range(door, "compute-capability"),
        driver=_range(door, "driver"),
        mig=door.text("mig"),
        nvlink=door.maybe("nvlink", flag) or False,
        peer_access=door.maybe("peer-access", flag) or False,
        ecc=door.maybe("ecc", flag) or False,
    )


def _host(values: object) -> HostRequest:
    door = Door(values, "host")
    return HostRequest(
        cpus=door.maybe("cpus", count) or 0,
        memory=door.maybe("memory", count) or 0,
        disk=door.maybe("disk", count) or 0,
        shm=door.maybe("shm", count) or 0,
        kernel=_range(door, "kernel"),
        architecture=door.text("architecture"),
        cpu=door.text("cpu"),
        infiniband=door.maybe("infiniband", flag) or False,
    )


def _range(door: Door, key: str) -> VersionRange:
    text = door.text(key)
    return VersionRange.parse(text) if text else VersionRange()


def _cuda(values: object) -> CudaFacts:
    door = Door(values, "cuda")
    runtime = door.version("runtime")
    if not runtime:
        raise ValueError("cuda.runtime is missing")
    return CudaFacts(
        runtime=runtime,
        origin=door.text("origin"),
        others=door.texts("others"),
        driver=door.version("driver"),
        whole_driver=door.version("whole_driver"),
        libraries=tuple(map(_cuda_library, door.maybe("libraries", items) or ())),
    )


def _compat(values: object) -> CudaCompat:
    door = Door(values, "compat")
    branches = door.maybe("branches", indices) or ()
    driver, cuda = door.version("driver"), door.version("cuda")
    return CudaCompat(cuda=cuda or "0", driver=driver or "0", branches=branches, path=door.text("path"))


def _cuda_library(values: object) -> CudaLibrary:
    door = Door(values, "libraries")
    return CudaLibrary(name=door.text("name"), version=door.text("version"), origin=door.text("origin"))
