"""An ELF file read while it streams past: a few ranges of it are kept, and a missing one is fetched by a second pass.

What the dynamic linker reads stands, as linkers lay files out, at the beginning of the first segment (names and
versions) and in the dynamic section, or in the small writable segments that tools which edit libraries add. The program
headers say where these are, so these are kept. A file that is laid out otherwise is streamed again, each time only as
far as the last range that is missing.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

from repro_env.image.elf.layout import DYNAMIC, INTERPRETER, LAYOUTS, LOAD, WRITABLE
from repro_env.image.elf.reader import MAGIC, Elf, MalformedElfError, Range, read_elf

KEPT = 8 << 20
"""Bytes kept of the first segment: PyTorch's largest library has its names in the first 7.4 MiB."""

_SMALL = 1 << 20
"""Bytes up to which a file is kept whole."""

_WRITABLE = 2 << 20
"""Bytes kept of writable segments, the smallest first."""

_MOST_PASSES = 6
"""As many as the reader has points at which it asks for more."""


class AbsentError(Exception):
    """These ranges of the file were not kept."""

    def __init__(self, ranges: Sequence[Range]) -> None:
        super().__init__(ranges)
        self.ranges = ranges


class Sparse:
    """The parts of a file that were kept, in the order of their places; they do not overlap."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._parts: list[bytes] = []

    def keep(self, start: int, data: bytes) -> None:
        """Keep the bytes that begin at `start`, as far as they are not known yet."""
        place, end = start, start + len(data)
        index = bisect_right(self._starts, start)
        place = max(place, self._end(index - 1)) if index else place
        while place < end:
            until = min(end, self._starts[index]) if index < len(self._starts) else end
            if place < until:
                self._starts.insert(index, place)
                self._parts.insert(index, data[place - start : until - start])
            place = self._end(index)
            index += 1

    def read(self, ranges: Sequence[Range]) -> list[bytes]:
        """Return these bytes. Errors: `AbsentError` naming every range that is not wholly kept."""
        found = [self._one(start, size) for start, size in ranges]
        absent = [wanted for wanted, data in zip(ranges, found, strict=True) if data is None]
        if absent:
            raise AbsentError(absent)
        return [data for data in found if data is not None]

    def _end(self, index: int) -> int:
        return self._starts[index] + len(self._parts[index])

    def _one(self, start: int, size: int) -> bytes | None:
        pieces = []
        index = max(bisect_right(self._starts, start) - 1, 0)
        while size and index < len(self._parts) and self._starts[index] <= start:
            offset = start - self._starts[index]
            piece = self._parts[index][offset : offset + size]
            pieces.append(piece)
            start, size, index = start + len(piece), size - len(piece), index + 1
        return None if size else b"".join(pieces)


class ElfSink:
    """Takes a file's bytes as they pass and gives what the file says of itself.

    `size` is the file's; `again` streams it once more from its beginning. `done` gets the result: None for what is not
    dynamically linked, or the error for what is malformed.
    """

    def __init__(
        self, size: int, again: Callable[[], Iterable[bytes]], done: Callable[[Elf | MalformedElfError | None], None]
    ) -> None:
        self._size = size
        self._again = again
        self._done = done
        self._kept = Sparse()
        self._place = 0
        self._wanted: Sequence[Range] | None = [(0, size)] if size <= _SMALL else None

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the file."""
        if self._wanted is None:
            self._wanted = list(merged(_likely(piece)))
        keep_ranges(self._kept, self._wanted, self._place, piece)
        self._place += len(piece)

    def close(self) -> None:
        """Take the file as ended."""
        try:
            self._done(self._result())
        except MalformedElfError as error:
            self._done(error)

    def _result(self) -> Elf | None:
        for _turn in range(_MOST_PASSES):
            try:
                return read_elf(self._kept.read, self._size)
            except AbsentError as absent:
                self._pass(list(merged(absent.ranges)))
        raise MalformedElfError("its parts lie too far apart")

    def _pass(self, wanted: Sequence[Range]) -> None:
        """Stream the file again, as far as the last wanted range."""
        place, end = 0, wanted[-1][0] + wanted[-1][1]
        for piece in self._again():
            keep_ranges(self._kept, wanted, place, piece)
            place += len(piece)
            if place >= end:
                return


def keep_ranges(kept: Sparse, wanted: Sequence[Range], place: int, piece: bytes) -> None:
    """Keep what the piece at `place` has of the wanted ranges, which are in order and do not overlap."""
    end = place + len(piece)
    index = max(bisect_right(wanted, place, key=lambda one: one[0]) - 1, 0)
    for start, size in wanted[index:]:
        if start >= end:
            return
        first, last = max(start, place), min(start + size, end)
        if first < last:
            kept.keep(first, piece[first - place : last - place])


def merged(ranges: Iterable[Range]) -> Iterator[Range]:
    """Yield the same bytes as ranges that are in order and apart."""
    start, end = 0, 0
    for first, size in sorted(ranges):
        if first > end:
            if end > start:
                yield start, end - start
            start = first
        end = max(end, first + size)
    if end > start:
        yield start, end - start


def _likely(head: bytes) -> Iterator[Range]:
    """Yield the ranges that the program headers at a file's beginning promise to be of use."""
    yield 0, len(head)
    layout = LAYOUTS.get(head[4:6]) if head.startswith(MAGIC) else None
    if layout is None:
        return
    try:
        header = layout.header(head)
        segments = layout.segments(head[header.place : header.place + header.width * header.count], header)
    except struct.error:
        return
    left = _WRITABLE
    for segment in sorted(segments, key=lambda segment: segment.size):
        if segment.kind == LOAD and segment.offset == 0:
            yield 0, min(segment.size, KEPT)
        elif segment.kind in {DYNAMIC, INTERPRETER} or (segment.kind == LOAD and segment.flags & WRITABLE):
            yield segment.offset, min(segment.size, left)
            left -= min(segment.size, left)
