"""`[step.X.gpu]` and `[step.X.host]` of a lock: written, read and compared by the same keys as in `repro.toml`."""

from __future__ import annotations

from repro_env.config import machine
from repro_env.config.machine import GpuRequest, HostRequest
from repro_env.config.versions import VersionRange
from repro_env.lock.fields import Fields
from repro_env.sizes import format_asked


def read_gpu(step: Fields) -> GpuRequest | None:
    """Take a step's `gpu` table. Errors: `InvalidLockError`."""
    if not step.has("gpu"):
        return None
    fields = step.table("gpu")
    gpu = GpuRequest(
        count=fields.number("count"),
        names=fields.texts("names", check=machine.gpu_name) if fields.has("names") else (),
        memory=_number(fields, "memory"),
        compute_capability=_versions(fields, "compute-capability"),
        driver=_versions(fields, "driver"),
        mig=fields.parsed("mig", machine.mig_profile) if fields.has("mig") else "",
        nvlink=fields.flag("nvlink"),
        peer_access=fields.flag("peer-access"),
        ecc=fields.flag("ecc"),
    )
    fields.done()
    return gpu


def read_host(step: Fields) -> HostRequest | None:
    """Take a step's `host` table. Errors: `InvalidLockError`."""
    if not step.has("host"):
        return None
    fields = step.table("host")
    host = HostRequest(
        cpus=_number(fields, "cpus"),
        memory=_number(fields, "memory"),
        disk=_number(fields, "disk"),
        shm=_number(fields, "shm"),
        kernel=_versions(fields, "kernel"),
        architecture=fields.parsed("architecture", machine.architecture) if fields.has("architecture") else "",
        cpu=fields.parsed("cpu", machine.cpu_level) if fields.has("cpu") else "",
        infiniband=fields.flag("infiniband"),
    )
    fields.done()
    return host


def settings(request: GpuRequest | HostRequest | None) -> dict[str, str]:
    """Return what is asked, in words, by key; nothing for no request."""
    values = request.to_dict() if request else {}
    return {key: _words(key, value) for key, value in values.items()}


def _words(key: str, value: object) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, int) and key in machine.SIZES:
        return format_asked(value)
    return "true" if value is True else str(value)


def _number(fields: Fields, key: str) -> int:
    return fields.number(key) if fields.has(key) else 0


def _versions(fields: Fields, key: str) -> VersionRange:
    return fields.parsed(key, VersionRange.parse) if fields.has(key) else VersionRange()
