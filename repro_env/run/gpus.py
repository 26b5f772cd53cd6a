"""Which GPUs a step is given, and what a runtime has to pass for it to have these and no others.

A `GpuGrant` says which devices; how a runtime on this machine brings them in is a `Passing`, which it renders into its
own words. Both are plain values: what the machine has is read in `run.driver` and `run.cdi`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from repro_env.frozen import dataclass
from repro_env.run.mounts import Mount

CAPABILITIES = frozenset({"compute", "utility"})
"""What of the driver a step gets unless it says otherwise, as with NVIDIA's container toolkit."""

SELECTION = ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
"""Variables by which the caller, a scheduler, or the step itself says which GPUs it is to see."""

LIBRARIES = "/run/repro/driver/lib"
PROGRAMS = "/run/repro/driver/bin"
"""Where a step finds what `Passing.mounts` brings. `/run` is a fresh file system in every runtime that isolates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuDevice:
    """One GPU, or one MIG instance of it.

    `index` and `uuid` are NVML's; `minor` is the number in `/dev/nvidiaMINOR`, None where it is not known. Of a MIG
    instance `index` and `minor` are the whole GPU's, and `instance` are the numbers of its GPU instance and its compute
    instance.
    """

    index: int
    uuid: str
    minor: int | None = None
    instance: tuple[int, ...] | None = None

    @property
    def is_mig(self) -> bool:
        """Whether it is a part of a GPU."""
        return self.uuid.startswith("MIG-")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuGrant:
    """The GPUs of one run, in the order in which its programs number them.

    `everything` says that the machine has no other. `driver` is the driver's version, and `capabilities` are what of it
    the step uses, in the words of `NVIDIA_DRIVER_CAPABILITIES`.
    """

    devices: tuple[GpuDevice, ...]
    everything: bool = False
    driver: str = ""
    capabilities: frozenset[str] = CAPABILITIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A device node of this machine, at the place where the step sees it."""

    source: Path
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """What a runtime passes so that a step has its GPUs.

    `names` are for a runtime that brings in the devices itself: CDI devices such as `nvidia.com/gpu=0`, or the UUIDs of
    an engine's device request. Otherwise `nodes` and `mounts` are the devices and the driver's files. `variables` are
    the step's, below those it declares; `paths` are appended to lists of directories. `how` tells people.
    """

    how: str = ""
    names: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()
    mounts: tuple[Mount, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)


NOTHING = Passing()
"""For a step that is given no GPU."""


def capabilities(declared: str) -> frozenset[str]:
    """Read `NVIDIA_DRIVER_CAPABILITIES`; nothing said means `CAPABILITIES`."""
    return frozenset(word.strip() for word in declared.split(",") if word.strip()) or CAPABILITIES


def selection(grant: GpuGrant, *, renumbered: bool) -> dict[str, str]:
    """Return the variables by which CUDA sees the granted devices and no others, in their order.

    `renumbered`: the step has the devices of the grant alone, which are numbered from 0 in the order of their indices
    here. CUDA counts in that order only when told to. Instances of MIG have no number, only a UUID. Source: the CUDA
    programming guide, "CUDA Environment Variables".
    """
    if any(device.is_mig for device in grant.devices):
        entries = [device.uuid for device in grant.devices]
    elif renumbered:
        ordered = sorted(device.index for device in grant.devices)
        entries = [str(ordered.index(device.index)) for device in grant.devices]
    else:
        entries = [str(device.index) for device in grant.devices]
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(entries)}


def with_paths(variables: Mapping[str, str], paths: Mapping[str, str]) -> dict[str, str]:
    """Return variables with a directory appended to each list of directories that `paths` names.

    Last, because what a step puts there itself, such as a newer `libcuda.so.1` of a compat package, goes first.
    """
    joined = {name: ":".join(filter(None, (variables.get(name, ""), place))) for name, place in paths.items()}
    return {**variables, **joined}
