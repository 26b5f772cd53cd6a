"""The GPU code of one ELF file, read while it streams past.

Most files have none, and are not to be slowed down: only their section table is kept, from the end of the file.
Of those that have some, most are read in the one pass, too (`scan`). The others are streamed again, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from repro_env.image.elf.reader import MalformedElfError, Range
from repro_env.image.elf.sections import IDENT, Section, read_sections, section_table
from repro_env.image.elf.stream import AbsentError, Sparse, keep_ranges, merged
from repro_env.image.gpu import fatbin, hip
from repro_env.image.gpu.scan import Scan, likely_ranges
from repro_env.image.gpu.walk import Found, UnreadableError, Walk

_SMALL = 1 << 20
"""Bytes up to which a file is kept whole."""

_HEAD = 64
_NAMES = 64 << 10
"""Bytes kept before the section table: linkers write the names of the sections there."""

_MOST_KEPT = 8 << 20
_MOST_SECTIONS = 64
_MOST_PASSES = 5
"""As many as `read_sections` has points at which it asks for more, and one."""

Result = Found | UnreadableError | MalformedElfError
Done = Callable[[Result], None]


class GpuSink:
    """Takes a file's bytes as they pass and gives what they hold for GPUs.

    `size` is the file's; `again` streams it once more from its beginning; `expected` says that fat binaries are worth
    looking for in all of it. `done` gets the result where there is one: what was found, or why that is not known.
    """

    def __init__(self, size: int, *, expected: bool, again: Callable[[], Iterable[bytes]], done: Done) -> None:
        self._size = size
        self._expected = expected
        self._again = again
        self._done = done
        self._kept = Sparse()
        self._place = 0
        self._wanted: Sequence[Range] | None = None
        self._scan = Scan([])
        self._bare = False  # without section headers

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the file."""
        if self._wanted is None:
            self._wanted = self._begin(piece)
        keep_ranges(self._kept, self._wanted, self._place, piece)
        self._scan.feed(self._place, piece)
        self._place += len(piece)

    def close(self) -> None:
        """Take the file as ended."""
        try:
            found = self._found()
        except (UnreadableError, MalformedElfError) as error:
            self._done(error)
        else:
            if found.sass or found.ptx or found.amd:
                self._done(found)

    def _begin(self, head: bytes) -> Sequence[Range]:
        """Return what to keep of the file, and look into the rest of it where that may be worth it."""
        if head.startswith(IDENT):
            self._scan = Scan(likely_ranges(head, expected=self._expected))
        try:
            table = section_table(head)
        except MalformedElfError:
            return [(0, _HEAD)]  # it is said when the file has ended
        self._bare = table is None and len(head) >= _HEAD
        if self._size <= _SMALL:
            return [(0, self._size)]
        if table is None:
            return [(0, _HEAD)]
        start = max(table.offset - _NAMES, 0)
        return list(merged([(0, _HEAD), (start, min(table.offset - start + table.size, _MOST_KEPT))]))

    def _found(self) -> Found:
        sections = self._sections()
        if len(sections) > _MOST_SECTIONS:
            raise UnreadableError(f"it has {len(sections)} sections of GPU code")
        found = Found()
        if self._bare and any(run.found for run in self._scan.runs):
            raise UnreadableError("it holds GPU code and has no section headers")
        left = []
        for section in sections:
            if section.compressed:
                raise UnreadableError(f"its section {section.name} is compressed")
            seen = self._scan.between(section.offset, section.end)
            if seen is None or section.name in hip.SECTIONS:
                left.append(_Reading(section, found))
            else:
                found.add(seen)
        self._read(left)
        return found

    def _sections(self) -> list[Section]:
        for _turn in range(_MOST_PASSES):
            try:
                return read_sections(self._kept.read, self._size, fatbin.SECTIONS | hip.SECTIONS)
            except AbsentError as absent:
                self._fetch(list(merged(absent.ranges)))
        raise MalformedElfError("its parts lie too far apart")

    def _fetch(self, wanted: Sequence[Range]) -> None:
        self._pass(sum(wanted[-1]), lambda place, piece: keep_ranges(self._kept, wanted, place, piece))

    def _read(self, readings: Sequence[_Reading]) -> None:
        if not readings:
            return

        def take(place: int, piece: bytes) -> None:
            for reading in readings:
                reading.feed(place, piece)

        if self._size <= _SMALL:
            take(0, self._kept.read([(0, self._size)])[0])
        else:
            self._pass(max(reading.end for reading in readings), take)
        for reading in readings:
            reading.close()

    def _pass(self, end: int, take: Callable[[int, bytes], None]) -> None:
        """Stream the file again, as far as `end`."""
        place = 0
        for piece in self._again():
            take(place, piece)
            place += len(piece)
            if place >= end:
                return


class _Reading:
    """One section that is being read."""

    def __init__(self, section: Section, found: Found) -> None:
        self._start, self.end = section.offset, section.end
        steps = (hip.bundles if section.name in hip.SECTIONS else fatbin.containers)(found.add)
        self._walk = Walk(steps)

    def feed(self, place: int, piece: bytes) -> None:
        """Take what a piece at `place` has of the section."""
        first, last = max(self._start, place), min(self.end, place + len(piece))
        if first < last:
            self._walk.feed(piece[first - place : last - place])

    def close(self) -> None:
        """Take the section as ended."""
        self._walk.close()
