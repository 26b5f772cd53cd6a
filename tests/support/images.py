"""Images made to measure: small ones in a store, and other people's in a registry."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backports import zstd

from repro_env.edges.report import Silent
from repro_env.image import tar
from repro_env.image.layer import Layer, LayerWriter
from repro_env.image.oci import Image, write_image
from repro_env.image.registry.client import Repository
from repro_env.image.registry.upload import Upload
from repro_env.image.store import Store
from repro_env.values import Digest, Platform

AMD64, ARM64 = Platform("amd64"), Platform("arm64")
OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
CONFIG = f"{OCI}.config.v1+json"


def make_layer(store: Store, content: bytes, *, path: str = "file") -> Layer:
    """Return a layer in the store with one file."""
    with store.writing() as (stream, keep):
        writer = LayerWriter(stream)
        writer.add(tar.Entry(path=path, size=len(content)), content)
        layer = writer.finish(path)
        keep(layer.digest)
    return layer


def make_image(store: Store, *contents: bytes, platform: Platform = AMD64) -> Digest:
    """Return the manifest of an image in the store, with a layer for each content."""
    layers = tuple(make_layer(store, content, path=f"file-{n}") for n, content in enumerate(contents))
    return write_image(Image(platform=platform, layers=layers, env={"A": "b"}), store)


def noise(size: int) -> bytes:
    """Return bytes that are no one else's."""
    return os.urandom(size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A layer as another builder made it: its tar, its blob, and what its manifest calls it."""

    tar: bytes
    blob: bytes
    media_type: str

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": str(Digest.of(self.blob)), "size": len(self.blob)}


def foreign_layer(entries: Mapping[str, bytes | str | None], *, kind: str = "gzip", family: str = OCI) -> Foreign:
    """Make a layer: bytes are files, a text is a link's target, None a directory."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in entries.items():
            entry = tarfile.TarInfo(path)
            if content is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
            else:
                entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content) if isinstance(content, bytes) else None)
    data = stream.getvalue()
    packed = gzip.compress(data) if kind == "gzip" else zstd.compress(data) if kind == "zstd" else data
    if family == OCI:
        media_type = f"{OCI}.layer.v1.tar" + ("" if kind == "plain" else f"+{kind}")
    else:
        media_type = f"{DOCKER}.image.rootfs.diff.tar" + ("" if kind == "plain" else f".{kind}")
    return Foreign(tar=data, blob=packed, media_type=media_type)


def config_of(
    layers: Sequence[Foreign], *, env: Sequence[str] = (), user: str = "", platform: Platform = AMD64
) -> dict[str, Any]:
    """Return the config of an image of these layers."""
    return {
        "architecture": platform.architecture,
        "os": "linux",
        "config": {"Env": list(env), "User": user},
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer.tar)) for layer in layers]},
    }


def push_foreign(
    repository: Repository,
    store: Store,
    layers: Sequence[Foreign],
    config: Mapping[str, Any],
    *,
    tag: str,
    docker: bool = False,
) -> dict[str, Any]:
    """Push an image in OCI's words or Docker's; return the descriptor of its manifest, with its platform."""
    content = json.dumps(config).encode()
    for blob in (content, *(layer.blob for layer in layers)):
        digest = store.add(blob)
        if not repository.has_blob(digest):
            Upload(repository, store.blob(digest), digest, len(blob), Silent()).send()
        store.blob(digest).unlink()
    media_type = f"{DOCKER}.distribution.manifest.v2+json" if docker else f"{OCI}.manifest.v1+json"
    config_type = f"{DOCKER}.container.image.v1+json" if docker else CONFIG
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": {"mediaType": config_type, "digest": str(Digest.of(content)), "size": len(content)},
            "layers": [layer.descriptor for layer in layers],
        }
    ).encode()
    digest = repository.put_manifest(manifest, media_type, tag)
    place = {"architecture": config["architecture"], "os": config["os"]}
    return {"mediaType": media_type, "digest": str(digest), "size": len(manifest), "platform": place}


def push_index(
    repository: Repository, manifests: Sequence[Mapping[str, Any]], *, tag: str, docker: bool = False
) -> Digest:
    """Push an index of manifests that are there."""
    media_type = f"{DOCKER}.distribution.manifest.list.v2+json" if docker else f"{OCI}.index.v1+json"
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": list(manifests)}
    return repository.put_manifest(json.dumps(document).encode(), media_type, tag)
