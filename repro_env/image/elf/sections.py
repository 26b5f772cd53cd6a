"""The sections of a 64-bit little-endian ELF file, which is the only kind that device code is linked into.

The linker does not need section headers, and a file may be stripped of them: they usually stand at the file's end.
Source: System V ABI, chapter 4 ("Sections"); Tool Interface Standard, `ELFCLASS64`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from repro_env.frozen import dataclass
from repro_env.image.elf.layout import EXECUTABLE, SHARED
from repro_env.image.elf.reader import MAGIC, MalformedElfError, Range, Read

_HEAD = 64
IDENT = MAGIC + b"\x02\x01"
"""How such a file begins: ELFCLASS64, ELFDATA2LSB."""

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_NO_BITS = 8
_COMPRESSED = 1 << 11
_EXTENDED = 0xFFFF  # SHN_XINDEX
_MOST = 1 << 16
_NAMES = 1 << 20
"""The most sections of a file, and bytes of their names."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section that has bytes in the file: `size` of them from `offset`."""

    name: str
    offset: int
    size: int
    compressed: bool

    @property
    def end(self) -> int:
        """Where the bytes end."""
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class SectionTable:
    """Where a file has its section headers, and `names`, the index of the section with their names."""

    offset: int
    count: int
    names: int

    @property
    def size(self) -> int:
        """In bytes; those that an extended count adds are not in it."""
        return max(self.count, 1) * _SECTION.size


def section_table(head: bytes) -> SectionTable | None:
    """Return what a file's first 64 bytes say; None if it is nothing that a program loads, or has no section headers.

    Errors: `MalformedElfError`.
    """
    if len(head) < _HEAD or not head.startswith(IDENT):
        return None
    _ident, kind, *_rest, place, _flags, _size, _width, _segments, width, count, names = _HEADER.unpack_from(head)
    if kind not in {EXECUTABLE, SHARED} or not place:
        return None
    if width != _SECTION.size:
        raise MalformedElfError(f"its section headers are of {width} bytes each")
    return SectionTable(place, count, names)


def read_sections(read: Read, size: int, wanted: frozenset[str]) -> list[Section]:
    """Return the sections with these names, in the order of their headers.

    Errors: `MalformedElfError`, and whatever `read` raises.
    """
    (head,) = read([(0, min(_HEAD, size))])
    table = section_table(head)
    if table is None:
        return []
    (first,) = read([_within(size, table.offset, _SECTION.size, "its section headers")])
    _name, _kind, _flags, _address, _offset, extended_count, extended_names, *_rest = _SECTION.unpack(first)
    count = table.count or extended_count
    index = extended_names if table.names == _EXTENDED else table.names
    if count > _MOST:
        raise MalformedElfError(f"it has {count} sections")
    if not index:
        return []
    if index >= count:
        raise MalformedElfError("its section names are in no section")
    (rows,) = read([_within(size, table.offset, count * _SECTION.size, "its section headers")])
    headers = list(_SECTION.iter_unpack(rows))
    names = _names(read, size, headers[index])
    return [section for row in headers if (section := _section(row, names, size, wanted))]


def _names(read: Read, size: int, row: Sequence[int]) -> bytes:
    _name, _kind, _flags, _address, offset, length, *_rest = row
    if length > _NAMES:
        raise MalformedElfError(f"its section names are {length} bytes")
    (names,) = read([_within(size, offset, length, "its section names")])
    return names


def _section(row: Sequence[int], names: bytes, size: int, wanted: frozenset[str]) -> Section | None:
    """Return a section if it has one of the wanted names, and bytes."""
    place, kind, flags, _address, offset, length, *_rest = row
    end = names.find(b"\0", place)
    if end < 0:
        raise MalformedElfError("a section's name lies outside the names")
    name = names[place:end].decode(errors="replace")
    if name not in wanted or kind == _NO_BITS or not length:
        return None
    _within(size, offset, length, f"its section {name}")
    return Section(name, offset, length, bool(flags & _COMPRESSED))


def _within(size: int, offset: int, length: int, what: str) -> Range:
    if offset + length > size:
        raise MalformedElfError(f"{what} reach beyond its end")
    return offset, length
