"""A directory as its globs leave it: what a step is given of data from which files are excluded.

The pin is of the files that count, so the others must not be seen by a step. The view holds hard links to the files
that count, which takes no room and no reading, and copies where the file system cannot link.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from repro_env.data.cache import StatCache
from repro_env.data.measure import Measured, measure
from repro_env.data.place import beside, sweep
from repro_env.data.tree import changed
from repro_env.edges import files
from repro_env.edges.report import Reporter
from repro_env.errors import StoreError, VerificationError


def have_view(root: Path, measured: Measured, view: Path, cache: StatCache, report: Reporter) -> None:
    """Let `view` be a directory of those files of `root` that were measured; one that is that already stays.

    Errors: `StoreError`; `VerificationError` when a file changed meanwhile.
    """
    with files.locked(view.with_name(f".{view.name}.lock")):
        if _digest(view, cache, report) == measured.digest:
            return
        sweep(view)
        new = beside(view)
        with files.os_errors(f"put the files that count of {root} at {view}"):
            try:
                _link(root, measured, new)
                files.take_place(new, view)
            finally:
                files.remove_tree(new)
        if _digest(view, cache, report) != measured.digest:
            raise changed(os.fsencode(root))


def _digest(view: Path, cache: StatCache, report: Reporter) -> object:
    if not view.is_dir():
        return None
    try:
        return measure(view, reporter=report, cache=cache).digest
    except (StoreError, VerificationError):
        return None


def _link(root: Path, measured: Measured, new: Path) -> None:
    for name in measured.tree.names:
        source, place = os.fsencode(root) + b"/" + name, os.fsencode(new) + b"/" + name
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if name in measured.tree.targets:
            os.symlink(measured.tree.targets[name], place)
            continue
        with contextlib.suppress(OSError):  # another file system, too many links, or not one's own file
            os.link(source, place, follow_symlinks=False)
            continue
        shutil.copy2(source, place, follow_symlinks=False)
