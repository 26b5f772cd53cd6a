"""A wheel's zip archive, read by hand where it counts: each member's DEFLATE stream as it stands in the file.

The standard library's zipfile reads the central directory; the streams are read straight from the file, in pieces, so
that the size of a member never decides how much memory is used. Source: PKWARE APPNOTE.TXT 6.3, sections 4.3 and 4.4.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from isal import isal_zlib

from repro_env.edges.files import os_errors
from repro_env.errors import IntegrityError
from repro_env.frozen import dataclass
from repro_env.image.inflate import Inflater

_LOCAL_HEADER_SIZE = 30
_LOCAL_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED, _UTF8 = 0x1, 0x800
_CHUNK = 1 << 20
_READ_AHEAD = 64  # extra fields that a first read usually covers


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive. `crc`, `size` are of the content, `compressed` is the stored stream's size."""

    name: str
    raw_name: bytes  # as both headers hold it
    crc: int
    size: int
    compressed: int
    deflated: bool
    executable: bool
    offset: int  # of its local header


class Archive:
    """An open zip archive of regular files, whose members are in the order of its directory.

    `label` is what messages call it. Errors: `StoreError` when the file cannot be opened, `IntegrityError` when it is
    no zip archive, or is damaged or hostile.
    """

    def __init__(self, path: Path, label: str) -> None:
        self.label = label
        with os_errors(f"read {label}"):
            self._file = os.open(path, os.O_RDONLY)
        try:
            self.members = _members(_directory(self._file, label), label)
        except IntegrityError:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._file)

    def stream(self, member: Member) -> Iterator[bytes]:
        """Yield the member's bytes as they stand in the archive, in pieces of at most 1 MiB."""
        head = _LOCAL_HEADER_SIZE + len(member.raw_name)
        first = self._read(member, head + _READ_AHEAD + min(member.compressed, _CHUNK), member.offset)
        if first[:4] != _LOCAL_SIGNATURE or len(first) < head:
            raise self._damaged(member, "no local header where the central directory says")
        name_size, extra_size = (int.from_bytes(first[at : at + 2], "little") for at in (26, 28))
        if first[_LOCAL_HEADER_SIZE : _LOCAL_HEADER_SIZE + name_size] != member.raw_name:
            raise self._damaged(member, "its local header has another name")
        start = head + extra_size
        piece = first[start : start + min(member.compressed, _CHUNK)]
        left, place = member.compressed - len(piece), member.offset + start + len(piece)
        if piece:
            yield piece
        while left:
            piece = self._read(member, min(left, _CHUNK), place)
            if not piece:
                raise self._damaged(member, "the archive ends within it")
            left, place = left - len(piece), place + len(piece)
            yield piece

    def content(self, member: Member) -> Iterator[bytes]:
        """Yield the member's content, inflated, never more than its declared size. Errors: `IntegrityError`."""
        inflater = Inflater(member.size, f"{self.label}: {member.name}") if member.deflated else None
        left, crc = member.size, 0
        for stored in self.stream(member):
            for piece in inflater.feed(stored) if inflater else (stored,):
                left, crc = left - len(piece), isal_zlib.crc32(piece, crc)
                if left < 0:
                    break
                yield piece
        if left or crc != member.crc or (inflater and not inflater.finished):
            raise self._damaged(member, f"it does not hold the {member.size} bytes it declares")

    def read(self, member: Member, *, limit: int = 64 << 20) -> bytes:
        """Return a small member's whole content. Errors: `IntegrityError` when it is larger than `limit` bytes."""
        if member.size > limit:
            raise self._damaged(member, f"{member.size} bytes is too large for such a file")
        return b"".join(self.content(member))

    def begins_with(self, member: Member, prefix: bytes) -> bool:
        """Whether the content begins so; no more of it is inflated than that takes."""
        head = b""
        for piece in self.content(member):
            head += piece[: len(prefix)]
            if len(head) >= len(prefix):
                break
        return head.startswith(prefix)

    def digest(self, member: Member, algorithm: str) -> bytes:
        """Return the content's digest by this algorithm of hashlib."""
        digest = hashlib.new(algorithm)
        for piece in self.content(member):
            digest.update(piece)
        return digest.digest()

    def _read(self, member: Member, size: int, place: int) -> bytes:
        try:
            return os.pread(self._file, size, place)
        except (OSError, OverflowError) as error:
            raise self._damaged(member, f"it cannot be read: {error}") from error

    def _damaged(self, member: Member, why: str) -> IntegrityError:
        return IntegrityError(f"{self.label} is damaged", f"{member.name}: {why}")


def _directory(file: int, label: str) -> list[zipfile.ZipInfo]:
    """Return what the archive's central directory lists."""
    try:
        with os.fdopen(os.dup(file), "rb") as stream, zipfile.ZipFile(stream) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, OverflowError, OSError) as error:
        raise IntegrityError(f"{label} is not a readable wheel", str(error)) from error


def _members(infos: list[zipfile.ZipInfo], label: str) -> tuple[Member, ...]:
    """Check every name, kind and place, and leave the directories out: a layer makes those it needs."""
    seen: set[str] = set()
    found = []
    for info in infos:
        name = info.orig_filename  # as decoded; newer versions of zipfile let an extra field replace `filename`
        if name in seen:
            raise IntegrityError(f"{label} is not a usable wheel", f"{name}: named twice")
        seen.add(name)
        _check_name(name, label)
        if not name.endswith("/"):
            found.append(_member(name, info, label))
    _check_places(found, label)
    return tuple(found)


def _check_name(name: str, label: str) -> None:
    """Refuse what could land elsewhere than where it says: absolute names, `..`, empty and `.` parts, NUL."""
    parts = name.removesuffix("/").split("/")
    if "\0" in name or any(part in {"", ".", ".."} for part in parts):
        raise IntegrityError(f"{label} is not a usable wheel", f"{name!r}: not a plain relative path")


def _check_places(members: list[Member], label: str) -> None:
    """Refuse members that share bytes: a file of a megabyte could inflate to terabytes so."""
    end = 0
    for member in sorted(members, key=lambda member: member.offset):
        if member.offset < end:
            raise IntegrityError(f"{label} is not a usable wheel", f"{member.name}: overlaps the member before it")
        end = member.offset + _LOCAL_HEADER_SIZE + len(member.raw_name) + member.compressed


def _member(name: str, info: zipfile.ZipInfo, label: str) -> Member:
    mode = info.external_attr >> 16
    if info.flag_bits & _ENCRYPTED:
        raise IntegrityError(f"{label} is not a usable wheel", f"{name}: encrypted")
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        why = f"{name}: compression method {info.compress_type}; wheels use 0 (stored) and 8 (deflate)"
        raise IntegrityError(f"{label} is not a usable wheel", why)
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
        raise IntegrityError(f"{label} is not a usable wheel", f"{name}: not a regular file")
    return Member(
        name=name,
        raw_name=name.encode("utf-8" if info.flag_bits & _UTF8 else "cp437"),
        crc=info.CRC,
        size=info.file_size,
        compressed=info.compress_size,
        deflated=info.compress_type == zipfile.ZIP_DEFLATED,
        executable=bool(mode & 0o111),
        offset=info.header_offset,
    )
