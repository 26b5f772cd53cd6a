"""A writer of Parquet whose bytes are a function of columns and rows, and of nothing else.

The writers of pyarrow and others put their version into the file, choose pages and encodings as they see fit, and
compress with whatever library is there; so the same rows are other bytes next year. This one has no choice to make:

- every column may be null; values are in PLAIN encoding, uncompressed, one page (version 1) a column and row group;
- whether values are there: one run of RLE where all are, else one run of bits; of lists, the shortest list of runs of
  RLE;
- a row group ends at 65,536 rows, or where it has 64 MiB after 16, 32, 64, 128 or a multiple of 256 rows;
- no statistics, no metadata, and `created_by` names this layout and its version.

Source: https://github.com/apache/parquet-format (README.md, Encodings.md, parquet.thrift)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO

from repro_env.data.tables import thrift
from repro_env.data.tables.kinds import Column
from repro_env.data.tables.thrift import Value, varint

CREATED_BY = "repro-canonical version 1.0.0"
"""In the form in which readers look for known faults of a writer, `NAME version X.Y.Z`; it never changes."""

_MAGIC = b"PAR1"
_GROUP_ROWS, _GROUP_BYTES, _FIRST_SLICE, _SLICE = 1 << 16, 64 << 20, 16, 256
_PLAIN, _RLE, _UNCOMPRESSED, _DATA_PAGE = 0, 3, 0, 0
_OPTIONAL, _REPEATED = 1, 2
_CONVERTED_LIST, _LOGICAL_LIST = 3, 3
_BITS = bytes.maketrans(b"\0\1", b"01")


def write_parquet(stream: BinaryIO, columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> int:
    """Write rows, whose values are of their columns' types or None, and return how many there were."""
    stream.write(_MAGIC)
    at, groups, count = len(_MAGIC), [], 0
    left = iter(rows)
    while group := _next_group(columns, left):
        sizes = [chunk.write(stream) for chunk in group]
        rows_of_group = group[0].rows
        groups.append(_row_group(group, sizes, at, rows_of_group))
        at += sum(sizes)
        count += rows_of_group
    footer = _footer(columns, groups, count).content
    stream.write(footer + len(footer).to_bytes(4, "little") + _MAGIC)
    return count


