"""What a machine is, as far as a step can ask: facts are collected on one machine and may be judged on another."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from repro_env.frozen import dataclass
from repro_env.verify.door import Door, count, flag, indices, items, lines

if TYPE_CHECKING:
    from typing import Self

VERSION = 1
"""Of the document that `repro facts` writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU that programs can use, or one MIG instance. `memory` is in bytes, None and empty are not known.

    `index` is NVML's, among those that may be used, and of the whole GPU for a MIG instance, whose profile `mig` is.
    `compute_capability` is `9.0`.
    `peers` and `nvlinks` are the indices of the GPUs that this one reaches directly, and by NVLink. `minor` is the
    number of its device node, and `instance` are those of a MIG instance: of its GPU instance and compute instance.
    `problem` says what is wrong with the device itself, and `remedy` what to do about that, where more is known.
    """

    index: int
    name: str = ""
    uuid: str = ""
    brand: str = ""
    memory: int | None = None
    compute_capability: str = ""
    ecc: bool | None = None
    mig: str = ""
    peers: tuple[int, ...] | None = None
    nvlinks: tuple[int, ...] | None = None
    minor: int | None = None
    instance: tuple[int, ...] | None = None
    problem: str = ""
    remedy: str = ""

    @property
    def label(self) -> str:
        """The device for people, `GPU 0 (NVIDIA L4)`."""
        return f"GPU {self.index}" + (f" ({self.name})" if self.name else "")

    @property
    def cuda_name(self) -> str:
        """What `CUDA_VISIBLE_DEVICES` calls the device: its number, or a MIG instance's UUID."""
        return self.uuid if self.mig else str(self.index)

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """Read a JSON object. Errors: `ValueError`."""
        door = Door(values, "gpu")
        return cls(
            index=door.number("index"),
            name=door.line("name"),
            uuid=door.line("uuid"),
            brand=door.line("brand"),
            memory=door.maybe("memory", count),
            compute_capability=door.version("compute_capability"),
            ecc=door.maybe("ecc", flag),
            mig=door.line("mig"),
            peers=door.maybe("peers", indices),
            nvlinks=door.maybe("nvlinks", indices),
            minor=door.maybe("minor", count),
            instance=door.maybe("instance", indices),
            problem=door.line("problem"),
            remedy=door.line("remedy"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine around the GPUs. Sizes are in bytes, and None is not known.

    `cpus` and `memory` are what this process may use of them, `disk` the free space where the project is, `shm` the
    size of `/dev/shm`; `cpu_level` is the highest x86-64 level, 0 for another architecture; `infiniband` names devices
    with an active port.
    """

    kernel: str = ""
    architecture: str = ""
    processor: str = ""
    cpus: int | None = None
    memory: int | None = None
    disk: int | None = None
    shm: int | None = None
    cpu_level: int | None = None
    infiniband: tuple[str, ...] | None = None

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """Read a JSON object. Errors: `ValueError`."""
        door = Door(values, "host")
        return cls(
            kernel=door.version("kernel"),
            architecture=door.line("architecture"),
            processor=door.line("processor"),
            cpus=door.maybe("cpus", count),
            memory=door.maybe("memory", count),
            disk=door.maybe("disk", count),
            shm=door.maybe("shm", count),
            cpu_level=door.maybe("cpu_level", count),
            infiniband=door.maybe("infiniband", lines),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One machine. `cuda` is the newest CUDA version that the driver serves, `12.8`.

    `no_driver` says why NVIDIA's driver cannot be used, and is empty where it can; `remedy` is what to do about it.
    `hidden` says what leaves GPUs out of `gpus`: an environment variable, or missing permission.
    """

    host: Host
    driver: str = ""
    cuda: str = ""
    gpus: tuple[Gpu, ...] = ()
    no_driver: str = ""
    remedy: str = ""
    hidden: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, document: object) -> Self:
        """Read a JSON document. Errors: `ValueError` that names the key which is wrong."""
        door = Door(document, "facts")
        door.format(VERSION, of="`repro facts`")
        gpus = door.maybe("gpus", items) or []
        return cls(
            host=Host.from_dict(door.maybe("host", lambda value: value)),
            driver=door.version("driver"),
            cuda=door.version("cuda"),
            gpus=tuple(Gpu.from_dict(gpu) for gpu in gpus),
            no_driver=door.line("no_driver"),
            remedy=door.line("remedy"),
            hidden=door.line("hidden"),
        )
