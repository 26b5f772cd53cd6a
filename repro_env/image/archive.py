"""A wheel's zip archive, read by hand where it counts: each member's DEFLATE stream as it stands in the file.

The standard library's zipfile reads the central directory; the streams are read straight from the file, in pieces, so
that the size of a member never decides how much memory is used. Source: PKWARE APPNOTE.TXT 6.3, sections 4.3 and 4.4.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from repro_env.errors import IntegrityError

_LOCAL_HEADER_SIZE = 30
_LOCAL_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 0x1
_CHUNK = 1 << 20
_READ_AHEAD = 512  # names and extra fields that a first read usually covers


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive. `crc`, `size` are of the content, `compressed` is the stored stream's size."""

    name: str
    crc: int
    size: int
    compressed: int
    deflated: bool
    executable: bool
    offset: int  # of its local header


class Archive:
    """An open zip archive of regular files. Errors: `IntegrityError` when it is not one, or is damaged or hostile."""

    def __init__(self, path: Path, label: str) -> None:
        self.label = label
        self._file = os.open(path, os.O_RDONLY)
        try:
            with zipfile.ZipFile(os.fdopen(os.dup(self._file), "rb")) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, EOFError, ValueError, OSError) as error:
            os.close(self._file)
            raise IntegrityError(f"{label} is not a readable wheel", str(error)) from error
        try:
            self.members = _members(infos, label)
        except IntegrityError:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._file)

    def stream(self, member: Member) -> Iterator[bytes]:
        """Yield the member's bytes as they stand in the archive, in pieces of at most 1 MiB."""
        want = _LOCAL_HEADER_SIZE + len(member.name) + _READ_AHEAD + min(member.compressed, _CHUNK)
        first = os.pread(self._file, want, member.offset)
        if first[:4] != _LOCAL_SIGNATURE or len(first) < _LOCAL_HEADER_SIZE:
            raise self._damaged(member, "no local header where the central directory says")
        start = _LOCAL_HEADER_SIZE + int.from_bytes(first[26:28], "little") + int.from_bytes(first[28:30], "little")
        name = first[_LOCAL_HEADER_SIZE : _LOCAL_HEADER_SIZE + int.from_bytes(first[26:28], "little")]
        if name not in {member.name.encode(), member.name.encode("cp437", "replace")}:
            raise self._damaged(member, "its local header has another name")
        piece = first[start : start + member.compressed]
        left, place = member.compressed - len(piece), member.offset + start + len(piece)
        if piece:
            yield piece
        while left:
            piece = os.pread(self._file, min(left, _CHUNK), place)
            if not piece:
                raise self._damaged(member, "the archive ends within it")
            left, place = left - len(piece), place + len(piece)
            yield piece

    def content(self, member: Member) -> Iterator[bytes]:
        """Yield the member's content, inflated, never more than its declared size. Errors: `IntegrityError`."""
        inflater = zlib.decompressobj(-15)
        left, crc = member.size, 0
        for compressed in self.stream(member):
            waiting = compressed
            while waiting:
                piece = inflater.decompress(waiting, _CHUNK) if member.deflated else waiting
                waiting = inflater.unconsumed_tail if member.deflated else b""
                left, crc = left - len(piece), zlib.crc32(piece, crc)
                if left < 0:
                    raise self._damaged(member, f"it is larger than the {member.size} bytes it declares")
                yield piece
        if left or crc != member.crc or (member.deflated and not inflater.eof):
            raise self._damaged(member, f"it does not hold the {member.size} bytes it declares")

    def read(self, member: Member, *, limit: int = 64 << 20) -> bytes:
        """Return a small member's whole content. Errors: `IntegrityError` when it is larger than `limit` bytes."""
        if member.size > limit:
            raise self._damaged(member, f"{member.size} bytes is too large for such a file")
        try:
            return b"".join(self.content(member))
        except zlib.error as error:
            raise self._damaged(member, str(error)) from error

    def begins_with(self, member: Member, prefix: bytes) -> bool:
        """Whether the content begins so; only its first bytes are inflated."""
        if member.size < len(prefix):
            return False
        try:
            first = next(self.stream(member))
            head = zlib.decompressobj(-15).decompress(first, len(prefix)) if member.deflated else first
        except zlib.error as error:
            raise self._damaged(member, str(error)) from error
        return head[: len(prefix)] == prefix

    def digest(self, member: Member, algorithm: str) -> bytes:
        """Return the content's digest by this algorithm of hashlib."""
        digest = hashlib.new(algorithm)
        try:
            for piece in self.content(member):
                digest.update(piece)
        except zlib.error as error:
            raise self._damaged(member, str(error)) from error
        return digest.digest()

    def _damaged(self, member: Member, why: str) -> IntegrityError:
        return IntegrityError(f"{self.label} is damaged", f"{member.name}: {why}")


def _members(infos: list[zipfile.ZipInfo], label: str) -> tuple[Member, ...]:
    """Check every name and kind, and leave the directories out: a layer makes those it needs."""
    seen: set[str] = set()
    found = []
    for info in infos:
        name = info.filename
        if name in seen:
            raise IntegrityError(f"{label} is not a usable wheel", f"{name}: named twice")
        seen.add(name)
        _check_name(name, label)
        if name.endswith("/"):
            continue
        found.append(_member(info, label))
    return tuple(found)


def _check_name(name: str, label: str) -> None:
    """Refuse what could land elsewhere than where it says: absolute names, `..`, empty and `.` parts, NUL."""
    parts = name.removesuffix("/").split("/")
    if "\0" in name or any(part in {"", ".", ".."} for part in parts):
        raise IntegrityError(f"{label} is not a usable wheel", f"{name!r}: not a plain relative path")


def _member(info: zipfile.ZipInfo, label: str) -> Member:
    mode = info.external_attr >> 16
    if info.flag_bits & _ENCRYPTED:
        raise IntegrityError(f"{label} is not a usable wheel", f"{info.filename}: encrypted")
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        why = f"{info.filename}: compression method {info.compress_type}; wheels use 0 (stored) and 8 (deflate)"
        raise IntegrityError(f"{label} is not a usable wheel", why)
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
        raise IntegrityError(f"{label} is not a usable wheel", f"{info.filename}: not a regular file")
    return Member(
        name=info.filename,
        crc=info.CRC,
        size=info.file_size,
        compressed=info.compress_size,
        deflated=info.compress_type == zipfile.ZIP_DEFLATED,
        executable=bool(mode & 0o111),
        offset=info.header_offset,
    )
