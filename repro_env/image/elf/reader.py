"""What one ELF file needs of others and gives them, found as the dynamic linker finds it: through program headers.

Section headers are never looked at: the linker does not need them, and a file may be stripped of them. Whatever a
hostile file says, the reader asks for a bounded number of bytes of it and ends.
Source: System V ABI, chapter 5 ("Dynamic Section"); Linux Standard Base Core 5.0, chapter 10.7 ("Symbol Versioning").
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field

from repro_env.frozen import dataclass
from repro_env.image.elf.layout import DYNAMIC, EXECUTABLE, INTERPRETER, LAYOUTS, LOAD, SHARED, Layout, Segment

MAGIC = b"\x7fELF"

MACHINES = {"amd64": 62, "arm64": 183}
"""`e_machine` of the architectures that images are made for."""

_HEAD = 64
_PROGRAM_HEADERS = 1 << 16
"""The most bytes of program headers, as Linux has it (`load_elf_phdrs`)."""

_DYNAMIC = 1 << 20
_VERSIONS = 1 << 16
_STRING = 1 << 12
"""The most bytes taken of a dynamic section, a version section, a name."""

_NAMES = 2048
"""The most names, and version records, of one file."""

_UNLIMITED = 1 << 64
_NULL, _NEEDED, _STRTAB, _STRSZ, _SONAME, _RPATH, _RUNPATH = 0, 1, 5, 10, 14, 15, 29
_VERDEF, _VERNEED = 0x6FFFFFFC, 0x6FFFFFFE
_BASE, _WEAK = 1, 2  # VER_FLG_BASE: the file's own name; VER_FLG_WEAK: nobody minds if it is missing

Range = tuple[int, int]
"""Where bytes begin in a file, and how many they are."""

Read = Callable[[Sequence[Range]], Sequence[bytes]]
"""Gives the bytes of ranges, which all lie within the file."""


class MalformedElfError(ValueError):
    """A file begins as an ELF file and is none that could be loaded: nothing is known of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elf:
    """A dynamically linked executable or shared library.

    `machine` is its `e_machine`. `rpath`, `runpath` are as they stand in the file. `needs` maps a needed library's name
    to the symbol versions asked of it, weak ones apart; `defines` are those the file offers itself.
    """

    machine: int
    bits: int
    executable: bool = False  # ET_EXEC: not even position-independent, so no library
    soname: str = ""
    needed: tuple[str, ...] = ()
    rpath: str = ""
    runpath: str = ""
    interpreter: str = ""
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    defines: tuple[str, ...] = ()


def read_elf(read: Read, size: int) -> Elf | None:
    """Return what a file of `size` bytes says of itself, or None if it is no ELF file, or not dynamically linked.

    Errors: `MalformedElfError`, and whatever `read` raises.
    """
    try:
        return _Reader(read, size).elf()
    except struct.error as error:
        raise MalformedElfError("a record of it is cut short") from error


