"""Data from elsewhere: pinned when locking, fetched into the store, and put where the project has it.

Two documents are kept in the store's `derived/`: under `data-seen` what each file of an address was when it was last
read, by the word that its source has for it, so that a later lock downloads only what changed; under `data-content` the
content that data of a weaker pin turned out to have.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from repro_env.config import checks
from repro_env.config.model import Data
from repro_env.data import manifest
from repro_env.data.download import Download, as_remote, shown_uri
from repro_env.data.inputs import PLACES
from repro_env.data.listing import content_digest, entries_of, list_files, pins_of, pins_text, weakest_pin
from repro_env.data.manifest import Entry
from repro_env.data.select import Selection
from repro_env.data.sources.base import RemoteFile, Request, Resolved, Source
from repro_env.data.tree import listed
from repro_env.edges.files import write_atomically
from repro_env.edges.report import Reporter
from repro_env.errors import IntegrityError, VerificationError
from repro_env.frozen import dataclass
from repro_env.image.store import Store
from repro_env.lock.model import LockedData
from repro_env.values import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What data holds: its files by path, as a manifest has them."""

    kind: str
    entries: Mapping[str, Entry]

    @property
    def digest(self) -> Digest:
        """What pins it."""
        return content_digest(self.kind, self.entries)

    @property
    def size(self) -> int:
        """The bytes of its files."""
        return sum(entry.size for entry in self.entries.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """Data of one source. `manifests` is the directory that the project keeps manifests in."""

    source: Source
    store: Store
    manifests: Path
    report: Reporter

    def lock(self, data: Data, resolved: Resolved, previous: LockedData | None) -> LockedData:
        """Pin what a request was resolved to; what had to be read for that is in the store then.

        Errors: as `Source`, `VerificationError`, `ConfigError`, `StoreError`.
        """
        if resolved.whole:
            return self._by_whole(data, resolved, previous)
        selection = Selection(include=data.include, exclude=data.exclude)
        files = list_files(self.source, resolved, selection)
        if data.pin == "version":
            return self._by_version(data, resolved, files, previous)
        content = self._content(resolved, files, whole=False)
        self.keep(content)
        return _locked(data, resolved, digest=content.digest, files=len(content.entries), size=content.size)

    def pull(self, locked: LockedData) -> Content:
        """Have in the store what a lock pins, and return it. Nothing is asked of the source that is here already.

        Errors: `IntegrityError` or `VerificationError` when the source has something else by now; as `Source`.
        """
        known = self.known(locked)
        if known is not None and self._has(known):
            return known
        resolved = Resolved.of(locked)
        selection = Selection(include=locked.include, exclude=locked.exclude)
        files = list_files(self.source, resolved, selection)
        if locked.is_weak:
            self._check_pins(locked, files)
        content = self._content(resolved, files, whole=True) if known is None else self._missing(resolved, known, files)
        expected = locked.content_digest
        self.keep(content)
        if expected is not None and content.digest != expected:
            raise self._other(locked, content)
        if locked.is_weak:
            self.remember(locked, content)
        return content

    def remember(self, locked: LockedData, content: Content) -> None:
        """Keep what content data of a weaker pin turned out to have."""
        self.keep(content)
        self.store.remember("data-content", _weak_key(locked), {"content": str(content.digest)})

    def known(self, locked: LockedData) -> Content | None:
        """Return what a lock pins as far as that can be told without its source: by a manifest that was kept."""
        digest = locked.content_digest or self.seen_content(locked)
        if digest is None:
            return None
        if locked.kind == "file":
            size = _blob_size(self.store, digest) if locked.is_weak else locked.size
            return Content(kind="file", entries={"": _file_entry(digest, locked.size if size is None else size)})
        text = kept_manifest(digest, self.manifests, self.store)
        return Content(kind="directory", entries=manifest.parse(text)) if text is not None else None

    def seen_content(self, locked: LockedData) -> Digest | None:
        """Return what content data of a weaker pin had when it was pulled on this machine."""
        found = self.store.recall("data-content", _weak_key(locked)) if locked.is_weak else None
        return Digest.parse(found["content"]) if found else None

    def _by_version(
        self, data: Data, resolved: Resolved, files: Sequence[RemoteFile], previous: LockedData | None
    ) -> LockedData:
        text = pins_text(data.name, files)
        digest, pin = Digest.of(text), weakest_pin(files)
        self._keep_text(digest, text)
        size = sum(file.size or 0 for file in files)
        if pin == "sha256":
            content = Content(kind=resolved.kind, entries=entries_of(files, {}))
            self.keep(content)
            return _locked(data, resolved, digest=content.digest, files=len(files), size=size)
        locked = _locked(data, resolved, digest=digest, files=len(files), size=size, pin=pin)
        before = previous.content if previous and (previous.digest, previous.pin) == (digest, pin) else None
        return replace(locked, content=before or self.seen_content(locked))

    def _by_whole(self, data: Data, resolved: Resolved, previous: LockedData | None) -> LockedData:
        """Pin by the hash that a source has for all of it."""
        files = [_whole(resolved.revision, resolved.size)]
        digest, pin = Digest.of(pins_text(data.name, files)), weakest_pin(files)
        locked = _locked(data, resolved, digest=digest, files=resolved.count, size=resolved.size, pin=pin)
        before = previous.content if previous and (previous.digest, previous.pin) == (digest, pin) else None
        return replace(locked, content=before or self.seen_content(locked))

    def _content(self, resolved: Resolved, files: Sequence[RemoteFile], *, whole: bool) -> Content:
        """Return the content of every file, and download that of which no SHA-256 is known; with `whole`, all."""
        key = _address_key(resolved.request)
        seen = self.store.recall("data-seen", key) or {}
        files = [_as_seen(file, seen.get(file.path)) for file in files]
        download = self._download(resolved)
        entries = entries_of(files, download.have([file for file in files if whole or file.digest is None]))
        self.store.remember(
            "data-seen", key, {file.path: _seen(file, entries[file.path]) for file in files if file.pin}
        )
        return Content(kind=resolved.kind, entries=entries)

    def _missing(self, resolved: Resolved, known: Content, files: Sequence[RemoteFile]) -> Content:
        """Have what the store lacks of a content that is known file by file."""
        listing = {file.path: file for file in files}
        gone = sorted(known.entries.keys() - listing.keys())
        if gone:
            lines = listed([f"{path or 'the file'} is gone" for path in gone])
            raise _changed(resolved.request.name, resolved.request.uri, lines)
        wanted = as_remote(known.entries, listing)
        return Content(kind=known.kind, entries=entries_of(wanted, self._download(resolved).have(wanted)))

    def _download(self, resolved: Resolved) -> Download:
        return Download(source=self.source, resolved=resolved, store=self.store, report=self.report)

    def _has(self, content: Content) -> bool:
        return all(
            entry.digest is None or self.store.has(entry.digest, entry.size) for entry in content.entries.values()
        )

    def _check_pins(self, locked: LockedData, files: Sequence[RemoteFile]) -> None:
        """Hold a listing against the pins in the lock. Errors: `VerificationError`, file by file where possible."""
        if Digest.of(pins_text(locked.name, [_whole(locked.revision, locked.size)])) == locked.digest:
            return  # what is listed follows from the hash of the whole
        text = pins_text(locked.name, files)
        if Digest.of(text) == locked.digest:
            return
        before = kept_manifest(locked.digest, self.manifests, self.store)
        lines = _pin_differences(before, text) if before is not None else "its files are not the ones that were pinned"
        raise _changed(locked.name, locked.uri, lines)

    def _other(self, locked: LockedData, content: Content) -> IntegrityError:
        """Return the error for content that came whole and is not what the lock pins."""
        expected = locked.content_digest
        known = self.known(locked)
        differ = listed(manifest.differences(known.entries, content.entries)) if known else ""
        why = f"expected {expected}\nfound    {content.digest}\nfrom     {shown_uri(locked.uri)}\n{differ}"
        hint = f"restore it at its source, or run `repro lock -D {locked.name}` to pin what is there now"
        return IntegrityError(f"data {locked.name} is not what was pinned", why.rstrip(), hint)

    def keep(self, content: Content) -> None:
        """Keep a directory's manifest in the project and in the store."""
        if content.kind == "directory":
            text = manifest.text(content.entries.values())
            self._keep_text(Digest.of(text), text)

    def _keep_text(self, digest: Digest, text: bytes) -> None:
        self.store.add(text)
        place = self.manifests / digest.hex
        if not place.exists():
            write_atomically(place, text)


def kept_manifest(digest: Digest, manifests: Path, store: Store | None = None) -> bytes | None:
    """Return the manifest, or list of pins, of that digest where the project or the store has it undamaged."""
    places = [manifests / digest.hex, *([store.blob(digest)] if store is not None else [])]
    for place in places:
        try:
            text = place.read_bytes()
        except OSError:
            continue
        if Digest.of(text) == digest:
            return text
    return None


def place_of(data: Data, resolved: Resolved) -> str:
    """Return where data stands in the project: its own path, or one below `.repro/data`."""
    if resolved.home or data.path:
        return resolved.home or data.path
    own = f"{PLACES}/{data.name}"
    if resolved.kind != "file":
        return own
    try:
        return checks.inside_path(f"{own}/{resolved.file or data.name}")
    except ValueError:  # what addresses may hold and names in a lock may not
        return f"{own}/{data.name}"


def _locked(
    data: Data, resolved: Resolved, *, digest: Digest, files: int, size: int, pin: str = "sha256"
) -> LockedData:
    return LockedData(
        name=data.name,
        path=place_of(data, resolved),
        kind=resolved.kind,
        digest=digest,
        files=files,
        size=size,
        source=data.kind,
        uri=data.uri,
        revision=resolved.revision,
        query=data.query,
        connection=data.connection,
        include=data.include,
        exclude=data.exclude,
        options=data.options,
        pin=pin,
    )


def _whole(revision: str, size: int) -> RemoteFile:
    return RemoteFile(path="", size=size, pin=revision or "none:")


def _file_entry(digest: Digest, size: int) -> Entry:
    return Entry(path="", kind="file", size=size, digest=digest)


def _blob_size(store: Store, digest: Digest) -> int | None:
    """Return the size of what is in the store: not every source tells it beforehand."""
    try:
        return store.blob(digest).stat().st_size
    except OSError:
        return None


def _address_key(request: Request) -> str:
    words = [request.uri, "" if request.uri else request.path, request.query, request.connection]
    words.append(json.dumps(dict(request.options), sort_keys=True))
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def _weak_key(locked: LockedData) -> str:
    """Return what tells weaker pins apart: two servers may have the same word for different files."""
    address = _address_key(Resolved.of(locked).request)
    return hashlib.sha256(f"{locked.digest} {locked.source} {address}".encode()).hexdigest()


def _as_seen(file: RemoteFile, seen: Any) -> RemoteFile:
    """Return a file with the digest it had when it was last read, if its source calls it the same as then."""
    if file.digest is not None or not seen or _says_little(file.pin):
        return file
    pin, size, digest = seen
    if pin != file.pin or file.size not in (None, size) or not digest:
        return file
    return replace(file, digest=Digest(digest), size=size)


def _says_little(pin: str) -> bool:
    """Whether there is no pin, or one that other bytes may share: a weak ETag (RFC 9110, section 8.8.1)."""
    return not pin or pin.startswith("etag:W/")


def _seen(file: RemoteFile, entry: Entry) -> list[Any]:
    return [file.pin, entry.size, entry.digest.hex if entry.digest else ""]


def _pin_differences(before: bytes, after: bytes) -> str:
    old, new = pins_of(before), pins_of(after)
    lines = [f"{path or 'the file'} is gone" for path in old.keys() - new.keys()]
    lines += [f"{path or 'the file'} is new" for path in new.keys() - old.keys()]
    lines += [
        f"{path or 'the file'} was {old[path]} and is {new[path]}"
        for path in old.keys() & new.keys()
        if old[path] != new[path]
    ]
    return listed(sorted(lines))


def _changed(name: str, uri: str, lines: str) -> VerificationError:
    hint = f"restore it at its source, or run `repro lock -D {name}` to pin what is there now"
    return VerificationError(
        f"data {name} changed at its source since it was pinned", f"{shown_uri(uri)}\n{lines}", hint
    )
