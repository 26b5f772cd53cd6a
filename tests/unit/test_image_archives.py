"""OCI layouts and archives of images, written for others."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from images import make_image, noise

from repro_env.errors import IntegrityError, StoreError
from repro_env.image.archives import oci_archive, write_layout
from repro_env.image.store import Store, canonical_json
from repro_env.values import Digest

FOREIGN = {"mediaType": "application/vnd.x", "digest": f"sha512:{'0' * 128}", "size": 1}


def names(layout: Path) -> list[str]:
    entries = json.loads((layout / "index.json").read_bytes())["manifests"]
    return [(entry.get("annotations") or {}).get("org.opencontainers.image.ref.name", "") for entry in entries]


def test_a_layout_keeps_what_it_holds_besides(store: Store, tmp_path: Path) -> None:
    one, other = make_image(store, noise(1000)), make_image(store, noise(2000))
    write_layout(tmp_path / "out", store, {"a": one})
    index = json.loads((tmp_path / "out" / "index.json").read_bytes())
    (tmp_path / "out" / "index.json").write_bytes(
        canonical_json({**index, "manifests": [FOREIGN, *index["manifests"]]})
    )
    write_layout(tmp_path / "out", store, {"b": other})
    write_layout(tmp_path / "out", store, {"a": other})
    assert names(tmp_path / "out") == ["", "a", "b"]
    for blob in (tmp_path / "out" / "blobs" / "sha256").iterdir():
        assert Digest.of(blob.read_bytes()).hex == blob.name


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "3", '{"manifests": 3}', '{"manifests": [3]}', '{"manifests": [{}]}'),
        *('{"manifests": [{"digest": 3}]}', '{"manifests": [{"digest": "x", "annotations": 3}]}'),
        '{"manifests": [{"digest": "x", "annotations": {"org.opencontainers.image.ref.name": 3}}]}',
    ],
)
def test_a_damaged_layout_is_left_as_it_is(store: Store, tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(StoreError, match="cannot add to the OCI layout") as caught:
        write_layout(tmp_path, store, {"a": make_image(store, noise(10))})
    assert caught.value.why.startswith("index.json: ")
    assert (tmp_path / "index.json").read_text() == text


def test_an_archive_of_a_damaged_blob_ends_in_words(store: Store) -> None:
    image = make_image(store, noise(1000))
    layer = Digest.parse(json.loads(store.read(image))["layers"][0]["digest"])
    with tarfile.open(fileobj=io.BytesIO(b"".join(oci_archive(store, {"a:1": image})))) as archive:
        assert f"blobs/sha256/{layer.hex}" in archive.getnames()
    data = bytearray(store.blob(layer).read_bytes())
    data[-1] ^= 1
    store.blob(layer).write_bytes(data)
    with pytest.raises(IntegrityError, match="is damaged"):
        list(oci_archive(store, {"a:1": image}))
    assert not store.has(layer)
