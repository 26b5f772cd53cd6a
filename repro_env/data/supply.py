"""What a project's data is had from: pinned when locking, pulled and put in its place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from repro_env.config.model import Data
from repro_env.data import lfs, manifest
from repro_env.data.inputs import LOCAL, PLACES, DataInputs
from repro_env.data.manifest import Entry
from repro_env.data.measure import Measured, keep_manifest, measure
from repro_env.data.place import Placing, sweep
from repro_env.data.remote import Content, Remote
from repro_env.data.select import Selection
from repro_env.data.smudge import smudge
from repro_env.data.sources.base import Context, Request, Resolved, Source
from repro_env.data.sources.find import find_source
from repro_env.edges import files
from repro_env.errors import VerificationError
from repro_env.frozen import dataclass
from repro_env.image.store import Store
from repro_env.lock.model import LockedData

_OWN = f"{PLACES}/"
_OF_ROWS = {"sql", "iceberg"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What became of one input: how many of its files, and bytes, had to be put in place."""

    name: str
    path: str
    files: int
    size: int
    placed: bool


class DataSupply(DataInputs):
    """The data of a project with all that takes a source or the store: pinning it, and having it."""

    def lock(self, data: Data, previous: LockedData | None, *, keep: bool) -> LockedData:
        """Pin a data input as it is now; with `keep` its earlier pin stands where asking its source anew would do.

        Errors: as `Source`, `VerificationError`, `StoreError`, `ConfigError`.
        """
        if keep and previous is not None and data.kind not in LOCAL:
            return self._with_content(previous)
        source = self._source(data.kind)
        resolved = source.resolve(Request.of(data))
        if resolved.place:
            return self._lock_here(data, resolved)
        locked = self._remote(source).lock(data, resolved, previous)
        if previous is not None and (words := self.row_changes(previous, locked)):
            self._report.note(f"data {data.name}: {words}")
        return locked

    def row_changes(self, before: LockedData, after: LockedData) -> str:
        """Return how many rows of a query's answer or a table differ, or nothing where that is not known here."""
        if before.digest == after.digest or {before.source, after.source} - _OF_ROWS:
            return ""
        from repro_env.data.tables.changes import row_changes  # noqa: PLC0415 - what most projects do without

        store = self._store()
        blobs = [store.blob(one.digest) for one in (before, after) if one.kind == "file" and store.has(one.digest)]
        return row_changes(*blobs) if len(blobs) == 2 else ""  # noqa: PLR2004 - both

    def by_content(self, locked: LockedData) -> LockedData:
        """Return a pin as one of content, which for a weaker pin is what it turned out to be when it was pulled.

        Errors: `VerificationError` where that is not known on this machine.
        """
        if not locked.is_weak:
            return locked
        remote = self._remote(self._source(locked.source))
        known = remote.known(locked) or self._by_dvc(locked)
        if known is None:
            why = f"it is pinned by its {locked.pin}, which {locked.path} cannot be compared with"
            hint = f"run `repro data pull {locked.name}`"
            raise VerificationError(f"what data {locked.name} holds is not known here", why, hint)
        return replace(locked, digest=known.digest, files=len(known.entries), size=known.size)

    def pull(self, locked: LockedData, *, force: bool = False) -> Pulled:
        """Have an input in its place as the lock pins it.

        What stands there and is not that is replaced if it is below `.repro/data`, or with `force`. Errors: as
        `Source`; `IntegrityError` where the source has other bytes by now; `VerificationError` where people's files are
        in the way.
        """
        with files.locked(self._root / ".repro" / "locks" / f"data-{locked.name}"):
            return self._pull(locked, force=force)

    def _pull(self, locked: LockedData, *, force: bool) -> Pulled:
        place = self._root / locked.path
        found = self._measured(locked)
        if locked.source in ("path", "file"):
            return self._pull_here(locked, found)
        placing = Placing.of(self._store(), self._report, self._environ)
        content = self._remote(self._source(locked.source)).pull(locked)
        if found is not None and (found.kind, found.digest) == (content.kind, content.digest):
            sweep(place)
            return Pulled(name=locked.name, path=locked.path, files=0, size=0, placed=False)
        if os.path.lexists(place) and not (force or locked.path.startswith(_OWN)):
            why = f"{locked.path} holds other files than the lock pins, and they are not this program's"
            hint = f"move them away, or replace them: repro data pull --force {locked.name}"
            raise VerificationError(f"data {locked.name} was not put in place", why, hint)
        placing.place(content.entries, content.kind, place, known=found)
        return Pulled(name=locked.name, path=locked.path, files=len(content.entries), size=content.size, placed=True)

    def manifest(self, locked: LockedData) -> Mapping[str, Entry] | None:
        """Return the files that the lock pins, where a manifest of them is kept here; of a file, itself."""
        remote = Remote(
            source=self._source("path"), store=self._store(), manifests=self._manifests, report=self._report
        )
        known = remote.known(locked)
        if known is None or known.kind == "directory":
            return known.entries if known else None
        return {locked.path.rpartition("/")[2]: entry for entry in known.entries.values()}

    def _with_content(self, locked: LockedData) -> LockedData:
        """Return a weaker pin with the content that was seen on this machine, if no other was pinned yet."""
        if not locked.is_weak or locked.content is not None:
            return locked
        return replace(locked, content=self._remote(self._source("path")).seen_content(locked))

    def _lock_here(self, data: Data, resolved: Resolved) -> LockedData:
        """Pin what stands in its place."""
        selection = Selection(include=data.include, exclude=data.exclude)
        place = self._root / resolved.place
        measured = measure(place, reporter=self._report, cache=self._cache, selection=selection)
        keep_manifest(self._manifests, measured)
        locked = replace(
            measured.locked(data.name, resolved.place),
            source=data.kind,
            uri=data.uri,
            revision=resolved.revision,
            include=data.include,
            exclude=data.exclude,
        )
        pointers = lfs.pointers_in(place, measured.tree)
        return self._with_what_they_mean(locked, measured, pointers) if pointers else locked

    def _with_what_they_mean(
        self, locked: LockedData, measured: Measured, pointers: Mapping[bytes, lfs.Pointer]
    ) -> LockedData:
        """Return a pin of what Git LFS pointers stand for in place of the pointers themselves."""
        entries = entries_of_tree(measured)
        for raw, pointer in pointers.items():
            path = manifest.escape(raw).decode()
            entries[path] = replace(entries[path], size=pointer.size, digest=pointer.digest)
        content = Content(kind=measured.kind, entries=entries)
        self._remote(self._source("path")).keep(content)
        count = "1 file" if len(pointers) == 1 else f"{len(pointers)} files"
        self._report.warn(
            f"data {locked.name}: of {count} only the Git LFS pointer is checked out; pinned is what it stands for. "
            f"`repro data pull {locked.name}` or `git lfs pull` brings it"
        )
        return replace(locked, digest=content.digest, size=content.size)

    def _pull_here(self, locked: LockedData, found: Measured | None) -> Pulled:
        """Have data that stands on this machine as the lock pins it: only what Git LFS keeps can be had."""
        place = self._root / locked.path
        nothing = Pulled(name=locked.name, path=locked.path, files=0, size=0, placed=False)
        if found is not None and found.digest == locked.digest:
            return nothing
        pointers = lfs.pointers_in(place, found.tree) if found is not None else {}
        if not pointers:
            hint = "restore it; data that has an address (uri) can be pulled"
            raise VerificationError(f"data {locked.name} at {locked.path} is not what the lock pins", "", hint)
        smudge(place, pointers, self._environ)
        size = sum(pointer.size for pointer in pointers.values())
        return replace(nothing, files=len(pointers), size=size, placed=True)

    def _by_dvc(self, locked: LockedData) -> Content | None:
        """Return what stands in the place of data that DVC pins, if that is what DVC pins."""
        place = self._root / locked.path
        if locked.source != "dvc" or not place.exists():
            return None
        from repro_env.data.sources.dvc import md5_of  # noqa: PLC0415 - what most projects do without

        found = f"md5:{md5_of(place)}"
        if found != locked.revision:
            why = f"{locked.path}\n  needed {locked.revision}\n  found  {found}"
            raise VerificationError(f"data {locked.name} is not what DVC tracks", why, "run `dvc checkout`")
        measured = self.measure(locked)
        content = Content(kind=measured.kind, entries=entries_of_tree(measured))
        self._remote(self._source("dvc")).remember(locked, content)
        return content

    def _measured(self, locked: LockedData) -> Measured | None:
        """Return what stands in an input's place, or None where nothing does, or nothing that can be data."""
        if not os.path.lexists(self._root / locked.path):
            return None
        try:
            return self.measure(locked)
        except VerificationError:
            return None

    def _store(self) -> Store:
        return Store(self._store_root)

    def _source(self, kind: str) -> Source:
        cache = self._store_root / "data" / kind
        context = Context(root=self._root, cache=cache, environ=self._environ, report=self._report)
        return find_source(kind, context)

    def _remote(self, source: Source) -> Remote:
        return Remote(source=source, store=self._store(), manifests=self._manifests, report=self._report)


def entries_of_tree(measured: Measured) -> dict[str, Entry]:
    """Return what was measured as a manifest has it."""
    if measured.kind == "directory":
        return manifest.parse(measured.manifest())
    return {"": Entry(path="", kind="file", size=measured.size, digest=measured.digest)}
