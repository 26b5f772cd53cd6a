"""Finding fat binaries in a file that streams past, before its section headers, which stand at its end, have been seen.

Containers are looked for by their magic number and read on from there. What is found so is only what may be: it counts
once the section table shows that a section holds just that, and a file of which it does not is read again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from repro_env.image.elf.layout import EXECUTABLE, LAYOUTS, LOAD, SHARED, WRITABLE, Segment
from repro_env.image.elf.reader import Range
from repro_env.image.gpu.fatbin import BEGINNING, MAGIC, containers
from repro_env.image.gpu.walk import Found, TooManyError, UnreadableError, Walk

_RUN = 1  # PF_X
_MOST_RUNS = 64
_MOST_PARTS = 1 << 14


class Run:
    """Containers that stand in a row, from `start` in the file."""

    def __init__(self, start: int) -> None:
        self.walk = Walk(containers(self._take))
        self._start = start
        self._parts: list[tuple[int, int, Found]] = []

    @property
    def found(self) -> bool:
        """Whether there was one whole container at least."""
        return bool(self._parts)

    def between(self, start: int, end: int) -> Found | None:
        """Return what containers between these places of the file hold, if there is nothing else but zeros."""
        first, last = start - self._start, end - self._start
        if first < 0 or last > self.walk.clear:
            return None
        found = Found()
        for begin, stop, code in self._parts:
            if begin < last and first < stop:
                if begin < first or last < stop:
                    return None
                found.add(code)
        return found

    def _take(self, code: Found) -> None:
        if len(self._parts) == _MOST_PARTS:
            raise TooManyError("there is no room to remember more of its containers")
        self._parts.append((self.walk.clear, self.walk.place, code))


class Scan:
    """Looks through some ranges of a file, which are in order and apart."""

    def __init__(self, ranges: Sequence[Range]) -> None:
        self.runs: list[Run] = []
        self._ranges = ranges
        self._open: Run | None = None
        self._place = 0
        self._before = b""  # the last bytes: a beginning may lie across two pieces

    def between(self, start: int, end: int) -> Found | None:
        """Return what containers between these places hold; None if that is not sure to be all that stands there."""
        return next((found for run in self.runs if (found := run.between(start, end)) is not None), None)

    def feed(self, place: int, piece: bytes) -> None:
        """Take the next bytes of the file, which begin at `place`."""
        end = place + len(piece)
        for start, size in self._ranges:
            first, last = max(start, place), min(start + size, end)
            if first < last:
                self._part(first, piece if last - first == len(piece) else piece[first - place : last - place])

    def _part(self, place: int, data: bytes) -> None:
        if place != self._place:
            self._open, self._before = None, b""
        self._place = place + len(data)
        while data:
            data = self._read_on(self._open, data) if self._open is not None else self._search(data)

    def _read_on(self, run: Run, data: bytes) -> bytes:
        """Let a run take its bytes, and return those that are left when it ends."""
        before = run.walk.place
        try:
            run.walk.feed(data)
        except TooManyError:
            self._open, self._ranges = None, ()
            return b""
        except UnreadableError:
            self._open = None
            return data[max(run.walk.place - before, 1) :]
        return b""

    def _search(self, data: bytes) -> bytes:
        """Look for a run's beginning, and return the bytes from there on."""
        joined = self._before + data
        at = joined.find(MAGIC) if len(self.runs) < _MOST_RUNS else -1
        while 0 <= at <= len(joined) - len(BEGINNING) and not joined.startswith(BEGINNING, at):
            at = joined.find(MAGIC, at + 1)  # code that compares with the magic number has it, too
        if not 0 <= at <= len(joined) - len(BEGINNING):
            self._before = joined[1 - len(BEGINNING) :]
            return b""
        self._before = b""
        self._open = Run(self._place - len(joined) + at)
        self.runs.append(self._open)
        return joined[at:]


def likely_ranges(head: bytes, *, expected: bool) -> list[Range]:
    """Return where fat binaries are to be looked for, from a file's first bytes.

    Linkers put them among what is only read: into segments of their own or, older linkers, into that of the code. To
    search the code as well takes time, and is done only where fat binaries are `expected`.
    """
    layout = LAYOUTS[head[4:6]]
    try:
        header = layout.header(head)
        segments = layout.segments(head[header.place : header.place + header.width * header.count], header)
    except struct.error:
        return []
    if header.kind not in {EXECUTABLE, SHARED}:
        return []
    loaded = [one for one in segments if one.kind == LOAD and one.size and not one.flags & WRITABLE]
    return list(_in_order(one for one in loaded if expected or not one.flags & _RUN))


def _in_order(segments: Iterable[Segment]) -> Iterable[Range]:
    end = 0
    for segment in sorted(segments, key=lambda one: one.offset):
        start = max(segment.offset, end)
        if start < segment.offset + segment.size:
            end = segment.offset + segment.size
            yield start, end - start
