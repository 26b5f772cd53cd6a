"""Which rows of two answers differ: read out of the files that `parquet` wrote, and of no others."""

from __future__ import annotations

import hashlib
import mmap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repro_env.data.tables.parquet import CREATED_BY
from repro_env.edges.files import os_errors

_LARGEST = 256 << 20
_MAGIC = b"PAR1"
_SMALLEST = 12
_WIDTHS = {1: 4, 2: 8, 4: 4, 5: 8}
"""Bytes of a value of each physical type; BOOLEAN is bits, BYTE_ARRAY and FIXED_LEN_BYTE_ARRAY say it themselves."""
_BOOLEAN, _BYTE_ARRAY = 0, 6

Cell = bytes | tuple[bytes | None, ...] | None


def row_changes(before: Path, after: Path) -> str:
    """Return how many rows are new and how many are gone, in words, or nothing where that cannot be told.

    A row that changed is both. It cannot be told of columns that changed, of files of other programs, and of files
    beyond 256 MiB, which would take long. Errors: `StoreError` for a file that cannot be read.
    """
    with os_errors("compare answers"):
        sizes = (before.stat().st_size, after.stat().st_size)
        if not _SMALLEST <= min(sizes) <= max(sizes) <= _LARGEST:
            return ""
        old, new = _File.read(before), _File.read(after)
    if old is None or new is None or old.columns != new.columns:
        return ""
    rows, now = Counter(old.row_hashes()), Counter(new.row_hashes())
    added, gone = (now - rows).total(), (rows - now).total()
    if not (added or gone):
        return "the same rows in another order"
    return f"{_rows(added)} new, {_rows(gone)} gone, {rows.total() - gone:,} the same"


def _rows(count: int) -> str:
    return "1 row is" if count == 1 else f"{count:,} rows are"


class _File:
    """A file's content with what its footer says: its columns' elements, and its row groups."""

    def __init__(self, content: bytes | mmap.mmap, footer: Mapping[int, Any]) -> None:
        self._content = content
        self._groups: Sequence[Mapping[int, Any]] = footer[4]
        self.columns: Sequence[Mapping[int, Any]] = footer[2]

    @classmethod
    def read(cls, path: Path) -> _File | None:
        """Return the file, or None for one that another program wrote."""
        with path.open("rb") as stream:
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        if content[:4] != _MAGIC or content[-4:] != _MAGIC:
            return None
        size = int.from_bytes(content[-8:-4], "little")
        try:
            footer = _Reader(content[-8 - size : -8]).struct()
        except (IndexError, KeyError):
            return None
        return cls(content, footer) if footer.get(6) == CREATED_BY.encode() else None

    def row_hashes(self) -> Iterator[bytes]:
        """Yield a hash of each row, of 16 bytes: a million of them still fit into memory."""
        leaves = [one for one in self.columns[1:] if 1 in one]
        for group in self._groups:
            cells = [self._cells(chunk[3], leaf) for chunk, leaf in zip(group[1], leaves, strict=True)]
            for row in zip(*cells, strict=True):
                yield hashlib.blake2b(repr(row).encode(), digest_size=16).digest()

    def _cells(self, chunk: Mapping[int, Any], leaf: Mapping[int, Any]) -> Iterator[Cell]:
        page = _Reader(self._content[chunk[9] : chunk[9] + chunk[7]])
        count = page.struct()[5][1]
        many = len(chunk[3]) > 1
        repetitions = page.levels(count) if many else b""
        definitions = page.levels(count)
        values = _values(page.rest(), leaf)
        if not many:
            yield from (next(values) if level else None for level in definitions)
            return
        cell: list[bytes | None] | None = None
        for number, (repetition, definition) in enumerate(zip(repetitions, definitions, strict=True)):
            if number and not repetition:
                yield None if cell is None else tuple(cell)
            cell = cell if repetition else (None if definition == 0 else [])
            if cell is not None and definition > 1:
                cell.append(next(values) if definition == 3 else None)  # noqa: PLR2004 - all of it is there
        yield None if cell is None else tuple(cell)


def _values(content: bytes, leaf: Mapping[int, Any]) -> Iterator[bytes]:
    """Yield the values of a page in PLAIN encoding, each as its bytes."""
    physical = leaf[1]
    if physical == _BOOLEAN:
        yield from (bytes([byte >> bit & 1]) for byte in content for bit in range(8))
        return
    at, width = 0, _WIDTHS.get(physical, leaf.get(2, 0))
    while at < len(content):
        if physical == _BYTE_ARRAY:
            width = int.from_bytes(content[at : at + 4], "little")
            at += 4
        yield content[at : at + width]
        at += width


class _Reader:
    """The compact protocol of Thrift, as `thrift` writes it, and levels, as `parquet` does."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def struct(self) -> dict[int, Any]:
        """Return a structure's fields by their numbers."""
        found, number = {}, 0
        while head := self._byte():
            number += head >> 4
            found[number] = self._value(head & 0x0F)
        return found

    def levels(self, count: int) -> bytes:
        """Return as many levels, of one run or several."""
        end = int.from_bytes(self._take(4), "little") + self._at
        found = bytearray()
        while self._at < end:
            head = self._varint()
            if head & 1:
                found += bytes(byte >> bit & 1 for byte in self._take(head >> 1) for bit in range(8))
            else:
                found += self._take(1) * (head >> 1)
        return bytes(found[:count])

    def rest(self) -> bytes:
        """Return what comes after."""
        return self._content[self._at :]

    def _value(self, kind: int) -> Any:
        match kind:
            case 1 | 2:
                return kind == 1
            case 3:
                return self._byte()
            case 5 | 6:
                number = self._varint()
                return number >> 1 ^ -(number & 1)
            case 8:
                return self._take(self._varint())
            case 9:
                head = self._byte()
                count = head >> 4 if head >> 4 < 15 else self._varint()  # noqa: PLR2004 - the longest that fits
                return [self._value(head & 0x0F) for _ in range(count)]
            case 12:
                return self.struct()
        raise KeyError(kind)

    def _byte(self) -> int:
        self._at += 1
        return self._content[self._at - 1]

    def _take(self, count: int) -> bytes:
        self._at += count
        return self._content[self._at - count : self._at]

    def _varint(self) -> int:
        number = shift = 0
        while (byte := self._byte()) & 0x80:
            number |= (byte & 0x7F) << shift
            shift += 7
        return number | byte << shift
