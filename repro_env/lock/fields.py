"""The checked door for one table of a lock: right types, all keys known, or `InvalidLockError` at the first mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from repro_env.config.lines import KeyPath
from repro_env.config.table import kind_of

T = TypeVar("T")


class InvalidLockError(ValueError):
    """What stands at `path` is not what a lock holds there."""

    def __init__(self, path: KeyPath, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.message = message


class Fields:
    """The keys of one table, each to be taken once; `done` refuses what was not."""

    __slots__ = ("_left", "path")

    def __init__(self, values: Any, path: KeyPath) -> None:
        if type(values) is not dict:
            raise InvalidLockError(path, f"expected a table, found {kind_of(values)}")
        self._left: dict[str, Any] = values.copy()
        self.path = path

    def text(self, key: str) -> str:
        """Take a string."""
        return self._take(key, str)

    def parsed(self, key: str, parse: Callable[[str], T]) -> T:
        """Take a string and return what `parse` makes of it; its `ValueError` becomes the error."""
        return self._pass((key,), self._take(key, str), parse)

    def number(self, key: str) -> int:
        """Take an integer that is not negative."""
        number = self._take(key, int)
        if number < 0:
            raise InvalidLockError((*self.path, key), f"expected a number from 0 up, found {number}")
        return number

    def flag(self, key: str) -> bool:
        """Take a boolean, false where it is missing."""
        return key in self._left and self._take(key, bool)

    def items(self, key: str) -> list[Any]:
        """Take a list of anything."""
        return self._take(key, list)

    def texts(self, key: str, *, check: Callable[[str], object] = str) -> tuple[str, ...]:
        """Take a list of strings, each checked by what raises `ValueError`."""
        values = self._take(key, list)
        for index, value in enumerate(values):
            self._check((key, index), value, str)
            self._pass((key, index), value, check)
        return tuple(values)

    def text_map(
        self, key: str, *, check_name: Callable[[str], object] = str, check: Callable[[str], object] = str
    ) -> Mapping[str, str]:
        """Take a table of strings, each checked, and its name too."""
        values = self._take(key, dict)
        for name, value in values.items():
            self._check((key, name), value, str)
            self._pass((key, name), name, check_name)
            self._pass((key, name), value, check)
        return values

    def table(self, key: str) -> Fields:
        """Take a table."""
        return Fields(self._take(key, dict), (*self.path, key))

    def names(self) -> tuple[str, ...]:
        """The keys that were not taken yet."""
        return tuple(self._left)

    def has(self, key: str) -> bool:
        """Whether this key is there and was not taken yet."""
        return key in self._left

    def tables(self, key: str) -> Iterator[tuple[str, Fields]]:
        """Take a table of tables, with their names; none where it is missing."""
        if key in self._left:
            for name, values in self._take(key, dict).items():
                yield name, Fields(values, (*self.path, key, name))

    def rest(self) -> Iterator[tuple[str, Fields]]:
        """Take every key that was not taken yet and holds a table."""
        for name in [name for name, value in self._left.items() if type(value) is dict]:
            yield name, Fields(self._left.pop(name), (*self.path, name))

    def done(self) -> None:
        """Refuse keys that were not taken."""
        if self._left:
            raise InvalidLockError((*self.path, next(iter(self._left))), "unknown key")

    def fail(self, key: str, message: str) -> InvalidLockError:
        """Return the error for one key's value."""
        return InvalidLockError((*self.path, key), message)

    def _take(self, key: str, kind: type[T]) -> T:
        try:
            value: T = self._left.pop(key)
        except KeyError:
            raise InvalidLockError((*self.path, key), "missing") from None
        if type(value) is not kind:
            self._check((key,), value, kind)
        return value

    def _pass(self, place: KeyPath, text: str, parse: Callable[[str], T]) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise InvalidLockError((*self.path, *place), str(error)) from error

    def _check(self, place: KeyPath, value: object, kind: type) -> None:
        if type(value) is not kind:
            expected = {bool: "a boolean", dict: "a table", int: "a number", list: "a list", str: "a string"}[kind]
            raise InvalidLockError((*self.path, *place), f"expected {expected}, found {kind_of(value)}")
