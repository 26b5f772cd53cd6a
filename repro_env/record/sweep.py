"""What runs that were killed left behind and nobody needs: the code they ran, homes, links to inputs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from repro_env.edges.files import remove_tree
from repro_env.record.runs import ALIVE, RECORD, runs_directory

WORKING = ("beside", "check", "code", "home", "input", "replaced", "temporary", "podman.id", "podman.pid")
"""What a run has in its directory while it lives; a run that ends removes it."""

_ID = re.compile(r"\d{8}T\d{6}Z-.+-[0-9a-f]{4}\Z")
_LOCKING = 10.0  # seconds within which a run that made its file may still be about to lock it
_BEGINNING = 3600.0  # within which one without a record may still be about to write that


@contextlib.contextmanager
def cleared(directory: Path) -> Iterator[None]:
    """Remove from a run's directory, when the block ends, what it needed only while it lived."""
    try:
        yield
    finally:
        _clear(directory)


def _clear(directory: Path) -> None:
    for name in WORKING:
        with contextlib.suppress(OSError):  # of another user, in a container: it does no harm
            remove_tree(directory / name)


def sweep_runs(project: Path, now: float) -> None:
    """Remove what the dead runs of a project left, but their record, log and outputs; `now` is seconds since the epoch.

    A run that was killed before it had a record is removed whole. What cannot be removed stays.
    """
    with contextlib.suppress(OSError), os.scandir(runs_directory(project)) as found:
        for entry in found:
            if not _ended(entry.path) and _ID.match(entry.name) and entry.is_dir(follow_symlinks=False):
                _sweep(Path(entry.path), now)


def _ended(directory: str) -> bool:
    """Whether a run has come to its end: nearly all have, and there may be thousands, so that this is to be quick."""
    return os.path.exists(f"{directory}/{RECORD}") and not os.path.exists(f"{directory}/{ALIVE}")


def _sweep(directory: Path, now: float) -> None:
    alive = directory / ALIVE
    with contextlib.suppress(OSError):  # it lives, is gone by now, or belongs to another user
        if alive.exists():
            with alive.open("rb") as stream:
                if now - os.fstat(stream.fileno()).st_mtime < _LOCKING:
                    return
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _clear(directory)
                alive.unlink()
        elif not (directory / RECORD).exists() and now - directory.stat().st_mtime > _BEGINNING:
            remove_tree(directory)