class _Reader:
    """Follows one file's records. Each call of `_at` asks for all that can be asked for at that point."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._size = size

    def elf(self) -> Elf | None:
        (head,) = self._at((0, min(_HEAD, self._size)))
        layout = LAYOUTS.get(head[4:6]) if head.startswith(MAGIC) else None
        if layout is None:
            return None
        header = layout.header(head)
        if header.kind not in {EXECUTABLE, SHARED}:
            return None
        if header.width < layout.program_size or header.width * header.count > _PROGRAM_HEADERS:
            raise MalformedElfError("its program headers are of no possible size")
        (table,) = self._at((header.place, header.width * header.count))
        segments = layout.segments(table, header)
        parts = {segment.kind: segment for segment in reversed(segments)}
        if DYNAMIC not in parts:
            return None
        wanted = [self._part(parts[DYNAMIC], _DYNAMIC)]
        wanted += [self._part(parts[INTERPRETER], _STRING)] if INTERPRETER in parts else []
        section, *rest = self._at(*wanted)
        interpreter = _text(rest[0]) if rest else ""
        linked = _Linked(layout, segments, _entries(layout, section))
        names, needs, defines = self._linked(linked)
        return Elf(
            machine=header.machine,
            bits=layout.bits,
            executable=header.kind == EXECUTABLE,
            soname=next(iter(names[_SONAME]), ""),
            needed=names[_NEEDED],
            rpath=next(iter(names[_RPATH]), ""),
            runpath=next(iter(names[_RUNPATH]), ""),
            interpreter=interpreter,
            needs=needs,
            defines=defines,
        )

    def _linked(
        self, linked: _Linked
    ) -> tuple[dict[int, tuple[str, ...]], dict[str, tuple[str, ...]], tuple[str, ...]]:
        """Return the names that dynamic entries give, by tag, and the version needs and definitions."""
        offsets = {tag: linked.values(tag) for tag in (_NEEDED, _SONAME, _RPATH, _RUNPATH)}
        places = [linked.place(tag) for tag in (_VERNEED, _VERDEF)]
        tables = [(place, min(_VERSIONS, self._size - place)) for place in places if place is not None]
        strings = [self._string(linked, offset) for values in offsets.values() for offset in values]
        found = iter(self._at(*tables, *strings))
        needs_table, defines_table = (b"" if place is None else next(found) for place in places)
        names = {tag: tuple(_text(next(found)) for _offset in values) for tag, values in offsets.items()}
        needed = list(_version_needs(needs_table, linked.layout.order)) if needs_table else []
        defined = list(_version_definitions(defines_table, linked.layout.order)) if defines_table else []
        texts = self._texts(linked, [*(one for pair in needed for one in pair), *defined])
        needs: dict[str, list[str]] = {}
        for library, version in needed:
            needs.setdefault(texts[library], []).append(texts[version])
        return names, {key: tuple(value) for key, value in needs.items()}, tuple(texts[one] for one in defined)

    def _texts(self, linked: _Linked, offsets: Sequence[int]) -> dict[int, str]:
        """Return the names at these offsets of the string table."""
        distinct = list(dict.fromkeys(offsets))
        found = self._at(*(self._string(linked, offset) for offset in distinct))
        return {offset: _text(data) for offset, data in zip(distinct, found, strict=True)}

    def _string(self, linked: _Linked, offset: int) -> Range:
        """Return where to read a name of the string table."""
        if linked.strings is None or offset >= linked.strings_size:
            raise MalformedElfError("a name of it lies outside its string table")
        start = linked.strings + offset
        return start, min(_STRING, linked.strings_size - offset, max(self._size - start, 0))

    def _part(self, segment: Segment, limit: int) -> Range:
        if segment.size > limit:
            raise MalformedElfError(f"a segment of kind {segment.kind} is {segment.size} bytes")
        return segment.offset, segment.size

    def _at(self, *ranges: Range) -> Sequence[bytes]:
        if len(ranges) > 2 * _NAMES or any(size < 0 or start + size > self._size for start, size in ranges):
            raise MalformedElfError("a part of it lies outside the file")
        return self._read(ranges)


class _Linked:
    """The dynamic section of a file, and where in the file the addresses in it are."""

    def __init__(self, layout: Layout, segments: Iterable[Segment], entries: Iterable[tuple[int, int]]) -> None:
        self.layout = layout
        self._loads = [segment for segment in segments if segment.kind == LOAD]
        self._values: dict[int, list[int]] = {}
        for tag, value in entries:
            self._values.setdefault(tag, []).append(value)
        self.strings = self.place(_STRTAB)
        self.strings_size = next(iter(self.values(_STRSZ)), _UNLIMITED)

    def values(self, tag: int) -> list[int]:
        found = self._values.get(tag, [])
        if len(found) > _NAMES:
            raise MalformedElfError("it names too many libraries")
        return found

    def place(self, tag: int) -> int | None:
        """Return where in the file this tag's address is, or None without such a tag."""
        for address in self._values.get(tag, [])[:1]:
            for segment in self._loads:
                if segment.address <= address < segment.address + segment.size:
                    return segment.offset + address - segment.address
            raise MalformedElfError("an address of it is in no segment")
        return None


def _entries(layout: Layout, section: bytes) -> Iterator[tuple[int, int]]:
    """Yield the dynamic section's entries before the one that ends it."""
    whole = len(section) // layout.entry.size * layout.entry.size
    for tag, value in layout.entry.iter_unpack(section[:whole]):
        if tag == _NULL:
            return
        yield tag, value


def _version_needs(table: bytes, order: str) -> Iterator[tuple[int, int]]:
    """Yield, for each version that is asked for, the string offsets of the library and of the version."""
    need, asked = struct.Struct(f"{order}HHIII"), struct.Struct(f"{order}IHHII")
    left, place = _NAMES, 0
    while True:
        _version, count, library, first, following = need.unpack_from(table, place)
        at = place + first
        for _index in range(count):
            left = _counted(left)
            _hash, flags, _other, name, step = asked.unpack_from(table, at)
            if not flags & _WEAK:
                yield library, name
            if not step:
                break
            at += step
        if not following:
            return
        left, place = _counted(left), place + following


def _version_definitions(table: bytes, order: str) -> Iterator[int]:
    """Yield the string offset of each version that the file defines, its own name apart."""
    definition, name = struct.Struct(f"{order}HHHHIII"), struct.Struct(f"{order}II")
    left, place = _NAMES, 0
    while True:
        _version, flags, _index, count, _hash, first, following = definition.unpack_from(table, place)
        if count and not flags & _BASE:
            yield name.unpack_from(table, place + first)[0]
        if not following:
            return
        left, place = _counted(left), place + following


def _counted(left: int) -> int:
    if not left:
        raise MalformedElfError("it has too many version records")
    return left - 1


def _text(data: bytes) -> str:
    """Return the text before the first NUL; what is not UTF-8 in it is written as escapes."""
    text, end, _rest = data.partition(b"\0")
    if not end:
        raise MalformedElfError("a name of it does not end")
    return text.decode(errors="backslashreplace")
