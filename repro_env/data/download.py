"""Files from a source into the store: several at once, resumed where they broke off, and checked.

What arrives becomes a blob by its SHA-256. A file that is known by another word than its content, such as an ETag, is
known by its content from then on.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from io import FileIO
from pathlib import Path

from repro_env.data.manifest import Entry
from repro_env.data.sources.base import RemoteFile, Resolved, Source
from repro_env.data.tree import listed
from repro_env.edges import files
from repro_env.edges.http import Body, NotFoundError
from repro_env.edges.pool import thread_pool
from repro_env.edges.report import Reporter, Task
from repro_env.errors import FetchError, IntegrityError, ReproError, VerificationError
from repro_env.frozen import dataclass
from repro_env.image.store import Store
from repro_env.values import Digest

_PIECE = 1 << 20
_WORKERS = 8
_MD5 = "md5:"
_SMALL = 1 << 20
"""Bytes below which a file is not worth going on with later, nor keeping others waiting for."""

_Target = FileIO | io.BytesIO
_BREAKS = 5
"""Broken connections in a row that brought nothing, after which a file is given up for now."""


class _StoppedError(Exception):
    """Another file failed for good, or the command is ending. Never leaves this module."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What is being fetched from, and where to."""

    source: Source
    resolved: Resolved
    store: Store
    report: Reporter

    def have(self, wanted: Sequence[RemoteFile]) -> dict[str, Entry]:
        """Have the content of these files in the store, and return what it is, by path.

        One failure does not stop the others. Errors: of all files at once, `IntegrityError` or `VerificationError`
        where bytes are not what they were to be, else `FetchError`; `StoreError`, which stops everything.
        """
        found = {file.path: _entry(file) for file in wanted if self._is_here(file)}
        missing = sorted((file for file in wanted if file.path not in found), key=lambda file: -(file.size or 0))
        if missing:
            found |= self._fetch(missing)
        return found

    def _is_here(self, file: RemoteFile) -> bool:
        return file.kind == "link" or (file.digest is not None and self.store.has(file.digest, file.size))

    def _fetch(self, missing: Sequence[RemoteFile]) -> dict[str, Entry]:
        name = self.resolved.request.name
        known = [file.size for file in missing if file.size is not None]
        total = sum(known) if len(known) == len(missing) else None
        stop = threading.Event()
        failures: list[ReproError] = []
        found: dict[str, Entry] = {}
        with self.report.task(f"downloading data {name}", total) as task, thread_pool(_WORKERS, "data") as pool:
            running = [pool.submit(self._one, file, task, stop) for file in missing]
            try:
                for file, future in zip(missing, running, strict=True):
                    try:
                        found[file.path] = future.result()
                    except (FetchError, IntegrityError, VerificationError) as error:
                        failures.append(error)
            finally:
                stop.set()
        if failures:
            raise _together(failures, len(missing), name)
        return found

    def _one(self, file: RemoteFile, task: Task, stop: threading.Event) -> Entry:
        if file.size is not None and file.size < _SMALL:
            return _Transfer(self, file, task, stop).in_memory()
        part = self.store.partial / f"data-{self._identity(file)}.part"
        lock = part.with_suffix(".lock")
        with files.os_errors(f"use the store at {self.store.root}"), files.locked(lock):
            if self._is_here(file):  # another process, which was waited for, has brought it
                task.advance(file.size or 0)
                return _entry(file)
            entry = _Transfer(self, file, task, stop).by_way_of(part)
            lock.unlink(missing_ok=True)
        return entry

    def _identity(self, file: RemoteFile) -> str:
        """Return what tells a partial file that may be gone on with from others."""
        request = self.resolved.request
        words = [request.uri or request.path, request.query, self.resolved.revision, file.path, file.locator, file.pin]
        return hashlib.sha256(json.dumps([*words, str(file.digest), file.size]).encode()).hexdigest()[:40]


