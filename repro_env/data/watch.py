"""Whether data was written to after it was measured."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from repro_env.data.hashing import hash_file
from repro_env.data.measure import Measured
from repro_env.data.reader import RECORD
from repro_env.data.tree import is_file, scan, scan_file
from repro_env.errors import StoreError, VerificationError


def was_written(path: Path, before: Measured) -> bool:
    """Return whether a file or directory is not as it was when it was measured, told by one look at each file.

    A file that was written to counts even if it holds the same again, because whoever read it meanwhile may have seen
    something else. One whose ctime alone moved is read: a hard link and other permissions move it, and so does a change
    of content whose author sets the other times back.
    """
    root = os.fsencode(path)
    try:
        found = scan(root, before.selection) if before.kind == "directory" else scan_file(root)
        tree = before.tree
        if found.names != tree.names:
            return True
        if found.records == tree.records:
            return False
        pairs = zip(found.names, tree.records, found.records, tree.digests, strict=True)
        return any(_differs(root, *one) for one in pairs)
    except (StoreError, VerificationError):  # it is gone, or became something else
        return True


def _differs(root: bytes, name: bytes, before: bytes, after: bytes, digest: bytes) -> bool:
    if before == after:
        return False
    if _content_of(before) != _content_of(after):
        return True
    is_link = not is_file(RECORD.unpack(after)[-1])
    return is_link or hash_file(root, name, after, lambda _count: None) != digest


def _content_of(record: bytes) -> tuple[int, ...]:
    """Return what of a record tells of the content: size, time of the last write, inode, kind of file."""
    size, modified, _changed, inode, mode = RECORD.unpack(record)
    return size, modified, inode, stat.S_IFMT(mode), mode & stat.S_IXUSR
