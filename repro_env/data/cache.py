"""The stat cache: what a directory's files looked like when they were last read, so that they are not read again.

One file for each measured path, in `.repro/stat-cache/`: a line that names the format, the SHA-256 of the rest, a line
of JSON, then names, link targets, records and digests, each as one run of bytes. A damaged cache, or one of another
version, counts as none.

A file that changed so shortly before it was read that a later change could leave the same time stamps is not
remembered: its record is blanked and it is read again next time. Git calls such an entry racily clean
(Documentation/technical/racy-git.txt). Unlike git, the test here looks at the ctime, which only the kernel sets, and
the margin covers the coarsest clock of a file system in use, FAT's two seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from repro_env.data.reader import DIGEST_SIZE, RECORD
from repro_env.data.tree import Tree, unpacked
from repro_env.edges.files import write_atomically
from repro_env.errors import StoreError
from repro_env.frozen import dataclass
from repro_env.values import Digest

_FIRST_LINE = b"repro stat cache 1\n"
_RACY = 2_000_000_000
_BLANK = bytes(RECORD.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What was measured last: the tree, its digest and the bytes of its files."""

    tree: Tree
    digest: Digest
    size: int


class StatCache:
    """The stat caches of one project, in `directory`, which is made when first needed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def recall(self, root: bytes, selection: bytes = b"") -> Remembered | None:
        """Return what is remembered of a file or directory, or None; `selection` tells which of its files counted."""
        try:
            data = self._file(root, selection).read_bytes()
        except OSError:
            return None
        body = data[len(_FIRST_LINE) + DIGEST_SIZE :]
        if data[: -len(body)] != _FIRST_LINE + hashlib.sha256(body).digest():
            return None
        head, _, blobs = body.partition(b"\n")
        return _unpack(json.loads(head), blobs)

    def remember(self, root: bytes, found: Remembered, *, began: int, selection: bytes = b"") -> None:
        """Keep what was measured; `began` is when reading began, in nanoseconds since the epoch.

        A cache that cannot be written is no failure: the next measurement takes longer.
        """
        body = _pack(found, began)
        with contextlib.suppress(StoreError):
            write_atomically(self._file(root, selection), _FIRST_LINE + hashlib.sha256(body).digest() + body)

    def _file(self, root: bytes, selection: bytes) -> Path:
        place = os.path.realpath(root)
        return self._directory / hashlib.sha256(place + b"\0" + selection if selection else place).hexdigest()[:32]


def _pack(found: Remembered, began: int) -> bytes:
    tree = found.tree
    settled = began - _RACY
    records = [
        item if changed < settled else _BLANK
        for item, (_size, _mtime, changed, *_rest) in zip(tree.records, unpacked(tree.records), strict=True)
    ]
    targets = [part for pair in tree.targets.items() for part in pair]
    blobs = [b"\0".join(tree.names), b"\0".join(targets), b"".join(records), b"".join(tree.digests)]
    head = {"digest": str(found.digest), "size": found.size, "lengths": [len(blob) for blob in blobs]}
    return json.dumps(head).encode() + b"\n" + b"".join(blobs)


def _unpack(head: dict[str, Any], data: bytes) -> Remembered:
    blobs = []
    start = 0
    for length in head["lengths"]:
        blobs.append(data[start : start + length])
        start += length
    names, targets, records, digests = blobs
    pairs = targets.split(b"\0") if targets else []
    tree = Tree(
        names=names.split(b"\0") if records else [],
        records=_pieces(records, RECORD.size),
        digests=_pieces(digests, DIGEST_SIZE),
        targets=dict(zip(pairs[::2], pairs[1::2], strict=True)),
    )
    return Remembered(tree=tree, digest=Digest.parse(head["digest"]), size=head["size"])


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
