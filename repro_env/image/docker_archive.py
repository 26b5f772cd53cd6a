"""An image as the stream that `docker load` reads, with the layers that the engine already has left out.

An engine with its own layer store knows a layer by its chain of diff_ids and does not open the file of one that it has.
One on containerd wants every blob, and reads the archive as an OCI layout: a full archive is both.
Source: the moby project's image specification, version 1.2, "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from repro_env.edges import files
from repro_env.errors import IntegrityError
from repro_env.image import tar
from repro_env.image.base import ZSTD
from repro_env.image.layer import Layer
from repro_env.image.oci import MANIFEST_TYPE, Image, descriptor, read_image
from repro_env.image.store import OCI_LAYOUT, Store, canonical_json
from repro_env.values import Digest

_CHUNK = 1 << 20


def shared_layers(layers: Sequence[Layer], known: Sequence[Sequence[str]]) -> int:
    """Return how many of an image's lowest layers an engine has, given the `RootFS.Layers` of each of its images."""
    own = [str(layer.diff_id) for layer in layers]
    return max((_common(own, other) for other in known), default=0)


def _common(own: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for mine, theirs in zip(own, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


def config_digest(store: Store, digest: Digest) -> Digest:
    """Return the digest of the config that a manifest in the store names: what most engines call the image's ID."""
    return Digest.parse(json.loads(store.read(digest))["config"]["digest"])


def docker_archive(store: Store, digest: Digest, *, tag: str, skip: int = 0) -> Iterator[bytes]:
    """Yield the archive of the image with this manifest, in pieces of about 1 MiB.

    `skip` says how many of the lowest layers to leave out. Errors: `StoreError` when the store lacks a blob.
    """
    image = read_image(store, digest)
    manifest, config = store.read(digest), store.read(config_digest(store, digest))
    yield from file_pieces("manifest.json", canonical_json([_entry(image, config, tag)]))
    yield from file_pieces(blob_path(Digest.of(config)), config)
    if not skip and not any(layer.media_type == ZSTD for layer in image.layers):
        yield from file_pieces("oci-layout", OCI_LAYOUT)
        yield from file_pieces("index.json", canonical_json(_index(manifest, tag)))
        yield from file_pieces(blob_path(Digest.of(manifest)), manifest)
    for layer in {layer.digest: layer for layer in image.layers[skip:]}.values():
        yield from _layer_pieces(layer, store)
    yield tar.END_OF_ARCHIVE


def _entry(image: Image, config: bytes, tag: str) -> dict[str, Any]:
    return {
        "Config": blob_path(Digest.of(config)),
        "RepoTags": [tag],
        "Layers": [_layer_path(layer) for layer in image.layers],
    }


def _layer_path(layer: Layer) -> str:
    return blob_path(layer.diff_id if layer.media_type == ZSTD else layer.digest)


def _layer_pieces(layer: Layer, store: Store) -> Iterator[bytes]:
    """Yield a layer's file. Engines that read this format know no zstd, so such a layer goes in as its tar."""
    path = store.blob(layer.digest)
    if layer.media_type != ZSTD:
        yield from stored_pieces(_layer_path(layer), store, layer.digest)
        return
    from repro_env.image.decompress import DamagedZstdError, unzstd  # noqa: PLC0415 - few layers are of this kind

    place = store.temporary / secrets.token_hex(8)
    with files.os_errors(f"write to the store at {store.root}"):
        try:
            with path.open("rb") as blob, unzstd(blob) as plain, place.open("xb") as stream:
                shutil.copyfileobj(plain, stream, _CHUNK)
            yield from blob_pieces(_layer_path(layer), place)
        except (DamagedZstdError, EOFError) as error:
            raise IntegrityError(f"layer {layer.digest.short} is damaged", str(error)) from error
        finally:
            place.unlink(missing_ok=True)


def _index(manifest: bytes, tag: str) -> dict[str, Any]:
    annotations = {
        "io.containerd.image.name": f"docker.io/{tag}",
        "org.opencontainers.image.ref.name": tag.rpartition(":")[2],
    }
    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{**descriptor(MANIFEST_TYPE, manifest), "annotations": annotations}],
    }


def blob_path(digest: Digest) -> str:
    """Return where a blob stands in an OCI image layout."""
    return f"blobs/sha256/{digest.hex}"


def file_pieces(path: str, data: bytes) -> Iterator[bytes]:
    """Yield a small file of an archive."""
    yield tar.header(tar.Entry(path=path, size=len(data))) + data + tar.padding(len(data))


def stored_pieces(path: str, store: Store, digest: Digest) -> Iterator[bytes]:
    """Yield a file of an archive from a blob of the store. Errors: `StoreError`, `IntegrityError` if it is damaged."""
    with files.os_errors(f"read the store at {store.root}"):
        size = store.blob(digest).stat().st_size
    yield tar.header(tar.Entry(path=path, size=size))
    yield from store.pieces(digest, str(digest))
    yield tar.padding(size)


def blob_pieces(path: str, source: Path) -> Iterator[bytes]:
    """Yield a file of an archive from one of this machine. Errors: `StoreError`."""
    with files.os_errors(f"read {source}"), source.open("rb") as stream:
        size = source.stat().st_size
        yield tar.header(tar.Entry(path=path, size=size))
        while piece := stream.read(_CHUNK):
            yield piece
        yield tar.padding(size)
