"""The records of an ELF file, for both classes and both byte orders.

Source: System V ABI, chapter 4 ("ELF Header") and 5 ("Program Header", "Dynamic Section").
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from repro_env.frozen import dataclass

EXECUTABLE, SHARED = 2, 3
LOAD, DYNAMIC, INTERPRETER = 1, 2, 3
WRITABLE = 2


@dataclass(frozen=True, slots=True)
class Header:
    """As much of a file's header as leads on: what the file is, and where its program headers are, in bytes."""

    kind: int
    machine: int
    place: int
    width: int
    count: int


@dataclass(frozen=True, slots=True)
class Segment:
    """One program header: `size` bytes at `offset` of the file, `address` in memory. `flags` are its `p_flags`."""

    kind: int
    flags: int
    offset: int
    address: int
    size: int


class Layout:
    """How one class in one byte order lays its records out."""

    def __init__(self, bits: int, order: str) -> None:
        self.bits = bits
        self.order = order
        address = "Q" if bits == 64 else "I"  # noqa: PLR2004 - the class itself
        self._header = struct.Struct(f"{order}16sHHI{address}{address}{address}IHHH")
        self._program = struct.Struct(f"{order}IIQQQQQQ" if address == "Q" else f"{order}IIIIIIII")
        self.entry = struct.Struct(order + address.lower() + address)
        """One entry of the dynamic section: tag and value."""

    def header(self, head: bytes) -> Header:
        """Read the file's header. Errors: `struct.error` when it is cut short."""
        _ident, kind, machine, _version, _entry, place, _sections, _flags, _size, width, count = (
            self._header.unpack_from(head)
        )
        return Header(kind, machine, place, width, count)

    def segments(self, table: bytes, header: Header) -> list[Segment]:
        """Read the program headers. Errors: `struct.error` when the table is cut short."""
        rows = (self._program.unpack_from(table, header.width * index) for index in range(header.count))
        if self.bits == 64:  # noqa: PLR2004 - as above
            return [Segment(kind, flags, offset, address, size) for kind, flags, offset, address, _, size, *_ in rows]
        return [Segment(kind, flags, offset, address, size) for kind, offset, address, _, size, _, flags, _ in rows]

    @property
    def program_size(self) -> int:
        """The least bytes that a program header takes."""
        return self._program.size


LAYOUTS: Mapping[bytes, Layout] = {
    bytes([width, data]): Layout(bits, order)
    for width, bits in ((1, 32), (2, 64))
    for data, order in ((1, "<"), (2, ">"))
}
"""By the class and the data encoding that a file's first bytes give."""
