"""Images as files for others: OCI layouts and archives, whose bytes depend on the images alone.

Source: OCI image specification 1.1, "image-layout.md" and "annotations.md".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from repro_env.edges import files
from repro_env.errors import StoreError
from repro_env.image import tar
from repro_env.image.docker_archive import blob_path, file_pieces, stored_pieces
from repro_env.image.oci import INDEX_TYPE, descriptor
from repro_env.image.store import OCI_LAYOUT, Store, canonical_json
from repro_env.values import Digest

_NAME = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"


def write_layout(directory: Path, store: Store, images: Mapping[str, Digest]) -> None:
    """Write images, or indexes of them, by name, into an OCI layout; one that is there keeps what else it holds.

    Errors: `StoreError`, `IntegrityError` when a blob of the store is damaged.
    """
    with files.os_errors(f"write {directory}"):
        blobs = directory / "blobs" / "sha256"
        blobs.mkdir(parents=True, exist_ok=True)
        for digest in _closure(store, images.values()):
            _copy(store, digest, blobs / digest.hex)
    before = _listed(directory / "index.json")
    kept = [entry for entry in before if _name_of(entry) not in images]
    files.write_atomically(directory / "oci-layout", OCI_LAYOUT)
    files.write_atomically(directory / "index.json", canonical_json(_index([*kept, *_entries(store, images)])))


def oci_archive(
    store: Store, images: Mapping[str, Digest], *, blobs: Iterable[Digest] | None = None
) -> Iterator[bytes]:
    """Yield the tar of an OCI layout of these images by name, in pieces of about 1 MiB.

    `blobs` are those that go in besides the manifests; None for all. Errors: as `write_layout`.
    """
    wanted = _closure(store, images.values())
    if blobs is not None:
        chosen = {*blobs, *_manifests(store, images.values())}
        wanted = [digest for digest in wanted if digest in chosen]
    yield from file_pieces("oci-layout", OCI_LAYOUT)
    yield from file_pieces("index.json", canonical_json(_index(_entries(store, images))))
    for digest in wanted:
        yield from stored_pieces(blob_path(digest), store, digest)
    yield tar.END_OF_ARCHIVE


def _index(entries: list[dict[str, Any]]) -> dict[str, Any]:
    ordered = sorted(entries, key=lambda entry: (_name_of(entry), entry["digest"]))
    return {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": ordered}


def _name_of(entry: Mapping[str, Any]) -> str:
    """Return what an index calls a manifest, empty where it has no name."""
    name: str = (entry.get("annotations") or {}).get(_NAME, "")
    return name


def _entries(store: Store, images: Mapping[str, Digest]) -> list[dict[str, Any]]:
    entries = []
    for name, digest in images.items():
        content = store.read(digest)
        names = {_NAME: name.rpartition("/")[2].partition(":")[2] or name, _CONTAINERD_NAME: name}
        annotations = names if ":" in name else {_NAME: name}
        entries.append({**descriptor(json.loads(content)["mediaType"], content), "annotations": annotations})
    return entries


def _manifests(store: Store, digests: Iterable[Digest]) -> list[Digest]:
    """Return these manifests and indexes, and the manifests in the indexes."""
    found: dict[Digest, None] = {}
    for digest in digests:
        found[digest] = None
        inner = json.loads(store.read(digest)).get("manifests", ())
        found |= dict.fromkeys(Digest.parse(entry["digest"]) for entry in inner)
    return list(found)


def _closure(store: Store, digests: Iterable[Digest]) -> list[Digest]:
    """Return every blob that these manifests and indexes are made of, themselves included, sorted."""
    found = set()
    for digest in _manifests(store, digests):
        document = json.loads(store.read(digest))
        parts = [document["config"], *document["layers"]] if "config" in document else []
        found |= {digest, *(Digest.parse(part["digest"]) for part in parts)}
    return sorted(found)


def _copy(store: Store, digest: Digest, target: Path) -> None:
    """Copy a blob unless it is there; a copy that is cut short does not count as there."""
    if target.exists() and target.stat().st_size == store.blob(digest).stat().st_size:
        return
    with files.replacing(target) as stream:
        stream.writelines(store.pieces(digest, str(digest)))


def _listed(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        entries: list[dict[str, Any]] = json.loads(path.read_bytes())["manifests"]
        usable = all(isinstance(entry["digest"], str) and isinstance(_name_of(entry), str) for entry in entries)
        why = "" if usable else "a manifest in it has no digest or no name that is text"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        usable, why = False, f"{type(error).__name__}: {error}"
    if not usable:
        raise StoreError(f"cannot add to the OCI layout at {path.parent}", f"{path.name}: {why}")
    return entries
