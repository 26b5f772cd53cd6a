"""Git LFS pointers: small files that stand for large ones and name them by SHA-256.

Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from repro_env.data.reader import RECORD
from repro_env.data.tree import Tree, is_file
from repro_env.frozen import dataclass
from repro_env.values import Digest

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n"
    rb"(?:ext-[^\n]*\n)*oid sha256:([0-9a-f]{64})\nsize (\d{1,15})\n\Z"
)
_SMALLEST, _LARGEST = 100, 1024
_ATTRIBUTES, _MARK = b".gitattributes", b"filter=lfs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """What a pointer stands for: content of this SHA-256 and so many bytes."""

    digest: Digest
    size: int


def may_be_pointer(size: int) -> bool:
    """Whether a file of so many bytes may be a pointer: the specification has them below 1,024."""
    return _SMALLEST <= size < _LARGEST


def parse_pointer(content: bytes) -> Pointer | None:
    """Return what a file's content stands for, or None if it is no pointer."""
    match = _POINTER.match(content)
    return Pointer(digest=Digest(match[1].decode()), size=int(match[2])) if match else None


def pointers_in(root: Path, tree: Tree) -> dict[bytes, Pointer]:
    """Return the pointers among the files of a measured tree by name; a single file's name is empty.

    Only where some `.gitattributes` around speaks of LFS, or one is among them, is any file looked at.
    """
    if not (_is_lfs_around(root) or any(name.endswith(_ATTRIBUTES) for name in tree.names)):
        return {}
    found = {}
    for name, record in zip(tree.names, tree.records, strict=True):
        size, _mtime, _ctime, _inode, mode = RECORD.unpack(record)
        if is_file(mode) and may_be_pointer(size):
            place = os.fsencode(root) + (b"/" + name if name else b"")
            with contextlib.suppress(OSError), open(place, "rb") as stream:
                if pointer := parse_pointer(stream.read(_LARGEST)):
                    found[name] = pointer
    return found


def local_object(root: Path, digest: Digest) -> Path | None:
    """Return where the repository around `root` keeps an LFS object, if it has it."""
    for directory in _upwards(root):
        if (own := directory / ".git").exists():
            path = _repository(own) / "lfs" / "objects" / digest.hex[:2] / digest.hex[2:4] / digest.hex
            return path if path.is_file() else None
    return None


def _repository(own: Path) -> Path:
    """Return the repository that a `.git` is, or that it names in a worktree or a submodule.

    Source: gitrepository-layout(5).
    """
    with contextlib.suppress(OSError):
        if own.is_file():
            own = own.parent / os.fsdecode(own.read_bytes().removeprefix(b"gitdir: ").rstrip(b"\n"))
        return own / os.fsdecode((own / "commondir").read_bytes().rstrip(b"\n"))
    return own


def _is_lfs_around(root: Path) -> bool:
    for directory in _upwards(root):
        with contextlib.suppress(OSError):
            if _MARK in (directory / os.fsdecode(_ATTRIBUTES)).read_bytes():
                return True
        if (directory / ".git").exists():
            break
    return False


def _upwards(root: Path) -> Iterator[Path]:
    place = root.absolute()
    yield place
    yield from place.parents
