"""The checked door for a JSON document: what is missing or wrong is told with its key path."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar

from repro_env.values import Digest

_Value = TypeVar("_Value")
_Default = TypeVar("_Default")


class Door:
    """One JSON object; `path` is where it stands in its document. Keys that nobody asks for are another's."""

    def __init__(self, document: object, path: str = "") -> None:
        """Errors: `ValueError` for what is no object."""
        if not isinstance(document, dict):
            place = f"{path}: " if path else ""
            raise ValueError(f"{place}expected an object, found {_kind(document)}")  # noqa: TRY004 - one kind of error
        self._document = document
        self._path = path

    def has(self, key: str) -> bool:
        """Whether there is a value that is not null."""
        return self._document.get(key) is not None

    def one(self, key: str, parse: Callable[[object], _Value]) -> _Value:
        """Return a value that must be there. Errors: `ValueError`, here as below."""
        if key not in self._document:
            raise ValueError(f"{self._place(key)} is missing")
        try:
            return parse(self._document[key])
        except ValueError as error:
            raise ValueError(f"{self._place(key)}: {error}") from error

    def maybe(self, key: str, parse: Callable[[object], _Value], default: _Default) -> _Value | _Default:
        """Return a value, or `default` where there is none."""
        return self.one(key, parse) if self.has(key) else default

    def inside(self, key: str) -> Door:
        """Return the object that must be there."""
        return Door(self.one(key, lambda value: value), self._place(key))

    def each(self, key: str) -> list[Door]:
        """Return the objects of a list; none where there is no list."""
        items = self.maybe(key, items_of, [])
        return [Door(item, f"{self._place(key)}[{index}]") for index, item in enumerate(items)]

    def _place(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key


def text(value: object) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise ValueError(f"expected a string, found {value!r}")  # noqa: TRY004 - one kind of error
    return value


def texts(value: object) -> tuple[str, ...]:
    """Return a list of strings."""
    return tuple(map(text, items_of(value)))


def count(value: object) -> int:
    """Return a whole number from 0 up."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"expected a number from 0 up, found {value!r}")
    return value


def amount(value: object) -> float:
    """Return a number from 0 up that a float holds."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= sys.float_info.max:
        raise ValueError(f"expected a number from 0 up, found {value!r}")
    return float(value)


def flag(value: object) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, found {value!r}")  # noqa: TRY004 - one kind of error
    return value


def items_of(value: object) -> list[object]:
    """Return a list."""
    if not isinstance(value, list):
        raise ValueError(f"expected a list, found {value!r}")  # noqa: TRY004 - one kind of error
    return value


def mapping(value: object) -> Mapping[str, str]:
    """Return an object whose values are strings."""
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, found {_kind(value)}")  # noqa: TRY004 - one kind of error
    return {text(key): text(item) for key, item in value.items()}


def digest(value: object) -> Digest:
    """Return a digest written `sha256:HEX`."""
    return Digest.parse(text(value))


def digest_set(value: object) -> Digest:
    """Return the SHA-256 of an in-toto DigestSet."""
    return Digest(Door(value).one("sha256", text))


def time(value: object) -> datetime:
    """Return a moment in UTC, written as RFC 3339 has it."""
    moment = datetime.fromisoformat(text(value))
    if moment.tzinfo is None:
        raise ValueError(f"expected a time with its zone, found {value!r}")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:  # in its zone it is in year 1, or 9999, and here no more
        raise ValueError(f"expected a time, found {value!r}") from error


def choice(*words: str) -> Callable[[object], str]:
    """Return what reads one of these words."""

    def parse(value: object) -> str:
        if value not in words:
            raise ValueError(f"expected one of {', '.join(words)}, found {value!r}")
        return str(value)

    return parse


def _kind(value: object) -> str:
    return {list: "a list", str: "a string", type(None): "null"}.get(type(value), repr(value))
