"""A copy of what a run made, which stays with the run whatever becomes of the output in the project."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from repro_env.edges.files import os_errors

_PIECE = 1 << 30  # bytes for the kernel to copy at a time


def keep(source: Path, target: Path) -> None:
    """Copy a file or directory; a file system that can (btrfs, XFS) shares the blocks, and it takes no room.

    A hard link would take none anywhere, but a program that writes into the one would change the other.
    Errors: `StoreError`.
    """
    with os_errors(f"keep {source} as {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, copy_function=_copy)
        else:
            _copy(source, target)


def _copy(source: str | Path, target: str | Path) -> None:
    with open(source, "rb") as read, open(target, "xb") as write:
        try:
            while os.copy_file_range(read.fileno(), write.fileno(), _PIECE):
                pass
        except OSError:  # file systems between which the kernel does not copy
            read.seek(0)
            write.truncate(0)
            write.seek(0)
            shutil.copyfileobj(read, write)
    shutil.copymode(source, target)
