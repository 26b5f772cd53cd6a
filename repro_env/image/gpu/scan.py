"""Finding fat binaries in a file that streams past, before its section headers, which stand at its end, have been seen.

Containers are looked for by their magic number and read on from there. What is found so is only what may be: it counts
once the section table shows that a section holds just that, and a file of which it does not is read again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from repro_env.image.elf.layout import EXECUTABLE, LAYOUTS, LOAD, SHARED, WRITABLE, Segment
from repro_env.image.elf.reader import Range
from repro_env.image.gpu.fatbin import MAGIC, containers
from repro_env.image.gpu.walk import Found, TooManyError, UnreadableError, Walk

_RUN = 1  # PF_X
_MOST_RUNS = 64


@dataclass(slots=True)
class Run:
    """Containers that stand in a row, from `start` in the file."""

    start: int
    found: Found = field(default_factory=Found)
    walk: Walk = field(init=False)

    def __post_init__(self) -> None:
        self.walk = Walk(containers(self.found))

    def fills(self, start: int, end: int) -> bool:
        """Whether these bytes of the file are just these containers, and zeros."""
        return self.start == start and self.walk.end <= end - start <= self.walk.clear


class Scan:
    """Looks through some ranges of a file, which are in order and apart."""

    def __init__(self, ranges: Sequence[Range]) -> None:
        self.runs: list[Run] = []
        self._ranges = ranges
        self._open: Run | None = None
        self._place = 0
        self._before = b""  # the last bytes: a magic number may lie across two pieces

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
        if at < 0:
            self._before = joined[1 - len(MAGIC) :]
            return b""
        self._before = b""
        self._open = Run(self._place - len(joined) + at)
        self.runs.append(self._open)
        return joined[at:]


def likely_ranges(head: bytes, *, expected: bool) -> list[Range]:
    """Return where fat binaries are to be looked for, from a file's first bytes.

    Linkers put them among what is only read, which has segments of its own or, from older ones, stands with the
    code. To search the code as well takes time, and is done only where fat binaries are `expected`.
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
    apart = [one for one in loaded if not one.flags & _RUN]
    return list(_in_order(apart or (loaded if expected else [])))


def _in_order(segments: Iterable[Segment]) -> Iterable[Range]:
    end = 0
    for segment in sorted(segments, key=lambda one: one.offset):
        start = max(segment.offset, end)
        if start < segment.offset + segment.size:
            end = segment.offset + segment.size
            yield start, end - start
