"""Reading one file and hashing it; and, started as a program, doing that for one batch after another.

It takes the standard library alone and no package around it, so that as a program it is there in 15 ms.

A request is two numbers, of the bytes of names and of records; the names, with the root before them, each ended by NUL;
and a `RECORD` of each. The answer is the raw SHA-256 of each file, in their order, or `NOTHING` for one that could not
be read or is not what its record says: whoever asked looks at it again and tells why.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

RECORD = struct.Struct("<qqqQI")
"""Of one file: size, mtime and ctime in nanoseconds, inode, mode. A change of content changes at least the ctime, which
no program can set, unless it happens within one tick of the file system's clock (see `cache`)."""

DIGEST_SIZE = 32
NOTHING = bytes(DIGEST_SIZE)

_SIZES = struct.Struct("<II")
_BUFFER = 1 << 20
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


def record(status: os.stat_result) -> bytes:
    """Return what is compared to tell whether a file is still the same."""
    return RECORD.pack(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_mode)


def read_file(
    path: bytes,
    expected: bytes,
    *,
    follow: bool,
    seen: Callable[[int], object] | None = None,
    read: Callable[[int, int], bytes] = os.read,
) -> bytes:
    """Return the raw SHA-256 of a file that has this record, or `NOTHING` if it has another by now.

    `seen` is told of bytes as they are read, by `read`. Without `follow`, what a link leads to is not read.
    Errors: `OSError`.
    """
    left = RECORD.unpack(expected)[0]
    digest = hashlib.sha256()
    # A file that was replaced since its record was made must not be followed elsewhere, nor be waited for.
    descriptor = os.open(path, _FLAGS if follow else _FLAGS | os.O_NOFOLLOW)
    try:
        while left and (piece := read(descriptor, min(_BUFFER, left))):
            digest.update(piece)
            left -= len(piece)
            if seen is not None:
                seen(len(piece))
        after = record(os.fstat(descriptor))
    finally:
        os.close(descriptor)
    return NOTHING if left or after != expected else digest.digest()


def request(root: bytes, names: Sequence[bytes], records: Sequence[bytes]) -> bytes:
    """Return a request for these files below `root`."""
    words, blob = b"\0".join((root, *names)), b"".join(records)
    return _SIZES.pack(len(words), len(blob)) + words + blob


def _answer(words: bytes, records: bytes) -> bytes:
    root, *names = words.split(b"\0")
    found = []
    for number, name in enumerate(names):
        expected = records[number * RECORD.size : (number + 1) * RECORD.size]
        try:
            found.append(read_file(root + b"/" + name, expected, follow=False))
        except OSError:
            found.append(NOTHING)
    return b"".join(found)


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    while head := requests.read(_SIZES.size):
        words, records = map(requests.read, _SIZES.unpack(head))
        answers.write(_answer(words, records))
        answers.flush()


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
