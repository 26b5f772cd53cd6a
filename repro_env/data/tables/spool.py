"""Rows kept until all of them are there, sorted or as they came; beyond some memory, in files.

The order is by the columns from left to right: numbers and times ascending, texts by code point, NaN after all numbers
and what is null last. It depends on no locale and on no database's collation.
"""

from __future__ import annotations

import heapq
import itertools
import math
import pickle
import sys
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from repro_env.edges.files import os_errors
from repro_env.errors import FetchError

Row = tuple[Any, ...]

_BATCH, _BATCH_BYTES = 1000, 1 << 20
"""Rows that are read back from a file together, at most, and about how many bytes of them."""
_MOST_FILES = 400
_PRESENT, _NAN, _NULL = 0, 1, 2


class Spool:
    """Rows on their way. Its files have no name, so that nothing is left of them, however this program ends."""

    memory = 128 << 20
    """Bytes of values from which on rows go to a file; sorting them takes about three times as much."""

    def __init__(self, cache: Path, *, ordered: bool) -> None:
        self._cache, self._ordered = cache, ordered
        self._rows: list[Row] = []
        self._size = 0
        self._files: list[BinaryIO] = []

    def add(self, rows: list[Row]) -> None:
        """Take some rows. Errors: `StoreError`; `FetchError` where there are too many."""
        self._rows += rows
        self._size += sum(map(sys.getsizeof, rows)) + sum(map(sys.getsizeof, itertools.chain.from_iterable(rows)))
        if self._size > self.memory:
            self._spill()

    def rows(self) -> Iterator[Row]:
        """Yield all rows, once: in the order they came in, or with `ordered` in the one of their values."""
        self._sort()
        runs = [*map(_read, self._files), iter(self._rows)]
        yield from heapq.merge(*runs, key=row_key) if self._ordered else itertools.chain.from_iterable(runs)

    def _sort(self) -> None:
        if self._ordered:
            self._rows.sort(key=row_key)

    def _spill(self) -> None:
        if len(self._files) == _MOST_FILES:
            size = _MOST_FILES * self.memory >> 30
            hint = "narrow the query, or export the table by the database's own means and name the files"
            raise FetchError(f"the answer to a query is too large: more than about {size} GiB", "", hint)
        self._sort()
        with os_errors(f"keep rows in {self._cache}"):
            file = tempfile.TemporaryFile(dir=self._cache)  # noqa: SIM115 - it lasts as long as this spool
            weakref.finalize(self, file.close)
            count = max(1, min(_BATCH, len(self._rows) * _BATCH_BYTES // self._size))
            for start in range(0, len(self._rows), count):
                pickle.dump(self._rows[start : start + count], file, pickle.HIGHEST_PROTOCOL)
            file.seek(0)
        self._files.append(file)
        self._rows, self._size = [], 0


def row_key(row: Row) -> tuple[tuple[Any, ...], ...]:
    """Return what rows are compared by."""
    return tuple(map(_key, row))


def _key(value: Any) -> tuple[Any, ...]:
    if value is None:
        return (_NULL,)
    if type(value) is float:
        # 0.0 and -0.0 are equal and are not the same bytes.
        return (_NAN,) if math.isnan(value) else (_PRESENT, value, math.copysign(1.0, value))
    if type(value) is tuple:
        return (_PRESENT, tuple(map(_key, value)))
    return (_PRESENT, value)


def _read(file: BinaryIO) -> Iterator[Row]:
    while True:
        try:
            batch = pickle.load(file)  # noqa: S301 - this process wrote it, into a file that no other can name
        except EOFError:
            return
        yield from batch
