"""What a machine is, as far as a step can ask: facts are collected on one machine and may be judged on another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeVar

from repro_env.config.versions import version

VERSION = 1
"""Of the document that `repro facts` writes."""

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU that programs can use, or one MIG instance. `memory` is in bytes, None and empty are not known.

    `index` is NVML's, of the whole GPU for a MIG instance, whose profile `mig` is. `compute_capability` is `9.0`.
    `peers` and `nvlinks` are the indices of the GPUs that this one reaches directly, and by NVLink. `problem` says
    what is wrong with the device itself.
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
    problem: str = ""

    @property
    def label(self) -> str:
        """The device for people, `GPU 0 (NVIDIA L4)`."""
        return f"GPU {self.index}" + (f" ({self.name})" if self.name else "")

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """Read a JSON object. Errors: `ValueError`."""
        door = _Door(values, "gpu")
        return cls(
            index=door.number("index"),
            name=door.text("name"),
            uuid=door.text("uuid"),
            brand=door.text("brand"),
            memory=door.maybe("memory", _count),
            compute_capability=door.version("compute_capability"),
            ecc=door.maybe("ecc", _flag),
            mig=door.text("mig"),
            peers=door.maybe("peers", _indices),
            nvlinks=door.maybe("nvlinks", _indices),
            problem=door.text("problem"),
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
        door = _Door(values, "host")
        return cls(
            kernel=door.version("kernel"),
            architecture=door.text("architecture"),
            processor=door.text("processor"),
            cpus=door.maybe("cpus", _count),
            memory=door.maybe("memory", _count),
            disk=door.maybe("disk", _count),
            shm=door.maybe("shm", _count),
            cpu_level=door.maybe("cpu_level", _count),
            infiniband=door.maybe("infiniband", _texts),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One machine. `cuda` is the newest CUDA version that the driver serves, `12.8`.

    `no_driver` says why NVIDIA's driver cannot be used, and is empty where it can. `hidden` says which environment
    variable leaves GPUs out of `gpus`.
    """

    host: Host
    driver: str = ""
    cuda: str = ""
    gpus: tuple[Gpu, ...] = ()
    no_driver: str = ""
    hidden: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, document: object) -> Self:
        """Read a JSON document. Errors: `ValueError` that names the key which is wrong."""
        door = _Door(document, "facts")
        found = door.maybe("version", _count)
        if found is None:
            raise ValueError("version is missing: not a document of `repro facts`")
        if found > VERSION:
            raise ValueError(f"version {found} is newer than this program knows ({VERSION})")
        gpus = door.maybe("gpus", _list) or []
        return cls(
            host=Host.from_dict(door.maybe("host", lambda value: value)),
            driver=door.version("driver"),
            cuda=door.version("cuda"),
            gpus=tuple(Gpu.from_dict(gpu) for gpu in gpus),
            no_driver=door.text("no_driver"),
            hidden=door.text("hidden"),
        )


class _Door:
    """The checked door for one JSON object. What is missing is not known; other keys are a later version's."""

    def __init__(self, values: object, name: str) -> None:
        if not isinstance(values, Mapping):
            raise ValueError(f"{name}: expected an object, found {type(values).__name__}")  # noqa: TRY004 - one kind of error
        self._values = values
        self._name = name

    def maybe(self, key: str, parse: Callable[[object], _Value]) -> _Value | None:
        value = self._values.get(key)
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError as error:
            raise ValueError(f"{self._name}.{key}: {error}") from error

    def text(self, key: str) -> str:
        return self.maybe(key, _text) or ""

    def version(self, key: str) -> str:
        return self.maybe(key, _version) or ""

    def number(self, key: str) -> int:
        found = self.maybe(key, _count)
        if found is None:
            raise ValueError(f"{self._name}.{key} is missing")
        return found


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a string, found {value!r}")  # noqa: TRY004 - one kind of error
    return value


def _version(value: object) -> str:
    text = _text(value)
    if text:
        version(text)
    return text


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"expected a number from 0 up, found {value!r}")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, found {value!r}")  # noqa: TRY004 - one kind of error
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected a list, found {value!r}")  # noqa: TRY004 - one kind of error
    return list(value)


def _indices(value: object) -> tuple[int, ...]:
    return tuple(map(_count, _list(value)))


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(_text, _list(value)))
