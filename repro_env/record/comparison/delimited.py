"""Tables as text: `.csv` and `.tsv`."""

from __future__ import annotations

import contextlib
import csv
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from repro_env.config.comparison import Comparison
from repro_env.edges.files import os_errors
from repro_env.record.comparison.base import UnreadableError, Verdict
from repro_env.record.comparison.tally import Tally

_LARGEST_FIELD = 1 << 30  # bytes


class Delimited:
    """Compares cell by cell: what both sides write as numbers, as numbers; all else as text."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv")
    """The ends of the names of the files that it reads."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison

    def compare(self, then: Path, now: Path) -> Verdict:
        """Compare two files. Errors: `UnreadableError`, `StoreError`."""
        with _fields_of_any_size():
            return self._compare(then, now)

    def _compare(self, then: Path, now: Path) -> Verdict:
        tally = Tally(self._comparison)
        titles: Sequence[str] = ()
        for number, (before, after) in enumerate(itertools.zip_longest(_rows(then), _rows(now)), start=1):
            if before is None or after is None:
                tally.tell(f"row {number}", "is missing" if after is None else "is new")
                break
            if number == 1 and not any(_is_number(cell) for cell in before):
                titles = before
            if len(before) != len(after):
                tally.tell(f"row {number}", f"of {len(before)} columns then, {len(after)} now")
            for column, (one, other) in enumerate(zip(before, after, strict=False)):
                if one == other:
                    tally.same(1)
                else:
                    place = functools.partial(_place, number, column, titles)
                    tally.value(place, *_values(one, other))
        return tally.verdict()


@contextlib.contextmanager
def _fields_of_any_size() -> Iterator[None]:
    """Let a cell be large for as long as the block lasts: the limit is the whole process's."""
    before = csv.field_size_limit(_LARGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _rows(path: Path) -> Iterator[list[str]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with os_errors(f"read {path}"), path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        try:
            yield from csv.reader(stream, delimiter=delimiter)
        except csv.Error as error:
            raise UnreadableError(path, str(error)) from error


def _place(row: int, column: int, titles: Sequence[str]) -> str:
    return f"row {row}, column {titles[column] if column < len(titles) else column + 1}"


def _values(then: str, now: str) -> tuple[object, object]:
    """Return both as numbers where both are, or else as they stand."""
    try:
        return _number(then), _number(now)
    except ValueError:
        return then, now


def _number(text: str) -> int | float:
    """Return a number. Errors: `ValueError` for what only Python reads as one, and for what no float can hold."""
    if "_" in text:
        raise ValueError("an underscore makes it a name")
    try:
        return int(text)
    except ValueError:
        found = float(text)
    if math.isinf(found) and "inf" not in text.lower():
        raise ValueError("beyond any float, where all numbers would be alike")
    return found


def _is_number(text: str) -> bool:
    try:
        _number(text)
    except ValueError:
        return False
    return True
