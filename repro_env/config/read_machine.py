"""`[step.X.gpu]` and `[step.X.host]` of `repro.toml`, checked for what no machine can be."""

from __future__ import annotations

from repro_env.config import machine
from repro_env.config.machine import GpuRequest, HostRequest
from repro_env.config.table import Table
from repro_env.config.versions import VersionRange

GPU_KEYS = ("count", "names", "memory", "compute-capability", "driver", "mig", "nvlink", "peer-access", "ecc")
HOST_KEYS = ("cpus", "memory", "disk", "shm", "kernel", "architecture", "cpu", "infiniband")


def read_gpu(step: Table) -> GpuRequest | None:
    """Return what a step asks of its GPUs, or None where it uses none."""
    if not step.has("gpu"):
        return None
    table = step.table("gpu")
    table.only(GPU_KEYS)
    gpu = GpuRequest(
        count=table.number("count", check=machine.count, default=1),
        names=table.texts("names", check=machine.gpu_name, unique=True, some=True),
        memory=table.parsed("memory", machine.amount, 0),
        compute_capability=table.parsed("compute-capability", VersionRange.parse, VersionRange()),
        driver=table.parsed("driver", VersionRange.parse, VersionRange()),
        mig=table.text("mig", check=machine.mig_profile),
        nvlink=table.flag("nvlink"),
        peer_access=table.flag("peer-access"),
        ecc=table.flag("ecc"),
    )
    for key, why in machine.gpu_contradictions(gpu):
        table.problem(key, why)
    if gpu.names:
        from repro_env.config.gpu_models import model_contradictions  # noqa: PLC0415 - few steps name a model

        for key, why in model_contradictions(gpu):
            table.problem(key, why, "ask for another model, or leave names out")
    return gpu


def read_host(step: Table) -> HostRequest | None:
    """Return what a step asks of its host, or None where it asks for nothing."""
    if not step.has("host"):
        return None
    table = step.table("host")
    table.only(HOST_KEYS)
    host = HostRequest(
        cpus=table.number("cpus", check=machine.count, default=0),
        memory=table.parsed("memory", machine.amount, 0),
        disk=table.parsed("disk", machine.amount, 0),
        shm=table.parsed("shm", machine.amount, 0),
        kernel=table.parsed("kernel", VersionRange.parse, VersionRange()),
        architecture=table.text("architecture", check=machine.architecture),
        cpu=table.text("cpu", check=machine.cpu_level),
        infiniband=table.flag("infiniband"),
    )
    for key, why in machine.host_contradictions(host):
        table.problem(key, why)
    return host if host.to_dict() else None
