"""Layers of other builders in our images: unpacked, validated, put into archives, built on."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace

import locks
import pytest
from images import DOCKER, OCI, Foreign, foreign_layer

from repro_env.errors import BuildError, IntegrityError
from repro_env.image.base import base_image_layers, oci_media_type
from repro_env.image.docker_archive import docker_archive
from repro_env.image.layer import Layer
from repro_env.image.oci import Image, read_image, validate, write_image
from repro_env.image.store import Store
from repro_env.image.unpack import root_filesystem
from repro_env.lock.model import ImageLayer
from repro_env.values import Digest, Platform

ENTRIES: dict[str, bytes | str | None] = {"usr": None, "usr/bin": None, "usr/bin/x": b"content", "bin": "usr/bin"}
KINDS = [(kind, family) for kind in ("gzip", "zstd", "plain") for family in (OCI, DOCKER)]


def pinned(foreign: Foreign) -> ImageLayer:
    return ImageLayer(
        media_type=foreign.media_type,
        digest=Digest.of(foreign.blob),
        size=len(foreign.blob),
        diff_id=Digest.of(foreign.tar),
    )


def layers_of(store: Store, *found: Foreign) -> tuple[Layer, ...]:
    for foreign in found:
        store.add(foreign.blob)
    return base_image_layers(replace(locks.image_root(), layers=tuple(map(pinned, found))))


@pytest.mark.parametrize(("kind", "family"), KINDS)
def test_a_layer_of_every_kind_is_unpacked_and_validated(store: Store, kind: str, family: str) -> None:
    layers = layers_of(store, foreign_layer(ENTRIES, kind=kind, family=family))
    assert layers[0].media_type.startswith("application/vnd.oci.image.layer.v1.tar")
    root = root_filesystem(store, layers)
    assert (root / "bin" / "x").read_bytes() == b"content"
    image = Image(platform=Platform("amd64"), layers=layers, user="1000", env={"A": "="})
    digest = write_image(image, store)
    assert validate(store, digest) == []
    again = read_image(store, digest)
    assert (again.user, again.env, again.layers) == ("1000", {"A": "="}, layers)


@pytest.mark.parametrize("kind", ["gzip", "zstd", "plain"])
def test_a_damaged_one_is_found_out(store: Store, kind: str) -> None:
    foreign = foreign_layer({**ENTRIES, "large": bytes(range(256)) * 5000}, kind=kind)
    layers = layers_of(store, foreign)
    digest = write_image(Image(platform=Platform("amd64"), layers=layers), store)
    store.blob(layers[0].digest).write_bytes(foreign.blob[:-10])
    with pytest.raises(IntegrityError, match="damaged"):
        root_filesystem(store, layers)
    assert len(validate(store, digest)) == 1


@pytest.mark.parametrize("kind", ["gzip", "zstd", "plain"])
def test_a_docker_archive_has_it_in_a_kind_that_engines_read(store: Store, kind: str) -> None:
    foreign = foreign_layer(ENTRIES, kind=kind)
    digest = write_image(Image(platform=Platform("amd64"), layers=layers_of(store, foreign)), store)
    with tarfile.open(fileobj=io.BytesIO(b"".join(docker_archive(store, digest, tag="x:y")))) as archive:
        found = {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]
    (path,) = json.loads(found["manifest.json"])[0]["Layers"]
    assert found[path] == (foreign.tar if kind == "zstd" else foreign.blob)
    assert ("oci-layout" in found) == (kind != "zstd")  # whose reader would want the blob that was left out
    assert list(store.temporary.iterdir()) == []


def test_a_layer_of_an_unknown_kind_cannot_be_built_on() -> None:
    with pytest.raises(BuildError, match="cannot be built on") as caught:
        oci_media_type("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    assert "foreign" in caught.value.why
