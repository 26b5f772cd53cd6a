"""The content-addressed store: an OCI image layout that also keeps wheels, `.deb` files and derived trees.

    oci-layout, index.json      the image layout's own files
    blobs/sha256/HEX            wheels, debs, layers, configs, manifests
    derived/KIND/KEY.json       what was worked out once: the layer made of a wheel, the sonames in a layer
    trees/, rootfs/, venvs/     unpacked layers, root filesystems, venv runtimes
    partial/, temporary/        downloads that may be resumed, files being written
    locks/                      advisory locks

Every blob appears by rename after its digest was checked, so two processes may work here at once, and one that is
killed leaves nothing but a temporary file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from repro_env.edges import files
from repro_env.errors import IntegrityError, StoreError
from repro_env.values import Digest

OCI_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_EMPTY_INDEX: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.index.v1+json",
    "manifests": [],
}
_REFERENCE = "org.opencontainers.image.ref.name"
_ABANDONED_AFTER = 24 * 3600.0
"""Seconds after which a temporary file is taken to be a dead process's."""

_PIECE = 1 << 20

_FORGOTTEN_AFTER = 14 * 24 * 3600.0
"""Seconds after which a download that broke off is not expected to be resumed."""


def canonical_json(document: object) -> bytes:
    """Return the one JSON text of a document: keys sorted, no spaces, UTF-8."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Store:
    """One store on disk. Opening it makes what is missing. Errors: `StoreError`, with what to do about it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs" / "sha256"
        self.temporary = root / "temporary"
        self.partial = root / "partial"
        self._index = root / "index.json"
        with files.os_errors(f"use the store at {root}"):
            for directory in (self.blobs, self.temporary, self.partial, root / "derived", root / "locks"):
                directory.mkdir(parents=True, exist_ok=True)
            if not (root / "oci-layout").exists():
                files.write_atomically(root / "oci-layout", OCI_LAYOUT)
            if not self._index.exists():
                with self.lock("index"):
                    if not self._index.exists():  # another process may have made it, and named an image in it
                        files.write_atomically(self._index, canonical_json(_EMPTY_INDEX))

    # Blobs

    def blob(self, digest: Digest) -> Path:
        """Return where a blob is, whether or not it is there yet."""
        return self.blobs / digest.hex

    def has(self, digest: Digest, size: int | None = None) -> bool:
        """Whether the blob is here, and of this size; one cut short by a power failure does not count."""
        with files.os_errors(f"use the store at {self.root}"):
            try:
                found = self.blob(digest).stat().st_size
            except FileNotFoundError:
                return False
        return size is None or found == size

    def read(self, digest: Digest) -> bytes:
        """Return a small blob's content, checked. Errors: `StoreError` if absent, `IntegrityError` if damaged."""
        with self.reading(digest, str(digest)) as path, files.os_errors(f"read the store at {self.root}"):
            try:
                data = path.read_bytes()
            except FileNotFoundError as error:
                raise StoreError(f"the store has no {digest}", str(path)) from error
            if Digest.of(data) != digest:
                raise IntegrityError(f"{path} holds other bytes")
        return data

    @contextlib.contextmanager
    def reading(self, digest: Digest, name: str) -> Iterator[Path]:
        """Give a blob's path to a reader who sees damage as `IntegrityError`. `name` is what people know the blob by.

        Where the blob itself is what is wrong, it is removed, so that it is had again, and the error says so.
        """
        try:
            yield self.blob(digest)
        except IntegrityError as error:
            if not self._discard_damaged(digest):
                raise
            raise self._damaged(digest, name) from error

    def pieces(self, digest: Digest, name: str) -> Iterator[bytes]:
        """Yield a blob's content in pieces of 1 MiB, and fail after the last one if it was not what its name says.

        Errors: `StoreError` if absent, `IntegrityError` if damaged.
        """
        found = hashlib.sha256()
        with self.reading(digest, name) as path, files.os_errors(f"read the store at {self.root}"):
            with path.open("rb") as stream:
                while piece := stream.read(_PIECE):
                    found.update(piece)
                    yield piece
            if found.hexdigest() != digest.hex:
                raise IntegrityError(f"{path} holds other bytes")

    def check(self, digest: Digest, name: str) -> None:
        """Read a whole blob and remove it if its bytes are not what its name says. Errors: then, `IntegrityError`."""
        if self._discard_damaged(digest):
            raise self._damaged(digest, name)

    def _damaged(self, digest: Digest, name: str) -> IntegrityError:
        path = self.blob(digest)
        removed = "that file was removed: run again, and it is downloaded or made anew"
        hint = "remove that file and run again" if path.exists() else removed
        return IntegrityError(f"the store's copy of {name} is damaged", str(path), hint)

    def _discard_damaged(self, digest: Digest) -> bool:
        """Say whether a blob's bytes are not what its name says, and remove it then, where that is allowed."""
        path = self.blob(digest)
        damaged = False
        with contextlib.suppress(OSError), path.open("rb") as stream:
            damaged = hashlib.file_digest(stream, "sha256").hexdigest() != digest.hex
            # Another process may have put a sound one in its place meanwhile.
            if damaged and os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                path.unlink()
        return damaged

    def add(self, data: bytes) -> Digest:
        """Keep these bytes, which are few, and return their digest. A damaged blob of that name is replaced."""
        digest = Digest.of(data)
        with files.os_errors(f"read the store at {self.root}"):
            try:
                known = self.blob(digest).read_bytes()
            except FileNotFoundError:
                known = None
        if known != data:
            with self.writing() as (stream, keep):
                stream.write(data)
                keep(digest)
        return digest

    @contextlib.contextmanager
    def writing(self) -> Iterator[tuple[BinaryIO, _Keep]]:
        """Give a stream, and a `keep(digest)` to call once all is written; without that call it is dropped."""
        path = self.temporary / secrets.token_hex(8)
        with files.os_errors(f"write to the store at {self.root}"):
            try:
                with path.open("xb", buffering=1 << 18) as stream:
                    yield stream, _Keep(self, stream, path)
            finally:
                path.unlink(missing_ok=True)

    def adopt(self, path: Path, digest: Digest) -> None:
        """Move a file whose digest was already checked into the blobs."""
        with files.os_errors(f"write to the store at {self.root}"):
            os.chmod(path, 0o644)
            os.replace(path, self.blob(digest))

    # What was worked out once

    def recall(self, kind: str, key: str) -> Any | None:
        """Return the JSON document remembered under `kind` and `key`, or None where there is none or it is damaged."""
        with files.os_errors(f"read the store at {self.root}"):
            try:
                data = self._derived(kind, key).read_bytes()
            except FileNotFoundError:
                return None
        text = data[len(_seal(b"")) : -1]
        return json.loads(text) if data == _sealed(text) else None

    def remember(self, kind: str, key: str, document: Mapping[str, Any]) -> None:
        """Keep a JSON document that was worked out, to be recalled later. It can always be worked out again."""
        files.write_atomically(self._derived(kind, key), _sealed(canonical_json(document)))

    def _derived(self, kind: str, key: str) -> Path:
        return self.root / "derived" / kind / f"{key}.json"

    # The layout's index

    def references(self) -> dict[str, Digest]:
        """Return the named manifests of `index.json`: reference name to manifest digest. Errors: as `name`."""
        named = ((_reference(manifest), manifest) for manifest in self._manifests())
        return {name: Digest.parse(manifest["digest"]) for name, manifest in named if name}

    def name(self, reference: str, descriptor: Mapping[str, Any]) -> None:
        """Let `reference` name this manifest in `index.json`, in place of what it named before.

        Errors: `IntegrityError` when `index.json` is damaged, `StoreError`.
        """
        with self.lock("index"):
            entry = {**descriptor, "annotations": {_REFERENCE: reference}}
            kept = [other for other in self._manifests() if _reference(other) != reference]
            manifests = sorted([*kept, entry], key=lambda other: (_reference(other), str(other["digest"])))
            files.write_atomically(self._index, canonical_json({**_EMPTY_INDEX, "manifests": manifests}))

    def _manifests(self) -> list[dict[str, Any]]:
        """Return the descriptors in `index.json`; those that another program put there have no name, perhaps."""
        with files.os_errors(f"read the store at {self.root}"):
            data = self._index.read_bytes()
        try:
            manifests: list[dict[str, Any]] = json.loads(data)["manifests"]
            for manifest in manifests:
                Digest.parse(manifest["digest"])
                _reference(manifest)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            hint = "remove that file: the next build names its images again"
            raise IntegrityError("the store's index.json is damaged", f"{self._index}: {error}", hint) from error
        return manifests

    # Housekeeping

    def lock(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Hold the store's lock of that name against other processes and threads of the same store."""
        return files.locked(self.root / "locks" / name)

    def sweep(self) -> None:
        """Remove what processes killed long ago left behind: temporary files, and downloads that nobody resumed."""
        now = time.time()
        for directory, age in ((self.temporary, _ABANDONED_AFTER), (self.partial, _FORGOTTEN_AFTER)):
            with contextlib.suppress(OSError):
                for path in directory.iterdir():
                    with contextlib.suppress(OSError):
                        if path.lstat().st_mtime < now - age:
                            files.remove_tree(path)


def _seal(text: bytes) -> bytes:
    return b'{"sha256":"%s","document":' % hashlib.sha256(text).hexdigest().encode()


def _sealed(text: bytes) -> bytes:
    """Return a document with its own digest before it: a layer's digests and names decide what an image is."""
    return _seal(text) + text + b"}"


def _reference(manifest: Mapping[str, Any]) -> str:
    return str((manifest.get("annotations") or {}).get(_REFERENCE, ""))


class _Keep:
    """Turns the file being written into a blob."""

    def __init__(self, store: Store, stream: BinaryIO, path: Path) -> None:
        self._store, self._stream, self._path = store, stream, path

    def __call__(self, digest: Digest) -> None:
        self._stream.flush()
        self._store.adopt(self._path, digest)
