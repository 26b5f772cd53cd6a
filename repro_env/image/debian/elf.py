"""As much of a shared library as the linker's cache needs: what machine it is for, and its soname.

Source: System V ABI, chapter 4 ("ELF Header") and 5 ("Program Header", "Dynamic Section"), 64-bit little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

MACHINES = {"amd64": 62, "arm64": 183}
"""`e_machine` of Debian's architectures."""

_IDENT = b"\x7fELF\x02\x01"  # 64-bit, little-endian
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_DYNAMIC = struct.Struct("<qQ")
_SHARED, _LOAD, _DYNAMIC_SEGMENT = 3, 1, 2
_STRTAB, _SONAME = 5, 14
_LONGEST_NAME = 4096

Read = Callable[[int, int], bytes]
"""`read(limit, start)` returns at most `limit` bytes of the file from `start`."""


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library: its `e_machine`, and its soname, empty if it has none."""

    machine: int
    soname: str


def read_library(read: Read) -> Library | None:
    """Return what a file says of itself, or None if it is no shared library or is damaged."""
    try:
        return _library(read)
    except (struct.error, UnicodeDecodeError, IndexError):
        return None


def _library(read: Read) -> Library | None:
    head = read(_HEADER.size, 0)
    if not head.startswith(_IDENT):
        return None
    _ident, kind, machine, _version, _entry, offset, _sections, _flags, _size, width, count, *_ = _HEADER.unpack(head)
    if kind != _SHARED:
        return None
    table = read(width * count, offset)
    segments = [_PROGRAM.unpack_from(table, width * index) for index in range(count)]
    dynamic = next((segment for segment in segments if segment[0] == _DYNAMIC_SEGMENT), None)
    if dynamic is None:
        return None
    entries = dict(_DYNAMIC.iter_unpack(_whole(read(dynamic[5], dynamic[2]))))
    if _SONAME not in entries:
        return Library(machine, "")
    place = _file_offset(segments, entries.get(_STRTAB, 0)) + entries[_SONAME]
    return Library(machine, read(_LONGEST_NAME, place).split(b"\0", 1)[0].decode())


def _whole(data: bytes) -> bytes:
    """Return the entries before the one that ends the dynamic section."""
    end = next((at for at in range(0, len(data) - 15, 16) if data[at : at + 8] == bytes(8)), len(data) // 16 * 16)
    return data[:end]


def _file_offset(segments: list[tuple[int, ...]], address: int) -> int:
    for kind, _flags, offset, start, _physical, size, *_ in segments:
        if kind == _LOAD and start <= address < start + size:
            return offset + address - start
    raise IndexError(address)
