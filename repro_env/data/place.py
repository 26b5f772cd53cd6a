"""Data out of the store to where a project has it: whole or not at all, and read-only.

A file is cloned where the file system can do that (btrfs, XFS), so that it takes no room, and else copied. With
`REPRO_DATA_LINK=hardlink` it is a hard link to the store's own, which takes no room either; but then a program that
writes into it in spite of its mode writes into the store, so nobody gets that unasked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from repro_env.data.listing import content_digest
from repro_env.data.manifest import Entry, unescape
from repro_env.data.measure import Measured, measure
from repro_env.edges import files
from repro_env.edges.report import Reporter
from repro_env.errors import IntegrityError, UsageError
from repro_env.frozen import dataclass
from repro_env.image.store import Store

LINK_VARIABLE = "REPRO_DATA_LINK"

_CLONE = 0x40049409
"""The ioctl FICLONE. Source: linux/fs.h."""


def beside(target: Path) -> Path:
    """Return where to make what is to take the place of `target`; `sweep` finds what a kill leaves there."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.repro")


def sweep(target: Path) -> None:
    """Remove what commands that were killed left beside a place, whose lock the caller holds. Errors: `StoreError`."""
    left = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.repro(\.old)?\Z")
    with files.os_errors(f"clear {target.parent}"), contextlib.suppress(FileNotFoundError):
        for name in filter(left.match, os.listdir(target.parent)):
            files.remove_tree(target.with_name(name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """How data gets out of the store."""

    store: Store
    report: Reporter
    hard_links: bool = False

    @classmethod
    def of(cls, store: Store, report: Reporter, environ: Mapping[str, str]) -> Placing:
        """Return it as the user's environment says. Errors: `UsageError`."""
        chosen = environ.get(LINK_VARIABLE) or "copy"
        if chosen not in ("copy", "hardlink"):
            raise UsageError(f"{LINK_VARIABLE} is {chosen!r}", "copy and hardlink are known")
        return cls(store=store, report=report, hard_links=chosen == "hardlink")

    def place(self, entries: Mapping[str, Entry], kind: str, target: Path, *, known: Measured | None = None) -> None:
        """Let the file or directory `target` be what `entries` say; what stood there before is gone then.

        `known` is what stands there: what of it is right already is taken over. Errors: `StoreError`; `IntegrityError`
        where the store's copy is damaged, and then nothing was changed.
        """
        sweep(target)
        new = beside(target)
        with files.os_errors(f"put data at {target}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._write(entries, new, target, known)
                self._check(entries, kind, new)
                files.take_place(new, target)
            finally:
                files.remove_tree(new)

    def _write(self, entries: Mapping[str, Entry], new: Path, old: Path, known: Measured | None) -> None:
        here = _present(known, os.fsencode(old)) if known else {}
        size = sum(entry.size for entry in entries.values())
        made: set[bytes] = set()
        with self.report.task(f"placing {old.name}", size) as task:
            for path, entry in entries.items():
                place = os.fsencode(new) + (b"/" + unescape(path.encode()) if path else b"")
                directory = os.path.dirname(place)
                if directory not in made:
                    os.makedirs(directory, exist_ok=True)
                    made.add(directory)
                if entry.digest is None:
                    os.symlink(unescape(entry.target.encode()), place)
                    continue
                mode = 0o555 if entry.kind == "executable" else 0o444
                self._file(entry, place, mode, here.get((entry.digest.hex, mode)))
                task.advance(entry.size)

    def _file(self, entry: Entry, place: bytes, mode: int, here: bytes | None) -> None:
        assert entry.digest is not None, "links are made elsewhere"
        blob = os.fsencode(self.store.blob(entry.digest))
        if here is not None:
            with contextlib.suppress(OSError):
                os.link(here, place)
                return
        if self.hard_links and entry.kind != "executable":
            with contextlib.suppress(OSError):  # another file system, or too many links
                os.link(blob, place)
                os.chmod(place, mode)
                return
        _copy(blob, place)
        os.chmod(place, mode)

    def _check(self, entries: Mapping[str, Entry], kind: str, new: Path) -> None:
        """Read what was written. Errors: `IntegrityError` naming a damaged blob, which is removed from the store."""
        found = measure(new, reporter=self.report)
        if found.digest == content_digest(kind, entries):
            return
        for entry in entries.values():
            if entry.digest is not None:
                self.store.check(entry.digest, entry.path or new.name)
        raise IntegrityError(f"{new} was changed while it was written", "", "run again")


def _present(known: Measured, root: bytes) -> dict[tuple[str, int], bytes]:
    """Return the files that stand there with the right mode, by their digest and mode."""
    found = {}
    for name, digest in zip(known.tree.names, known.tree.digests, strict=True):
        place = root + b"/" + name if name else root
        with contextlib.suppress(OSError):
            status = os.lstat(place)
            if name not in known.tree.targets:
                found[digest.hex(), status.st_mode & 0o777] = place
    return found


def _copy(blob: bytes, place: bytes) -> None:
    with open(blob, "rb") as source, open(place, "xb") as target:
        try:
            fcntl.ioctl(target.fileno(), _CLONE, source.fileno())
        except OSError:
            shutil.copyfileobj(source, target, 1 << 20)
