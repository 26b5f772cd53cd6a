"""Image documents: what the OCI image specification asks of them, and that `validate` finds every damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from repro_env.errors import IntegrityError, StoreError
from repro_env.image import deflate, tar
from repro_env.image.layer import Layer, LayerWriter
from repro_env.image.oci import (
    CONFIG_TYPE,
    MANIFEST_TYPE,
    Image,
    config_document,
    is_complete,
    manifest_bytes,
    read_image,
    validate,
    write_image,
)
from repro_env.image.store import Store, canonical_json
from repro_env.values import Digest, Platform


def make_layer(store: Store, name: str) -> Layer:
    with store.writing() as (stream, keep):
        writer = LayerWriter(stream)
        writer.add(tar.Entry(path=name, size=5), b"hello")
        layer = writer.finish(f"layer {name}")
        keep(layer.digest)
    return layer


@pytest.fixture
def image(store: Store) -> Image:
    return Image(
        platform=Platform("amd64"),
        layers=(make_layer(store, "a"), make_layer(store, "b")),
        env={"PATH": "/opt/env/bin", "EMPTY": "", "EQUALS": "a=b=c", "TEXT": "größe"},
        command=("python", "-c", "print(1)"),
        entrypoint=("/entry",),
        workdir="/repro/code",
        labels={"z": "1", "a": "2"},
    )


def documents(store: Store, digest: Digest) -> tuple[dict[str, Any], dict[str, Any]]:
    manifest = json.loads(store.read(digest))
    return manifest, json.loads(store.read(Digest.parse(manifest["config"]["digest"])))


def test_the_manifest_has_what_the_specification_asks(store: Store, image: Image) -> None:
    digest = write_image(image, store)
    manifest, config = documents(store, digest)
    assert manifest["schemaVersion"] == 2
    assert manifest["mediaType"] == MANIFEST_TYPE
    assert manifest["config"]["mediaType"] == CONFIG_TYPE
    for part in (manifest["config"], *manifest["layers"]):
        blob = store.blob(Digest.parse(part["digest"])).read_bytes()
        assert (Digest.of(blob), len(blob)) == (Digest.parse(part["digest"]), part["size"])
    assert {part["mediaType"] for part in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar+gzip"}
    assert len(config["rootfs"]["diff_ids"]) == len(manifest["layers"]) == len(config["history"]) == 2


def test_the_config_has_what_the_specification_asks(store: Store, image: Image) -> None:
    assert config_document(image) == {
        "architecture": "amd64",
        "os": "linux",
        "created": "1980-01-01T00:00:00Z",
        "config": {
            "Env": ["EMPTY=", "EQUALS=a=b=c", "PATH=/opt/env/bin", "TEXT=größe"],
            "Entrypoint": ["/entry"],
            "Cmd": ["python", "-c", "print(1)"],
            "WorkingDir": "/repro/code",
            "Labels": {"a": "2", "z": "1"},
        },
        "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in image.layers]},
        "history": [
            {"created": "1980-01-01T00:00:00Z", "created_by": "repro: layer a"},
            {"created": "1980-01-01T00:00:00Z", "created_by": "repro: layer b"},
        ],
    }


def test_what_is_empty_is_left_out() -> None:
    assert config_document(Image(platform=Platform("arm64"), layers=()))["config"] == {"Env": []}


def test_an_image_is_read_back(store: Store, image: Image) -> None:
    read = read_image(store, write_image(image, store))
    assert replace(read, layers=()) == replace(image, layers=())
    assert [replace(layer, unpacked=0) for layer in image.layers] == list(read.layers)
    assert manifest_bytes(read) == manifest_bytes(image)


def test_the_digest_does_not_depend_on_the_order_of_mappings(image: Image) -> None:
    turned = replace(image, env=dict(reversed([*image.env.items()])), labels=dict(reversed([*image.labels.items()])))
    assert manifest_bytes(turned) == manifest_bytes(image)


def test_sizes_are_sums(image: Image) -> None:
    assert image.size == sum(layer.size for layer in image.layers) > 0
    assert image.unpacked == sum(layer.unpacked for layer in image.layers) > 0
    more = image.with_layers(image.layers[0])
    assert len(more.layers) == 3
    assert len(image.layers) == 2


def test_a_reference_names_the_image_with_its_platform(store: Store, image: Image) -> None:
    digest = write_image(image, store, reference="project/step:amd64")
    assert store.references() == {"project/step:amd64": digest}
    index = json.loads((store.root / "index.json").read_bytes())
    assert index["manifests"][0]["platform"] == {"architecture": "amd64", "os": "linux"}
    assert index["manifests"][0]["size"] == len(store.read(digest))


# Damage


def test_a_whole_image_is_valid_and_complete(store: Store, image: Image) -> None:
    digest = write_image(image, store)
    assert validate(store, digest) == []
    assert is_complete(store, digest)


def blob_names(store: Store, digest: Digest) -> dict[str, Digest]:
    manifest, _config = documents(store, digest)
    config, layers = manifest["config"], manifest["layers"]
    parts = {"manifest": str(digest), "config": config["digest"], "layer": layers[1]["digest"]}
    return {name: Digest.parse(text) for name, text in parts.items()}


@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
@pytest.mark.parametrize(
    ("damage", "noticed_by_size"),
    [
        (lambda data: data[:-1], True),
        (lambda data: data + b"\n", True),
        (lambda _data: b"", True),
        (lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:], False),
    ],
)
def test_every_damage_to_a_blob_is_found(
    store: Store, image: Image, part: str, damage: Callable[[bytes], bytes], noticed_by_size: bool
) -> None:
    digest = write_image(image, store)
    blob = store.blob(blob_names(store, digest)[part])
    blob.write_bytes(damage(blob.read_bytes()))
    assert validate(store, digest)
    assert is_complete(store, digest) == (not noticed_by_size and part == "layer")


@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
def test_every_missing_blob_is_found(store: Store, image: Image, part: str) -> None:
    digest = write_image(image, store)
    store.blob(blob_names(store, digest)[part]).unlink()
    assert validate(store, digest)
    assert not is_complete(store, digest)


def change_manifest(store: Store, digest: Digest, change: Callable[[dict[str, Any]], object]) -> Digest:
    manifest, _config = documents(store, digest)
    change(manifest)
    return store.add(canonical_json(manifest))


def change_config(store: Store, digest: Digest, change: Callable[[dict[str, Any]], object]) -> Digest:
    manifest, config = documents(store, digest)
    change(config)
    data = canonical_json(config)
    manifest["config"] |= {"digest": str(store.add(data)), "size": len(data)}
    return store.add(canonical_json(manifest))


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["layers"].reverse(),
        lambda manifest: manifest["layers"].pop(),
        lambda manifest: manifest["layers"].append(manifest["layers"][0]),
        lambda manifest: manifest["layers"][0].update(size=1),
        lambda manifest: manifest["layers"][0].update(digest="sha256:1"),
        lambda manifest: manifest["layers"][0].update(mediaType="application/x-unknown"),
        lambda manifest: manifest["layers"][0].pop("size"),
        lambda manifest: manifest.update(layers=None),
        lambda manifest: manifest.pop("layers"),
        lambda manifest: manifest.pop("config"),
        lambda manifest: manifest["config"].update(size=1),
        lambda manifest: manifest["config"].update(digest="md5:abc"),
        lambda manifest: manifest.update(annotations={"a": "b"}),
    ],
)
def test_a_manifest_that_lies_is_found(store: Store, image: Image, change: Callable[[dict[str, Any]], object]) -> None:
    digest = change_manifest(store, write_image(image, store), change)
    assert validate(store, digest)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["rootfs"]["diff_ids"].reverse(),
        lambda config: config["rootfs"]["diff_ids"].pop(),
        lambda config: config["rootfs"].update(diff_ids=["x", "y"]),
        lambda config: config["history"].pop(),
        lambda config: config.pop("history"),
        lambda config: config.pop("architecture"),
        lambda config: config.update(architecture="vax"),
        lambda config: config.pop("config"),
        lambda config: config["config"].update(Env=["NOEQUALS"]),
        lambda config: config.update(author="somebody"),
    ],
)
def test_a_config_that_lies_is_found(store: Store, image: Image, change: Callable[[dict[str, Any]], object]) -> None:
    digest = change_config(store, write_image(image, store), change)
    assert validate(store, digest)


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{}", b"\xff", b'{"config":1}', b'{"config":{"digest":1}}'])
def test_what_is_no_manifest_is_found(store: Store, text: bytes) -> None:
    digest = store.add(text)
    assert validate(store, digest)
    assert not is_complete(store, digest)
    with pytest.raises(IntegrityError):
        read_image(store, digest)


def test_an_absent_image_is_found(store: Store) -> None:
    digest = Digest.of(b"absent")
    assert validate(store, digest)
    assert not is_complete(store, digest)
    with pytest.raises(StoreError):
        read_image(store, digest)


@pytest.mark.parametrize(
    "blob",
    [b"no gzip", b"", deflate.HEADER + b"\xff" * 20, deflate.stored(b"other"), deflate.stored(b"x")[:-3]],
)
def test_a_layer_that_does_not_inflate_to_its_diff_id_is_found(store: Store, image: Image, blob: bytes) -> None:
    bad = replace(image.layers[0], digest=store.add(blob), size=len(blob))
    digest = write_image(replace(image, layers=(bad,)), store)
    (found,) = validate(store, digest)
    assert found.startswith(f"layer {bad.digest.short} (layer a)")


def test_validating_reports_every_layer(store: Store, image: Image) -> None:
    digest = write_image(image, store)
    for layer in image.layers:
        store.blob(layer.digest).unlink()
    assert len(validate(store, digest)) == 2
