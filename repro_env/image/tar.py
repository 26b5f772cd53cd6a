"""Tar headers whose bytes depend on name, mode, size and link alone.

POSIX ustar, with a pax extended header where ustar cannot say it: a path that is long or not ASCII, a link of that
kind, a size from 8 GiB up, an owner or group from 2097152 up. The standard library's writer is not used, because what
it writes for one entry has changed between Python versions, and a layer's digest must not.
Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header".
"""

from __future__ import annotations

from collections.abc import Iterable

from repro_env.frozen import dataclass

BLOCK = 512
END_OF_ARCHIVE = bytes(2 * BLOCK)

MTIME = 315532800
"""The one modification time of everything in an image: 1980-01-01T00:00:00Z, the earliest that a zip can hold."""

_REGULAR, _HARD_LINK, _SYMLINK, _DIRECTORY, _PAX = b"0", b"1", b"2", b"5", b"x"
_NAME_SIZE, _PREFIX_SIZE = 100, 155
_USTAR_SIZE_LIMIT, _USTAR_OWNER_LIMIT = 8**11, 8**7
_MAGIC = b"ustar\x0000"
_CHECKSUM_BLANK = 8 * 0x20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member of a layer: its absolute place in the image, without the leading slash and without a trailing one.

    `size` is 0 for anything but a regular file. `link` is a symlink's target, or a hard link's path in the archive;
    a hard link has the mode and the owner of what it links to, for runtimes set them again.
    """

    path: str
    kind: str = "file"  # file, directory, symlink or hardlink
    mode: int = 0o644
    size: int = 0
    link: str = ""
    owner: int = 0
    group: int = 0


_TYPES = {"file": _REGULAR, "directory": _DIRECTORY, "symlink": _SYMLINK, "hardlink": _HARD_LINK}


def header(entry: Entry) -> bytes:
    """Return the one or more 512-byte blocks that stand before an entry's content."""
    name = entry.path.encode() + (b"/" if entry.kind == "directory" else b"")
    link = entry.link.encode()
    records: list[tuple[bytes, bytes]] = []
    place = _ustar_place(name)
    if place is None:
        records.append((b"path", name))
        place = (b"", _ascii(name)[-_NAME_SIZE:])
    if len(link) > _NAME_SIZE or not link.isascii():
        records.append((b"linkpath", link))
        link = _ascii(link)[:_NAME_SIZE]
    size, owner, group = entry.size, entry.owner, entry.group
    if size >= _USTAR_SIZE_LIMIT:
        records.append((b"size", b"%d" % size))
        size = 0
    if owner >= _USTAR_OWNER_LIMIT:
        records.append((b"uid", b"%d" % owner))
        owner = 0
    if group >= _USTAR_OWNER_LIMIT:
        records.append((b"gid", b"%d" % group))
        group = 0
    block = _block(place, _TYPES[entry.kind], link, size, entry.mode, owner, group)
    return _extended(records) + block if records else block


def padding(size: int) -> bytes:
    """Return the zero bytes that fill a content of `size` bytes up to a whole block."""
    return bytes(-size % BLOCK)


def parents(paths: Iterable[str]) -> set[str]:
    """Return every directory above these paths."""
    found: set[str] = set()
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return found


def _ascii(name: bytes) -> bytes:
    return name.decode().encode("ascii", "replace")


def _ustar_place(name: bytes) -> tuple[bytes, bytes] | None:
    """Return `(prefix, name)` as ustar stores a path, or None if it cannot."""
    if not name.isascii():
        return None
    if len(name) <= _NAME_SIZE:
        return b"", name
    cut = name.find(b"/", len(name) - _NAME_SIZE - 1)
    if 0 < cut <= _PREFIX_SIZE and cut + 1 < len(name):
        return name[:cut], name[cut + 1 :]
    return None


def _block(place: tuple[bytes, bytes], kind: bytes, link: bytes, size: int, mode: int, owner: int, group: int) -> bytes:
    prefix, name = place
    before = name.ljust(_NAME_SIZE, b"\0") + b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        mode,
        owner,
        group,
        size,
        MTIME,
    )
    after = kind + link.ljust(_NAME_SIZE, b"\0") + _MAGIC + bytes(64) + b"0000000\x000000000\0"
    after += prefix.ljust(_PREFIX_SIZE, b"\0") + bytes(12)
    checksum = sum(before) + _CHECKSUM_BLANK + sum(after)
    return before + b"%06o\0 " % checksum + after


def _extended(records: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(_record(key, value) for key, value in records)
    place = (b"", b"PaxHeaders/entry")
    return _block(place, _PAX, b"", len(body), 0o644, 0, 0) + body + padding(len(body))


def _record(key: bytes, value: bytes) -> bytes:
    """Return one pax record, `LENGTH key=value` and a line feed, where LENGTH counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)
