"""A directory as it was found: the names below it, what `lstat` says of each, and the digest of each content.

Names and records stand in arrays rather than objects, because a million of them must be compared within seconds.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence

from repro_env.data import manifest
from repro_env.data.reader import RECORD, record
from repro_env.data.select import EVERYTHING, Selection
from repro_env.edges.files import os_errors
from repro_env.errors import StoreError, VerificationError
from repro_env.frozen import dataclass

_SHOWN = 10
_MOST_LINKS = 40
"""Links that the kernel follows on one path before it takes them for a loop. Source: path_resolution(7)."""
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO)
"""What the kernel says of a name that is gone, or that became something else than it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """The names below a directory, sorted by their bytes, and a `RECORD` of each; `directories` with their mtimes.

    A single file is a scan whose one name is empty.
    """

    names: Sequence[bytes]
    records: Sequence[bytes]
    directories: Mapping[bytes, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A scan with the raw SHA-256 of each file's content; for a link, of its target, which stands in `targets`."""

    names: Sequence[bytes]
    records: Sequence[bytes]
    digests: Sequence[bytes]
    targets: Mapping[bytes, bytes]

    @property
    def size(self) -> int:
        """The bytes of all files; links count nothing."""
        return sum(size for size, _mtime, _ctime, _inode, mode in unpacked(self.records) if is_file(mode))

    def manifest(self) -> bytes:
        """Return the directory's manifest."""
        lines = [manifest.FIRST_LINE]
        paths = manifest.escape_all(self.names)
        fields = zip(self.names, paths, unpacked(self.records), self.digests, strict=True)
        for name, path, (size, _mtime, _ctime, _inode, mode), digest in fields:
            if not is_file(mode):
                lines.append(b"link\t0\t-\t%s\t%s\n" % (path, manifest.escape(self.targets[name])))
            else:
                kind = b"executable" if mode & stat.S_IXUSR else b"file"
                lines.append(b"%s\t%d\t%s\t%s\n" % (kind, size, digest.hex().encode(), path))
        return b"".join(lines)


is_file = stat.S_ISREG
"""Whether a mode is a regular file's, and not a link's."""


def unpacked(records: Iterable[bytes]) -> Iterator[tuple[int, ...]]:
    """Return the fields of each of many records, in a tenth of the time that it takes one by one."""
    return RECORD.iter_unpack(b"".join(records))


def scan(root: bytes, selection: Selection = EVERYTHING) -> Scan:
    """Look at everything below the directory `root` without reading any of it, following no link.

    What is not of the `selection` is as if it were not there.

    Errors: `StoreError` for a directory that cannot be listed, `VerificationError` for what is neither file, directory
    nor link.
    """
    found: list[tuple[bytes, bytes]] = []
    special: list[str] = []
    directories: dict[bytes, int] = {}
    waiting = [b""]
    everything = selection.takes_all
    while waiting:
        prefix = waiting.pop()
        place = root + b"/" + prefix
        with steady(place), os.scandir(place) as entries:
            directories[prefix] = os.stat(place).st_mtime_ns
            for entry in entries:
                name = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    if everything or not selection.skips(name):
                        waiting.append(name + b"/")
                    continue
                if not (everything or selection.takes(name)):
                    continue
                status = entry.stat(follow_symlinks=False)
                found.append((name, record(status)))
                if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
                    special.append(f"{shown(name)}: {_kind(status.st_mode)}")
    if special:
        raise _not_data(root, special)
    found.sort()
    return Scan(names=[name for name, _ in found], records=[item for _, item in found], directories=directories)


def scan_file(path: bytes) -> Scan:
    """Look at one file, which may be reached through a link. Errors: `StoreError`."""
    with steady(path):
        return Scan(names=[b""], records=[record(os.stat(path))], directories={})


@contextlib.contextmanager
def steady(path: bytes) -> Iterator[None]:
    """Read what the scan, or the caller, found at `path`.

    Errors: `VerificationError` when it is gone or became something else, `StoreError` when it cannot be read.
    """
    try:
        with os_errors(f"read {shown(path)}"):
            yield
    except StoreError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _GONE:
            raise changed(path) from error
        raise


def leaves(name: bytes, targets: Mapping[bytes, bytes]) -> bool:
    """Whether the link `name` leads out of the directory, on its own or through others of the links in `targets`."""
    place, left = name.split(b"/")[:-1], targets[name].split(b"/")[::-1]
    if targets[name].startswith(b"/"):
        return True
    followed = 0
    while left and followed < _MOST_LINKS:
        part = left.pop()
        if part == b"..":
            if not place:
                return True
            place.pop()
        elif part not in (b"", b"."):
            target = targets.get(b"/".join([*place, part]))
            if target is None:
                place.append(part)
                continue
            if target.startswith(b"/"):
                return True
            followed += 1
            left += target.split(b"/")[::-1]
    return False


def changed(path: bytes) -> VerificationError:
    """Return the error for data that did not hold still."""
    return VerificationError(
        f"{shown(path.rstrip(b'/'))} changed while it was read",
        "a digest of it would be of a state that never was",
        "wait until what writes there is done, and run again",
    )


def shown(name: bytes) -> str:
    """Return a name for a message."""
    return manifest.escape(name).decode()


def listed(lines: Sequence[str]) -> str:
    """Return the first of some lines for a message, and how many more there are."""
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "\n".join([*lines[:_SHOWN], *more])


def _not_data(root: bytes, special: list[str]) -> VerificationError:
    return VerificationError(
        f"{shown(root)} holds what is neither file, directory nor link",
        listed(sorted(special)),
        "remove it, or name a directory without it",
    )


def _kind(mode: int) -> str:
    tests = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISBLK, "a block device"))
    return next((words for test, words in tests if test(mode)), "a character device")
