"""Tars whose headers lie, at every door that a foreign layer comes in by. None may hang, fill the memory or crash."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from repro_env.errors import IntegrityError
from repro_env.image.base import PLAIN
from repro_env.image.base_facts import read_facts
from repro_env.image.compare_layers import Blob, compare_layers
from repro_env.image.decompress import whole_tar
from repro_env.image.layer import Layer
from repro_env.image.library_scan import libraries_of_layer
from repro_env.image.sdist import unpack_sdist
from repro_env.image.store import Store
from repro_env.image.unpack import unpack_layer
from repro_env.values import Digest


def tar(*, kind: bytes = tarfile.REGTYPE, **headers: str) -> bytes:
    """Return a tar of one entry, `a-1/usr/lib/x`, with these extended headers; `_` stands for a dot in their names."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a-1/usr/lib/x")
        info.type, info.linkname, info.size = kind, "y" if kind == tarfile.SYMTYPE else "", 700 if kind == b"0" else 0
        info.pax_headers = {name.replace("_", "."): value for name, value in headers.items()}
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    return made.getvalue()


TARS: Mapping[str, bytes] = {
    "a size beyond the end": tar(size="9" * 18),
    "a size beyond all": tar(size="9" * 40),
    "a sparse size that is no number": tar(GNU_sparse_size="x"),
    "a sparse map that is no map": tar(GNU_sparse_map="1,x", GNU_sparse_size="1"),
    "a sparse file without a map": tar(GNU_sparse_major="1", GNU_sparse_minor="0", GNU_sparse_name="a-1/x"),
    "a link to no name": tar(kind=tarfile.SYMTYPE, linkpath="a\0b"),
    "a huge header": tar(comment="x" * (2 << 20)),
}
READ_ALL_THE_SAME = {"a link to no name"}  # by whoever only notes names


def layer_of(store: Store, data: bytes) -> Layer:
    digest = store.add(data)
    return Layer(digest=digest, diff_id=digest, size=len(data), unpacked=len(data), media_type=PLAIN)


def blob_of(store: Store, data: bytes) -> Blob:
    layer = layer_of(store, data)
    return Blob(
        path=store.blob(layer.digest), digest=layer.digest, diff_id=layer.diff_id, size=1, media_type=PLAIN, number=1
    )


def unpacked(store: Store, data: bytes) -> None:
    unpack_layer(store, layer_of(store, data))


def scanned(store: Store, data: bytes) -> None:
    libraries_of_layer(store, layer_of(store, data))


def locked(store: Store, data: bytes) -> None:
    assert store
    with whole_tar(io.BytesIO(data), PLAIN, Digest.of(data), "layer x") as stream:
        read_facts(stream)


def compared(store: Store, data: bytes) -> None:
    compare_layers(blob_of(store, data), blob_of(store, tar()))


@pytest.mark.parametrize("door", [unpacked, scanned, locked, compared])
@pytest.mark.parametrize("name", TARS)
def test_a_lie_is_said_to_be_damage(store: Store, door: Callable[[Store, bytes], None], name: str) -> None:
    if name in READ_ALL_THE_SAME and door is not unpacked:
        door(store, TARS[name])
        return
    with pytest.raises(IntegrityError):
        door(store, TARS[name])
    assert list(store.temporary.iterdir()) == []


@pytest.mark.parametrize("name", TARS)
def test_of_sources_too(tmp_path: Path, name: str) -> None:
    (tmp_path / "sdist").write_bytes(gzip.compress(TARS[name]))
    with pytest.raises(IntegrityError):
        unpack_sdist(tmp_path / "sdist", "a-1.tar.gz", tmp_path / "out")


@pytest.mark.parametrize("door", [unpacked, scanned, locked, compared])
def test_an_honest_one_passes(store: Store, door: Callable[[Store, bytes], None]) -> None:
    door(store, tar(comment="x" * (1 << 19)))
