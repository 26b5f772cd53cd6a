"""Images: layers and a config, put together by functions that return new ones, written to the store as OCI documents.

Source: OCI image specification 1.1, "manifest.md" and "config.md".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import field, replace
from typing import Any

from repro_env.errors import IntegrityError, StoreError
from repro_env.frozen import dataclass
from repro_env.image.layer import Layer
from repro_env.image.store import Store, canonical_json
from repro_env.values import Digest, Platform

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"

CREATED = "1980-01-01T00:00:00Z"
"""The one time of everything in an image, as in `tar.MTIME`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image in memory: what it runs and the layers it stands on, lowest first."""

    platform: Platform
    layers: tuple[Layer, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    workdir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    user: str = ""

    def with_layers(self, *layers: Layer) -> Image:
        """Return this image with more layers on top."""
        return replace(self, layers=(*self.layers, *layers))

    @property
    def size(self) -> int:
        """What the layers weigh compressed, in bytes."""
        return sum(layer.size for layer in self.layers)

    @property
    def unpacked(self) -> int:
        """What the layers weigh unpacked, in bytes."""
        return sum(layer.unpacked for layer in self.layers)


def config_document(image: Image) -> dict[str, Any]:
    """Return the image's config. It names no time but `CREATED`, no host and no author."""
    execution: dict[str, Any] = {"Env": [f"{name}={value}" for name, value in sorted(image.env.items())]}
    if image.user:
        execution["User"] = image.user
    if image.entrypoint:
        execution["Entrypoint"] = list(image.entrypoint)
    if image.command:
        execution["Cmd"] = list(image.command)
    if image.workdir:
        execution["WorkingDir"] = image.workdir
    if image.labels:
        execution["Labels"] = dict(sorted(image.labels.items()))
    return {
        "architecture": image.platform.architecture,
        "os": "linux",
        "created": CREATED,
        "config": execution,
        "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in image.layers]},
        "history": [{"created": CREATED, "created_by": f"repro: {layer.comment}"} for layer in image.layers],
    }


def manifest_document(image: Image, config: bytes) -> dict[str, Any]:
    """Return the manifest that ties `config`, the bytes of the image's config, to its layers."""
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor(CONFIG_TYPE, config),
        "layers": [
            {"mediaType": layer.media_type, "digest": str(layer.digest), "size": layer.size} for layer in image.layers
        ],
    }


def descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    """Return the descriptor of these bytes."""
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


def manifest_bytes(image: Image) -> tuple[bytes, bytes]:
    """Return the manifest and the config it names: an image's digest is that of the first."""
    config = canonical_json(config_document(image))
    return canonical_json(manifest_document(image, config)), config


def write_image(image: Image, store: Store, *, reference: str = "") -> Digest:
    """Keep the image's manifest and config in the store, whose layers are there, and return the manifest's digest.

    With `reference`, the store's `index.json` names it so.
    """
    manifest, config = manifest_bytes(image)
    store.add(config)
    digest = store.add(manifest)
    if reference and store.references().get(reference) != digest:
        platform = {"architecture": image.platform.architecture, "os": "linux"}
        store.name(reference, {**descriptor(MANIFEST_TYPE, manifest), "platform": platform})
    return digest


def index_document(images: Mapping[Platform, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the index of one image on several platforms, given the descriptor of each one's manifest.

    Source: OCI image specification 1.1, "image-index.md".
    """
    return {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [
            {**images[platform], "platform": {"architecture": platform.architecture, "os": "linux"}}
            for platform in sorted(images)
        ],
    }


def read_image(store: Store, digest: Digest) -> Image:
    """Return an image of this program's from the store. Errors: `StoreError` if absent, `IntegrityError` if damaged."""
    manifest = _document(store, digest)
    try:
        config = _document(store, Digest.parse(manifest["config"]["digest"]))
        execution = config["config"]
        comments = [entry["created_by"].removeprefix("repro: ") for entry in config["history"]]
        parts = zip(manifest["layers"], config["rootfs"]["diff_ids"], comments, strict=True)
        return Image(
            platform=Platform(config["architecture"]),
            layers=tuple(_layer(part, diff_id, comment) for part, diff_id, comment in parts),
            env=dict(word.split("=", 1) for word in execution.get("Env", ())),
            command=tuple(execution.get("Cmd", ())),
            entrypoint=tuple(execution.get("Entrypoint", ())),
            workdir=execution.get("WorkingDir", ""),
            labels=execution.get("Labels", {}),
            user=execution.get("User", ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(f"{digest} is not an image of this program", str(error)) from error


def is_complete(store: Store, digest: Digest, *, elsewhere: Collection[Digest] = ()) -> bool:
    """Whether an image, its config and all its layers are in the store, but for those that may be `elsewhere`.

    Layers are known by their sizes, the two documents by their content; one that is damaged does not count.
    """
    try:
        if not store.has(digest):
            return False
        manifest = _document(store, digest)
        parts = [manifest["config"], *manifest["layers"]]
        wanted = [(Digest.parse(part["digest"]), part["size"]) for part in parts]
        here = all(blob in elsewhere or store.has(blob, size) for blob, size in wanted)
        return here and bool(_document(store, wanted[0][0]))
    except (IntegrityError, KeyError, TypeError, ValueError):
        return False


def validate(store: Store, digest: Digest) -> list[str]:
    """Recompute every digest and size of an image in the store, and return what is wrong, in words; [] if nothing."""
    try:
        image = read_image(store, digest)
    except (IntegrityError, StoreError) as error:
        return [str(error)]
    found = []
    manifest, _config = manifest_bytes(image)
    if Digest.of(manifest) != digest:
        found.append(f"manifest {digest} is not what its own content gives: {Digest.of(manifest)}")
    for layer in image.layers:
        found += _validate_layer(store, layer)
    return found


def _validate_layer(store: Store, layer: Layer) -> list[str]:
    from repro_env.image.decompress import DAMAGES, Hashing, decompressed  # noqa: PLC0415 - nothing else here reads tars

    name = f"layer {layer.digest.short} ({layer.comment})"
    path = store.blob(layer.digest)
    if not path.exists():
        return [f"{name} is missing"]
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != layer.digest.hex:
        return [f"{name} holds other bytes: sha256:{digest}"]
    size = path.stat().st_size
    if size != layer.size:
        return [f"{name} is {size} bytes where its manifest says {layer.size}"]
    try:
        with path.open("rb") as stream, decompressed(stream, layer.media_type) as tar:
            hashing = Hashing(tar)
            hashing.drain()
    except DAMAGES as error:
        return [f"{name} does not inflate: {error}"]
    except (OSError, IntegrityError) as error:
        return [f"{name} cannot be read: {error}"]
    return [] if hashing.digest() == layer.diff_id else [f"{name} has another diff_id: {hashing.digest()}"]


def _document(store: Store, digest: Digest) -> dict[str, Any]:
    try:
        document = json.loads(store.read(digest))
    except ValueError as error:
        raise IntegrityError(f"{digest} is not a JSON document", str(error)) from error
    if not isinstance(document, dict):
        raise IntegrityError(f"{digest} is not an image document")
    return document


def _layer(part: Mapping[str, Any], diff_id: str, comment: str) -> Layer:
    return Layer(
        digest=Digest.parse(part["digest"]),
        diff_id=Digest.parse(diff_id),
        size=part["size"],
        unpacked=0,
        media_type=part["mediaType"],
        comment=comment,
    )
