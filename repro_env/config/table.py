"""A checked view of one TOML table: what is asked of it has the right type, or a problem was noted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from repro_env.config.lines import KeyPath
from repro_env.config.problems import Problems, did_you_mean
from repro_env.values import check_identifier

T = TypeVar("T")

_KINDS: dict[type, str] = {
    bool: "a boolean",
    dict: "a table",
    float: "a decimal number",
    int: "a number",
    list: "a list",
    str: "a string",
}

_HINTS: dict[tuple[type, type], str] = {  # by the kind expected and the kind found
    (list, str): "write it as a list, in [ and ]",
    (str, float): "write it in quotes",
    (str, int): "write it in quotes",
}


def kind_of(value: object) -> str:
    """Return what a TOML value is, for people: `a string`, `a list`, `a date`."""
    return _KINDS.get(type(value), "a date")


class Table:
    """One table, at `path` in its document.

    What is wrong is noted in `problems`, and a neutral value returned in its place, so that reading goes on. The caller
    ends with `problems.check()`, so no neutral value ever gets out.
    """

    def __init__(self, values: Mapping[str, Any], path: KeyPath, problems: Problems) -> None:
        self._values = values
        self._problems = problems
        self.path = path

    def only(self, known: tuple[str, ...], later: tuple[str, ...] = ()) -> None:
        """Refuse keys that are not `known`; those of `later` versions are named as such."""
        for key in self._values:
            if key in later:
                self.problem(key, "is not supported by this version of repro")
            elif key not in known:
                self.problem(key, "unknown key", did_you_mean(key, known))

    @property
    def names(self) -> tuple[str, ...]:
        """The keys of the table, in the order of the file."""
        return tuple(self._values)

    def has(self, key: str) -> bool:
        """Whether the table has this key."""
        return key in self._values

    def has_table(self, key: str) -> bool:
        """Whether this key holds a table."""
        return isinstance(self._values.get(key), dict)

    def problem(self, key: str | KeyPath, message: str, hint: str = "") -> None:
        """Note a problem of one key's value, or of a place inside it."""
        self._problems.add((*self.path, *((key,) if isinstance(key, str) else key)), message, hint)

    def text(self, key: str, *, check: Callable[[str], object] | None = None, required: str = "") -> str:
        """Return a string, checked by what raises `ValueError`. `required` is the hint to give where it is missing."""
        value = self._typed(key, str, required)
        if value is None or not self._passes((key,), value, check):
            return ""
        return value

    def parsed(self, key: str, parse: Callable[[str], T], neutral: T, *, required: str = "") -> T:
        """Return what `parse` makes of a string."""
        value = self._typed(key, str, required)
        if value is None or not self._passes((key,), value, parse):
            return neutral
        return parse(value)

    def flag(self, key: str) -> bool:
        """Return a boolean, false where it is missing."""
        return bool(self._typed(key, bool))

    def number(self, key: str, *, check: Callable[[int], object], default: int) -> int:
        """Return a whole number, checked by what raises `ValueError`."""
        value = self._typed(key, int)
        if value is None:
            return default
        try:
            check(value)
        except ValueError as error:
            self.problem(key, str(error))
            return default
        return value

    def texts(
        self,
        key: str,
        *,
        check: Callable[[str], object] | None = None,
        required: str = "",
        unique: bool = False,
        some: bool = False,
    ) -> tuple[str, ...]:
        """Return a list of strings, each checked; with `unique` none twice, with `some` at least one.

        A wrong element is an empty string, so that the index of each stays what it is in the file.
        """
        values = self._typed(key, list, required)
        if some and values == []:
            self.problem(key, "expected at least one, found an empty list", required)
        found: list[str] = []
        for index, value in enumerate(values or []):
            wrong = self._wrong_element(value, check, found if unique else [])
            if wrong:
                self.problem((key, index), wrong)
            found.append("" if wrong else value)
        return tuple(found)

    def text_map(
        self, key: str, *, check_name: Callable[[str], object], convert: Callable[[str], str]
    ) -> dict[str, str]:
        """Return a table of strings, each name checked and each value as `convert` returns it."""
        found: dict[str, str] = {}
        for name, value in (self._typed(key, dict) or {}).items():
            if not isinstance(value, str):
                self.problem((key, name), f"expected a string, found {kind_of(value)}")
            elif self._passes((key, name), name, check_name) and self._passes((key, name), value, convert):
                found[name] = convert(value)
        return found

    def table(self, key: str) -> Table:
        """Return a table inside this one; where it is missing, an empty one."""
        return Table(self._typed(key, dict) or {}, (*self.path, key), self._problems)

    def named(self, key: str) -> Iterator[tuple[str, Table]]:
        """Yield each table of a table of tables, with its name."""
        for name, values in (self._typed(key, dict) or {}).items():
            self._passes((key, name), name, check_identifier)
            if isinstance(values, dict):
                yield name, Table(values, (*self.path, key, name), self._problems)
            else:
                self.problem((key, name), f"expected a table, found {kind_of(values)}")

    def _typed(self, key: str, kind: type[T], required: str = "") -> T | None:
        if key not in self._values:
            if required:
                self.problem(key, "missing", required)
            return None
        value = self._values[key]
        if type(value) is kind:
            return value
        self.problem(key, f"expected {_KINDS[kind]}, found {kind_of(value)}", _HINTS.get((kind, type(value)), ""))
        return None

    def _passes(self, place: KeyPath, value: str, check: Callable[[str], object] | None) -> bool:
        wrong = _wrong_text(value, check)
        if wrong:
            self.problem(place, wrong)
        return not wrong

    def _wrong_element(self, value: object, check: Callable[[str], object] | None, before: list[str]) -> str:
        if not isinstance(value, str):
            return f"expected a string, found {kind_of(value)}"
        if value in before:
            return f'"{value}" is listed twice'
        return _wrong_text(value, check)


def _wrong_text(value: str, check: Callable[[str], object] | None) -> str:
    """Return what is wrong with a string, or nothing."""
    try:
        if check is not None:
            check(value)
    except ValueError as error:
        return str(error)
    return ""
