from __future__ import annotations

import hashlib
import io
import json
import tarfile

import pytest
import tiny

from repro_env.errors import StoreError
from repro_env.image.docker_archive import config_digest, docker_archive, shared_layers
from repro_env.image.layer import Layer
from repro_env.image.oci import Image, write_image
from repro_env.image.store import Store
from repro_env.values import Digest, Platform


def three(store: Store) -> tuple[Digest, list[Layer]]:
    layers = [tiny.make_layer(store, [tiny.text("f", str(number))]) for number in range(3)]
    return write_image(Image(platform=Platform("amd64"), layers=tuple(layers)), store), layers


def contents(store: Store, digest: Digest, skip: int = 0) -> dict[str, bytes]:
    data = b"".join(docker_archive(store, digest, tag="repro/churn-train:x", skip=skip))
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            stream = archive.extractfile(member)
            assert stream is not None
            found[member.name] = stream.read()
    return found


def test_a_whole_archive_is_a_docker_archive_and_an_oci_layout(store: Store) -> None:
    digest, layers = three(store)
    found = contents(store, digest)
    entry = json.loads(found["manifest.json"])[0]
    assert entry["RepoTags"] == ["repro/churn-train:x"]
    assert entry["Layers"] == [f"blobs/sha256/{layer.digest.hex}" for layer in layers]
    index = json.loads(found["index.json"])
    assert index["manifests"][0]["digest"] == str(digest)
    assert {name.rpartition("/")[2] for name in found if name.startswith("blobs/")} >= {digest.hex}
    for name, data in found.items():
        if name.startswith("blobs/"):
            assert hashlib.sha256(data).hexdigest() == name.rpartition("/")[2]


def test_layers_that_are_left_out_are_still_named(store: Store) -> None:
    digest, layers = three(store)
    found = contents(store, digest, skip=2)
    assert len(json.loads(found["manifest.json"])[0]["Layers"]) == 3
    blobs = {name.rpartition("/")[2] for name in found if name.startswith("blobs/")}
    assert blobs == {config_digest(store, digest).hex, layers[2].digest.hex}
    assert "index.json" not in found, "an OCI layout without its blobs is not one"


def test_a_missing_blob_is_a_store_error(store: Store) -> None:
    digest, layers = three(store)
    store.blob(layers[1].digest).unlink()
    with pytest.raises(StoreError, match="cannot read"):
        contents(store, digest)


def test_only_a_chain_from_the_lowest_layer_is_shared(store: Store) -> None:
    _digest, layers = three(store)
    one, two, three_ = (str(layer.diff_id) for layer in layers)
    assert shared_layers(layers, []) == 0
    assert shared_layers(layers, [[two, three_], [], [one, three_]]) == 1
    assert shared_layers(layers, [[one], [one, two, "sha256:other"]]) == 2
    assert shared_layers(layers, [[one, two, three_, "more"]]) == 3
