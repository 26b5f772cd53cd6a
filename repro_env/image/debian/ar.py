"""The outer shape of a `.deb`: a Unix archive of three members.

Source: deb(5), "FORMAT"; ar(5).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from repro_env.frozen import dataclass

if TYPE_CHECKING:
    from typing_extensions import Buffer  # the type checker's own; `collections.abc` has it from Python 3.12

_MAGIC = b"!<arch>\n"
_HEADER_SIZE = 60
_HEADER_END = b"`\n"


@dataclass(frozen=True, slots=True)
class Member:
    """One member: its name, and where its `size` bytes begin in the file."""

    name: str
    offset: int
    size: int


def members(stream: BinaryIO) -> Iterator[Member]:
    """Yield the members of a seekable archive. Errors: `ValueError` for anything but a whole archive."""
    length = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise ValueError("it is not an ar archive")
    place = len(_MAGIC)
    while place < length:
        stream.seek(place)
        member = _member(stream.read(_HEADER_SIZE), place + _HEADER_SIZE)
        if member.offset + member.size > length:
            raise ValueError(f"it is cut short: {member.name} should end at {member.offset + member.size}")
        yield member
        place = member.offset + member.size + member.size % 2


def _member(header: bytes, offset: int) -> Member:
    if len(header) != _HEADER_SIZE or header[58:] != _HEADER_END:
        raise ValueError(f"it has no member header at {offset - _HEADER_SIZE}")
    name, size = header[:16].decode("ascii").rstrip(" ").rstrip("/"), header[48:58].decode("ascii").strip(" ")
    if not size.isdigit():
        raise ValueError(f"its member {name!r} has no size")
    return Member(name, offset, int(size))


class Part(io.RawIOBase):
    """`size` bytes of another file from `offset`, as a file that can only be read onward."""

    def __init__(self, stream: BinaryIO, offset: int, size: int) -> None:
        super().__init__()
        self._stream = stream
        self._left = size
        stream.seek(offset)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Fill the buffer with what comes next."""
        view = memoryview(buffer)[: self._left]
        data = self._stream.read(len(view))
        view[: len(data)] = data
        self._left -= len(data)
        return len(data)
