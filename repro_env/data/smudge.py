"""Putting what Git LFS pointers stand for in their places: from the repository's own objects, or by `git lfs`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from repro_env.data import lfs
from repro_env.data.sources.words import scrubbed
from repro_env.edges import process
from repro_env.edges.files import os_errors, replacing
from repro_env.edges.git import git_environment
from repro_env.errors import FetchError, IntegrityError

_FETCHING = 24 * 3600.0
_PIECE = 1 << 20


def smudge(root: Path, pointers: Mapping[bytes, lfs.Pointer], environ: Mapping[str, str]) -> None:
    """Replace the pointers below `root`. Errors: `FetchError`, `StoreError`; `IntegrityError` for a damaged object."""
    if any(lfs.local_object(root, pointer.digest) is None for pointer in pointers.values()):
        _fetch(root, environ)
    for name, pointer in pointers.items():
        source = lfs.local_object(root, pointer.digest)
        if source is None:
            raise FetchError(f"git lfs did not bring {os.fsdecode(name)}", f"{pointer.digest}", "run `git lfs pull`")
        _replace(source, root / os.fsdecode(name) if name else root, pointer)


def _fetch(root: Path, environ: Mapping[str, str]) -> None:
    directory = root if root.is_dir() else root.parent
    completed = process.run(
        ["git", "-C", directory, "lfs", "fetch"],
        timeout=_FETCHING,
        env=git_environment(environ),
        check=False,
    )
    if completed.status:
        absent = "is not a git command" in completed.stderr
        why = scrubbed("\n".join(completed.stderr.splitlines()[-4:]))
        raise FetchError("git lfs cannot fetch the files", why, "install git-lfs" if absent else "run `git lfs pull`")


def _replace(source: Path, place: Path, pointer: lfs.Pointer) -> None:
    with os_errors(f"write {place}"):
        mode = place.stat().st_mode & 0o777
        digest = hashlib.sha256()
        with source.open("rb") as stream, replacing(place, mode=mode) as target:
            while piece := stream.read(_PIECE):
                digest.update(piece)
                target.write(piece)
            if digest.hexdigest() != pointer.digest.hex:
                raise IntegrityError(f"{source} is damaged", "", "remove it, and run `git lfs fetch`")
