"""Whether a directory of the store is still what was put there.

Blobs are known by their digests; reading whole trees again before every run would cost more than the run's start. So a
tree is looked at once after each start of the machine, by names and sizes: that finds what a power failure left empty
or short, and what something that clears caches has removed. Linux tells one start from another by its boot id:
random(4), `/proc/sys/kernel/random/boot_id`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from repro_env.edges import files
from repro_env.errors import StoreError
from repro_env.image.store import Store

_KIND = "seals"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_WRITTEN_LATER = "__pycache__"


def seal(store: Store, place: Path, made: Path) -> None:
    """Note what `made` holds before it is renamed to `place`. Errors: `StoreError`."""
    store.remember(_KIND, _key(place), {"boot": _boot(), "shape": _shape(made)})


def is_intact(store: Store, place: Path) -> bool:
    """Whether a directory is there as it was sealed. Errors: `StoreError` when it cannot be read."""
    if not place.is_dir():
        return False
    known = store.recall(_KIND, _key(place))
    if known is None:
        return False
    if known["boot"] == _boot() != "":
        return True
    with files.os_errors(f"read {place}"):
        intact: bool = known["shape"] == _shape(place)
    if intact:
        with contextlib.suppress(StoreError):  # a store that cannot be written is looked at each time
            store.remember(_KIND, _key(place), {**known, "boot": _boot()})
    return intact


def _key(place: Path) -> str:
    return f"{place.parent.name}-{place.name}"


def _boot() -> str:
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _shape(root: Path) -> str:
    """Return a digest of every path below a directory and the size of every file, compiled modules left out."""
    digest = hashlib.sha256()
    waiting = [(os.fsencode(root), b"")]
    while waiting:
        directory, name = waiting.pop()
        digest.update(b"%s/\0" % name)
        with os.scandir(directory) as scanned:
            for entry in sorted(scanned, key=lambda entry: entry.name):
                path = b"%s/%s" % (name, entry.name)
                if not entry.is_dir(follow_symlinks=False):
                    digest.update(b"%s\0%d\0" % (path, entry.stat(follow_symlinks=False).st_size))
                elif entry.name != _WRITTEN_LATER.encode():
                    waiting.append((entry.path, path))
    return digest.hexdigest()
