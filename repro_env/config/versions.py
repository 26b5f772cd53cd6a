"""Conditions on plain dotted versions: drivers, kernels, compute capabilities."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Tuple

from repro_env.frozen import dataclass

if TYPE_CHECKING:
    from typing import Self

_CLAUSE = re.compile(r"(>=|<=|==|!=|>|<)\s*(\d{1,9}(?:\.\d{1,9}){0,4})(\.\*)?\Z")
_LEADING = re.compile(r"\d{1,9}(?:\.\d{1,9})*")

Version = Tuple[int, ...]


def version(text: str) -> Version:
    """Return the numbers that a version begins with, without trailing zeros: `550.54.15`, `6.1.0-13-amd64`.

    Errors: `ValueError` where it begins with none.
    """
    match = _LEADING.match(text.strip())
    if not match:
        raise ValueError(f"expected a version such as 550.54.15, found {text!r}")
    return _stripped(tuple(map(int, match[0].split("."))))


def _stripped(numbers: Version) -> Version:
    while numbers and numbers[-1] == 0:
        numbers = numbers[:-1]
    return numbers


@dataclass(frozen=True, slots=True, order=True)
class Clause:
    """One comparison. `text` is the version as it was written; with `prefix` it stands for all that begin so."""

    operator: str
    text: str
    prefix: bool = False

    def accepts(self, found: Version) -> bool:
        """Whether a version, as `version` returned it, passes."""
        numbers = tuple(map(int, self.text.split(".")))
        if self.prefix:
            same = _padded(found, len(numbers))[: len(numbers)] == numbers
            return same == (self.operator == "==")
        wanted = _stripped(numbers)
        return {
            ">=": found >= wanted,
            "<=": found <= wanted,
            "==": found == wanted,
            "!=": found != wanted,
            ">": found > wanted,
            "<": found < wanted,
        }[self.operator]

    def __str__(self) -> str:
        return f"{self.operator}{self.text}{'.*' if self.prefix else ''}"


def _padded(numbers: Version, size: int) -> Version:
    return numbers + (0,) * (size - len(numbers))


@dataclass(frozen=True, slots=True)
class VersionRange:
    """All of some clauses at once; without any, every version passes."""

    clauses: tuple[Clause, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `>=535,<560` or `==8.*`. Errors: `ValueError`, also where no version can pass."""
        clauses = tuple(_clause(part.strip(), text) for part in text.split(","))
        found = cls(clauses)
        if found.is_empty():
            raise ValueError(f'no version can be "{found}"')
        return found

    def accepts(self, text: str) -> bool:
        """Whether a version passes every clause. Errors: `ValueError` where the text is no version."""
        found = version(text)
        return all(clause.accepts(found) for clause in self.clauses)

    def meets(self, text: str) -> bool:
        """Whether a version can pass this range and another one, such as `>=535`. Errors: `ValueError` for none."""
        other = VersionRange.parse(text)
        return not VersionRange((*self.clauses, *other.clauses)).is_empty()

    def __bool__(self) -> bool:
        return bool(self.clauses)

    def __str__(self) -> str:
        return ",".join(map(str, self.clauses))

    def is_empty(self) -> bool:
        """Whether no version passes.

        If any does, then one of these does: the first of all, a bound itself, or one right above or below a bound.
        """
        return not any(all(clause.accepts(one) for clause in self.clauses) for one in self._candidates())

    def _candidates(self) -> set[Version]:
        found: set[Version] = {()}
        for clause in self.clauses:
            numbers = tuple(map(int, clause.text.split(".")))
            following = (*numbers[:-1], numbers[-1] + 1)
            inside = (*_padded(numbers, 6), 1)
            found |= {_stripped(numbers), _stripped(following), inside}
            if numbers[-1]:
                found.add((*_padded((*numbers[:-1], numbers[-1] - 1), 6), 10**9))
        return found


def _clause(part: str, text: str) -> Clause:
    match = _CLAUSE.match(part)
    if not match or (match[3] and match[1] not in {"==", "!="}):
        hint = f'; write ">={part}" for that or newer' if _LEADING.fullmatch(part) else ""
        raise ValueError(f'expected conditions such as ">=8.0" or ">=535,<560", found "{text}"{hint}')
    return Clause(match[1], match[2], bool(match[3]))
