"""The checked door for one JSON object that came from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from repro_env.config.versions import version

_Value = TypeVar("_Value")

_LONGEST = 1000
"""Characters of a line."""


class Door:
    """One JSON object, whose values are taken by key. What is missing is not known; other keys are a later version's.

    Errors of everything here: `ValueError` that names the key which is wrong.
    """

    def __init__(self, values: object, name: str) -> None:
        if not isinstance(values, Mapping):
            raise ValueError(f"{name}: expected an object, found {type(values).__name__}")  # noqa: TRY004 - one kind of error
        self._values = values
        self._name = name

    def maybe(self, key: str, parse: Callable[[object], _Value]) -> _Value | None:
        """Return a value, None where there is none."""
        value = self._values.get(key)
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError as error:
            raise ValueError(f"{self._name}.{key}: {error}") from error

    def has(self, key: str) -> bool:
        """Whether there is a value that is not null."""
        return self._values.get(key) is not None

    def text(self, key: str) -> str:
        """Return a string, empty where there is none."""
        return self.maybe(key, text) or ""

    def line(self, key: str) -> str:
        """Return a string for people, empty where there is none: one line, and nothing that a terminal acts on."""
        return self.maybe(key, line) or ""

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings, empty where there is none."""
        return self.maybe(key, texts) or ()

    def mapping(self, key: str) -> Mapping[str, str]:
        """Return an object of strings, empty where there is none."""
        return self.maybe(key, mapping) or {}

    def version(self, key: str) -> str:
        """Return a dotted version, empty where there is none."""
        return self.maybe(key, _version) or ""

    def number(self, key: str) -> int:
        """Return a number, which must be there."""
        found = self.maybe(key, count)
        if found is None:
            raise ValueError(f"{self._name}.{key} is missing")
        return found

    def format(self, newest: int, *, of: str) -> None:
        """Check the document's `version`: that there is one, and none newer than this program knows."""
        found = self.maybe("version", count)
        if found is None:
            raise ValueError(f"version is missing: not a document of {of}")
        if found > newest:
            raise ValueError(f"version {found} is newer than this program knows ({newest})")


def text(value: object) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise ValueError(f"expected a string, found {value!r}")  # noqa: TRY004 - one kind of error
    return value


def line(value: object) -> str:
    """Return a string that can be shown in a line."""
    found = text(value)
    if not found.isprintable() or len(found) > _LONGEST:
        raise ValueError(f"expected one line of text, found {found[:_LONGEST]!r}")
    return found


def _version(value: object) -> str:
    found = line(value)
    if found and not version(found):
        raise ValueError(f"expected a version such as 550.54.15, found {found!r}")
    return found


def count(value: object) -> int:
    """Return a number of things."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"expected a number from 0 up, found {value!r}")
    return value


def flag(value: object) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, found {value!r}")  # noqa: TRY004 - one kind of error
    return value


def items(value: object) -> list[object]:
    """Return the items of a list."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"expected a list, found {value!r}")  # noqa: TRY004 - one kind of error
    return list(value)


def indices(value: object) -> tuple[int, ...]:
    """Return a list of numbers."""
    return tuple(map(count, items(value)))


def texts(value: object) -> tuple[str, ...]:
    """Return a list of strings."""
    return tuple(map(text, items(value)))


def lines(value: object) -> tuple[str, ...]:
    """Return a list of strings for people."""
    return tuple(map(line, items(value)))


def mapping(value: object) -> Mapping[str, str]:
    """Return an object of strings."""
    if not isinstance(value, Mapping):
        raise ValueError(f"expected an object, found {value!r}")  # noqa: TRY004 - one kind of error
    return {text(key): text(entry) for key, entry in value.items()}
