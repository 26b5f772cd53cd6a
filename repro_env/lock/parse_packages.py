"""The part of a lock that all steps share: the `[[interpreter]]` and `[[package]]` blocks that they name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from repro_env.config.lines import KeyPath
from repro_env.lock import words
from repro_env.lock.fields import Fields, InvalidLockError
from repro_env.lock.gpu_code import GpuCode, read_gpu_code
from repro_env.lock.model import Interpreter, Wheel
from repro_env.values import Digest


class Packages:
    """The `[[package]]` blocks by the references that steps name them with, and the interpreters that they bring.

    `gpu_code` is what the blocks say of their wheels' GPU code; the wheels that were built say it where they stand.
    """

    def __init__(self, blocks: list[Any], interpreters: Mapping[Digest, Interpreter]) -> None:
        self.interpreters = interpreters
        self.gpu_code: dict[Digest, tuple[GpuCode, ...]] = {}
        self._by_reference: dict[str, Wheel | None] = {}  # None: several share the short reference
        for index, values in enumerate(blocks):
            wheel = _wheel(Fields(values, ("package", index)), self.gpu_code)
            short = wheel.reference
            known = self._by_reference.get(short, wheel)
            self._by_reference[wheel.long_reference] = wheel
            self._by_reference[short] = wheel if known is not None and known.sha256 == wheel.sha256 else None

    def listed(self, fields: Fields, key: str) -> tuple[Wheel, ...]:
        """Take a list of references, and return what they name."""
        path = (*fields.path, key)
        return tuple(sorted(self._find(text, (*path, index)) for index, text in enumerate(fields.texts(key))))

    def _find(self, reference: str, path: KeyPath) -> Wheel:
        wheel = self._by_reference.get(reference)
        if wheel is None:
            several = reference in self._by_reference
            message = "is the reference of several packages" if several else "has no [[package]]"
            raise InvalidLockError(path, f'"{reference}" {message}')
        return wheel


def read_packages(fields: Fields) -> Packages:
    """Take a lock's packages and interpreters. Errors: `InvalidLockError`."""
    found = [
        _interpreter(Fields(values, ("interpreter", at))) for at, values in enumerate(_blocks(fields, "interpreter"))
    ]
    return Packages(_blocks(fields, "package"), {one.sha256: one for one in found})


def _blocks(fields: Fields, key: str) -> list[Any]:
    return fields.items(key) if fields.has(key) else []


def _interpreter(fields: Fields) -> Interpreter:
    interpreter = Interpreter(
        version=fields.text("version"),
        url=fields.text("url"),
        sha256=fields.parsed("sha256", Digest),
        size=fields.number("size"),
    )
    fields.done()
    return interpreter


def _wheel(fields: Fields, gpu_code: dict[Digest, tuple[GpuCode, ...]]) -> Wheel:
    wheel = Wheel(
        name=fields.parsed("name", words.normalised),
        version=fields.parsed("version", words.word),
        file=fields.parsed("file", words.wheel_file),
        url=fields.text("url"),
        sha256=fields.parsed("sha256", Digest),
        size=fields.number("size"),
    )
    read_gpu_code(fields, wheel.sha256, gpu_code)
    fields.done()
    return wheel