def _next_group(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> list[_Chunk]:
    chunks = [_Chunk(column) for column in columns]
    while chunks[0].rows < _GROUP_ROWS and sum(chunk.size for chunk in chunks) < _GROUP_BYTES:
        size = min(_SLICE, max(_FIRST_SLICE, chunks[0].rows))
        taken = list(itertools.islice(rows, size))
        for chunk, values in zip(chunks, zip(*taken, strict=True), strict=False):
            chunk.add(values)
        if len(taken) < size:
            break
    return chunks if chunks[0].rows else []


class _Chunk:
    """One column of a row group. Levels count, from the outside, which of what may be absent is there."""

    def __init__(self, column: Column) -> None:
        self.column, self.rows = column, 0
        self._definitions, self._repetitions, self._values = bytearray(), bytearray(), bytearray()

    @property
    def size(self) -> int:
        return len(self._values) + len(self._definitions)

    @property
    def levels(self) -> int:
        """How many places for values there are, taken or not."""
        return len(self._definitions)

    def add(self, values: Sequence[Any]) -> None:
        self.rows += len(values)
        if self.column.many:
            values = [value for one in values for value in self._add_list(one)]
        else:
            self._definitions += bytes([value is not None for value in values])
        self._values += self.column.kind.encode([value for value in values if value is not None])

    def _add_list(self, values: Sequence[Any] | None) -> Sequence[Any]:
        if not values:
            self._definitions.append(0 if values is None else 1)
            self._repetitions.append(0)
            return ()
        self._definitions += bytes([2 if value is None else 3 for value in values])
        self._repetitions += bytes([0, *([1] * (len(values) - 1))])
        return values

    def write(self, stream: BinaryIO) -> int:
        """Write the page with its header, and return how many bytes that were."""
        if self.column.many:
            levels = _sized(_runs(self._repetitions)) + _sized(_runs(self._definitions))
        else:
            levels = _sized(_presence(self._definitions))
        values = _bits(self._values) if self.column.kind.name == "bool" else self._values
        header = _page_header(self.levels, len(levels) + len(values))
        stream.writelines([header, levels, values])
        return len(header) + len(levels) + len(values)


def _sized(content: bytes) -> bytes:
    return len(content).to_bytes(4, "little") + content


def _bits(flags: bytearray) -> bytes:
    """Pack bytes of 0 and 1 into bits, the lowest first."""
    if not flags:
        return b""
    number = int(bytes(reversed(flags)).translate(_BITS), 2)
    return number.to_bytes((len(flags) + 7) // 8, "little")


def _presence(flags: bytearray) -> bytes:
    """Return levels of 0 and 1 as one run, of RLE where all are 1."""
    if 0 not in flags:
        return varint(len(flags) << 1) + b"\1"
    bits = _bits(flags)
    return varint(len(bits) << 1 | 1) + bits


def _runs(levels: bytearray) -> bytes:
    """Return levels as runs of RLE."""
    return b"".join(varint(len(list(run)) << 1) + bytes([level]) for level, run in itertools.groupby(levels))


def _page_header(count: int, size: int) -> bytes:
    data = [(1, thrift.i32(count)), (2, thrift.i32(_PLAIN)), (3, thrift.i32(_RLE)), (4, thrift.i32(_RLE))]
    fields = [(1, thrift.i32(_DATA_PAGE)), (2, thrift.i32(size)), (3, thrift.i32(size)), (5, thrift.struct(data))]
    return thrift.struct(fields).content


def _row_group(chunks: Sequence[_Chunk], sizes: Sequence[int], at: int, rows: int) -> Value:
    described = []
    for chunk, size in zip(chunks, sizes, strict=True):
        described.append(_chunk(chunk, size, at))
        at += size
    return thrift.struct([(1, thrift.many(described)), (2, thrift.i64(sum(sizes))), (3, thrift.i64(rows))])


def _chunk(chunk: _Chunk, size: int, at: int) -> Value:
    column = chunk.column
    path = [column.name, "list", "element"] if column.many else [column.name]
    metadata = thrift.struct(
        [
            (1, thrift.i32(column.kind.physical)),
            (2, thrift.many([thrift.i32(_PLAIN), thrift.i32(_RLE)])),
            (3, thrift.many([thrift.text(part) for part in path])),
            (4, thrift.i32(_UNCOMPRESSED)),
            (5, thrift.i64(chunk.levels)),
            (6, thrift.i64(size)),
            (7, thrift.i64(size)),
            (9, thrift.i64(at)),
        ]
    )
    return thrift.struct([(2, thrift.i64(0)), (3, metadata)])


def _footer(columns: Sequence[Column], groups: Sequence[Value], rows: int) -> Value:
    root = thrift.struct([(4, thrift.text("schema")), (5, thrift.i32(len(columns)))])
    elements = [root, *itertools.chain.from_iterable(map(_elements, columns))]
    return thrift.struct(
        [
            (1, thrift.i32(2)),
            (2, thrift.many(elements)),
            (3, thrift.i64(rows)),
            (4, thrift.many(groups) if groups else thrift.none_of_structs()),
            (6, thrift.text(CREATED_BY)),
        ]
    )


def _elements(column: Column) -> Sequence[Value]:
    """Return a column's elements of the schema; of lists three, in the form that LogicalTypes.md asks for."""
    if not column.many:
        return [_leaf(column, column.name)]
    outer = thrift.struct(
        [
            (3, thrift.i32(_OPTIONAL)),
            (4, thrift.text(column.name)),
            (5, thrift.i32(1)),
            (6, thrift.i32(_CONVERTED_LIST)),
            (10, thrift.struct([(_LOGICAL_LIST, thrift.struct([]))])),
        ]
    )
    middle = thrift.struct([(3, thrift.i32(_REPEATED)), (4, thrift.text("list")), (5, thrift.i32(1))])
    return [outer, middle, _leaf(column, "element")]


def _leaf(column: Column, name: str) -> Value:
    kind = column.kind
    fields = [(1, thrift.i32(kind.physical))]
    fields += [(2, thrift.i32(kind.length))] if kind.length else []
    fields += [(3, thrift.i32(_OPTIONAL)), (4, thrift.text(name))]
    fields += [(6, thrift.i32(kind.converted))] if kind.converted is not None else []
    fields += [(7, thrift.i32(kind.scale)), (8, thrift.i32(kind.precision))] if kind.precision else []
    fields += [(10, kind.logical)] if kind.logical is not None else []
    return thrift.struct(fields)