class _Transfer:
    """One file on its way."""

    def __init__(self, download: Download, file: RemoteFile, task: Task, stop: threading.Event) -> None:
        self._download, self._file, self._task, self._stop = download, file, task, stop
        self._hashes = self._new_hashes()
        self._have = self._shown = 0

    def in_memory(self) -> Entry:
        """Have a small file in the store, which is not worth going on with later."""
        stream = io.BytesIO()
        self._read(stream)
        self._check()
        return self._entry(self._download.store.add(stream.getvalue()))

    def by_way_of(self, part: Path) -> Entry:
        """Have a file in the store; what came of it stays in `part` until it is whole."""
        with part.open("a+b", buffering=0) as stream:
            self._take_over(stream)
            inherited = self._have > 0
            self._read(stream)
            try:
                self._check()
            except IntegrityError:
                self._restart(stream)
                if not inherited:
                    raise
                # What an earlier command left may be what is wrong.
                self._read(stream)
                self._check()
        digest = Digest(self._hashes[0].hexdigest())
        self._download.store.adopt(part, digest)
        return self._entry(digest)

    def _entry(self, digest: Digest) -> Entry:
        return Entry(path=self._file.path, kind=self._file.kind, size=self._have, digest=digest)

    def _take_over(self, stream: FileIO) -> None:
        """Go on from what an earlier command left, if that was surely of the same content."""
        if not (self._file.pin or self._file.digest):
            stream.truncate(0)
            return
        stream.seek(0)
        while piece := stream.read(_PIECE):
            self._count(piece)
        if self._file.size is not None and self._have > self._file.size:
            self._restart(stream)

    def _read(self, stream: _Target) -> None:
        breaks = 0
        done = self._have > 0 and self._have == self._file.size
        while not done:
            start = self._have
            try:
                with self._download.source.open(self._download.resolved, self._file, offset=start) as body:
                    self._take(body, stream)
                done = self._file.size is None or self._have >= self._file.size
                if not done:
                    raise self._cut_short()
            except NotFoundError:
                raise
            except FetchError:
                breaks = 0 if self._have > start else breaks + 1
                if breaks >= _BREAKS or self._have == start == 0:
                    raise

    def _take(self, body: Body, stream: _Target) -> None:
        if body.offset != self._have:
            if body.offset:
                raise FetchError(f"cannot resume {self._label}", "its source goes on from another place")
            self._restart(stream)
        for piece in body.chunks():
            if self._stop.is_set():
                raise _StoppedError
            rest = memoryview(piece)
            while rest:  # a nearly full disk takes a part
                rest = rest[stream.write(rest) :]
            self._count(piece)
            if self._file.size is not None and self._have > self._file.size:
                self._restart(stream)
                raise self._other(f"it is longer than the {self._file.size:,} bytes that were announced")

    def _count(self, piece: bytes) -> None:
        for one in self._hashes:
            one.update(piece)
        self._have += len(piece)
        if self._have > self._shown:
            self._task.advance(self._have - self._shown)
            self._shown = self._have

    def _restart(self, stream: _Target) -> None:
        stream.seek(0)
        stream.truncate(0)
        self._hashes = self._new_hashes()
        self._have = 0

    def _new_hashes(self) -> tuple[hashlib._Hash, ...]:
        """Return the SHA-256, and after it the MD5 where that is what the file is known by."""
        md5 = (hashlib.md5(usedforsecurity=False),) if self._file.pin.startswith(_MD5) else ()
        return (hashlib.sha256(), *md5)

    def _check(self) -> None:
        """Hold what came against what is known of it. Errors: `IntegrityError`."""
        wanted = self._file.digest
        found = self._hashes[0].hexdigest()
        wrong = f"expected {wanted}\nfound    sha256:{found}" if wanted is not None and found != wanted.hex else ""
        for other in self._hashes[1:]:
            if f"{_MD5}{other.hexdigest()}" != self._file.pin:
                wrong = f"expected {self._file.pin}\nfound    {_MD5}{other.hexdigest()}"
        if wrong:
            raise self._other(wrong)

    def _other(self, why: str) -> IntegrityError:
        return IntegrityError(
            f"{self._label} is not what was pinned",
            f"{why}\nfrom {self._where}",
            f"its source has something else by now: restore that, or run `repro lock -D {self._name}` to pin it",
        )

    def _cut_short(self) -> FetchError:
        size = self._file.size or 0
        why = f"{self._have:,} of {size:,} bytes came from {self._where}"
        return FetchError(
            f"{self._label} was cut short", why, "run again: what came is kept, and it goes on from there"
        )

    @property
    def _name(self) -> str:
        return self._download.resolved.request.name

    @property
    def _label(self) -> str:
        return f"{self._file.path} of data {self._name}" if self._file.path else f"data {self._name}"

    @property
    def _where(self) -> str:
        request = self._download.resolved.request
        return shown_uri(request.uri) or request.path or f"the answer to its query by ${request.connection}"


def shown_uri(uri: str) -> str:
    """Return an address for a message, without what may be a credential in its query."""
    return uri.partition("?")[0]


def _entry(file: RemoteFile) -> Entry:
    return Entry(path=file.path, kind=file.kind, size=file.size or 0, digest=file.digest, target=file.target)


def _together(failures: Sequence[ReproError], total: int, name: str) -> ReproError:
    """Return one error for all failed files: wrong bytes weigh more than no bytes."""
    if len(failures) == 1:
        return failures[0]
    kinds: Iterable[type[ReproError]] = (IntegrityError, VerificationError, FetchError)
    kind = next(kind for kind in kinds if any(isinstance(error, kind) for error in failures))
    lines = [f"{error.what}: {', '.join(error.why.splitlines())}" for error in failures]
    hint = next((error.hint for error in failures if isinstance(error, kind) and error.hint), "")
    return kind(f"{len(failures)} of {total} files of data {name} could not be had", listed(sorted(set(lines))), hint)


def as_remote(entries: Mapping[str, Entry], found: Mapping[str, RemoteFile]) -> list[RemoteFile]:
    """Return the files of a manifest as files to download, with what their source knows of each."""
    return [
        RemoteFile(
            path=path,
            size=entry.size,
            kind=entry.kind,
            target=entry.target,
            digest=entry.digest,
            pin=found[path].pin,
            locator=found[path].locator,
        )
        for path, entry in entries.items()
    ]
