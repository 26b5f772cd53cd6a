"""Two images held against each other: the first difference is named, in whichever part it is."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from repro_env.errors import IntegrityError, StoreError
from repro_env.image import tar
from repro_env.image.compare import Comparison, compare_images
from repro_env.image.layer import Layer, LayerWriter
from repro_env.image.oci import CONFIG_TYPE, Image, descriptor, write_image
from repro_env.image.store import Store, canonical_json
from repro_env.values import Digest, Platform

Entries = Sequence[tuple[tar.Entry, bytes]]


def file(path: str, content: bytes = b"hello", *, mode: int = 0o644, owner: int = 0) -> tuple[tar.Entry, bytes]:
    return tar.Entry(path=path, mode=mode, size=len(content), owner=owner), content


def link(path: str, target: str) -> tuple[tar.Entry, bytes]:
    return tar.Entry(path=path, kind="symlink", mode=0o777, link=target), b""


BASE: Entries = [file("etc/release"), link("bin/sh", "dash")]
NUMPY: Entries = [file("a.py"), file("b.py"), file("c.py")]


def layer(store: Store, entries: Entries, comment: str) -> Layer:
    with store.writing() as (stream, keep):
        writer = LayerWriter(stream)
        for entry, content in entries:
            writer.add(entry, content)
        made = writer.finish(comment)
        keep(made.digest)
    return made


def image(store: Store, *layers: tuple[str, Entries], **fields: Any) -> Digest:
    made = tuple(layer(store, entries, comment) for comment, entries in layers)
    environment: Mapping[str, str] = {"PATH": "/opt/env/bin", "A": "1"}
    return write_image(Image(platform=Platform("amd64"), layers=made, **{"env": environment, **fields}), store)


def compared(tmp_path: Path, numpy: Entries, **fields: Any) -> list[str]:
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    here = image(one, ("Debian 12", BASE), ("numpy 1.26.4", NUMPY))
    there = image(two, ("Debian 12", BASE), ("numpy 1.26.4", numpy), **fields)
    return str(compare_images(one, here, two, there)).splitlines()


def test_the_same_bytes(tmp_path: Path) -> None:
    assert compared(tmp_path, NUMPY) == []
    assert Comparison(()).same


@pytest.mark.parametrize(
    ("numpy", "said"),
    [
        ([file("a.py"), file("b.py", mode=0o755), file("c.py")], "b.py: mode 0644 here, 0755 there"),
        ([file("a.py"), file("b.py", owner=7), file("c.py")], "b.py: owner 0:0 here, 7:0 there"),
        ([file("a.py"), file("c.py")], "b.py: a file here, nothing there"),
        ([*NUMPY, link("d.py", "a.py")], "d.py: nothing here, a symlink there"),
        ([file("a.py"), link("b.py", "a.py"), file("c.py")], "b.py: kind file here, symlink there"),
        (
            [file("a.py"), file("b.py", b"hello, world"), file("c.py")],
            "b.py: size, from byte 5 on, 5 bytes here, 12 bytes there",
        ),
        ([file("b.py"), file("a.py"), file("c.py")], "order: next is a.py here, b.py there"),
        ([file("x.py"), file("y.py")], "a.py: a file here, nothing there (and 4 more)"),
    ],
)
def test_what_a_layer_has_differently(tmp_path: Path, numpy: Entries, said: str) -> None:
    assert compared(tmp_path, numpy) == [f"layer 2 (numpy 1.26.4): {said}"]


def test_from_which_byte_on_a_content_differs(tmp_path: Path) -> None:
    # Further in than one piece of a stream, and of one size.
    content = bytes(3 << 20)
    other = content[:-9] + b"x" + content[-8:]
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    found = compare_images(
        one, image(one, ("data", [file("d", content)])), two, image(two, ("data", [file("d", other)]))
    )
    assert str(found).startswith(f"layer 1 (data): d: content, from byte {len(content) - 9} on, sha256:")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"env": {"PATH": "/usr/bin", "A": "1"}}, "config: config.Env.PATH /opt/env/bin here, /usr/bin there"),
        ({"env": {"PATH": "/opt/env/bin"}}, "config: config.Env.A 1 here, none there"),
        ({"command": ("python", "x.py")}, "config: config.Cmd.0 none here, python there (and 1 more)"),
        ({"workdir": "/w", "user": "u"}, "config: config.User none here, u there (and 1 more)"),
    ],
)
def test_what_a_config_has_differently(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    assert compared(tmp_path, NUMPY, **fields) == [said]


def test_every_layer_that_differs_is_named_and_then_the_config(store: Store) -> None:
    here = image(store, ("base", BASE), ("one", [file("1")]), ("two", [file("2")]))
    there = image(store, ("base", BASE), ("one", [file("1", b"x")]), ("two", [file("3")]), user="u")
    assert [one.place for one in compare_images(store, here, store, there).differences] == [
        "layer 2 (one)",
        "layer 3 (two)",
        "config",
    ]


def test_a_layer_more_or_elsewhere(store: Store) -> None:
    one, two = ("one", [file("1")]), ("two", [file("2")])
    said = str(compare_images(store, image(store, one), store, image(store, two, one)))
    assert said.splitlines() == [
        "image: number of layers 1 here, 2 there",
        "layer 1 (one): place layer 1 here, layer 2 there",
        "layer 1 (two): none here, a layer there",
    ]


def test_a_layer_that_is_in_no_store(store: Store) -> None:
    here, there = image(store, ("one", [file("1")])), image(store, ("one", [file("2")]))
    missing = layer(store, [file("2")], "one")
    store.blob(missing.digest).unlink()
    assert f"layer 1 (one): digest sha256:" in str(compare_images(store, here, store, there))  # noqa: F541


def test_a_damaged_layer_is_an_error_and_so_is_no_image(store: Store) -> None:
    here, there = image(store, ("one", [file("1")])), image(store, ("one", [file("2")]))
    blob = store.blob(layer(store, [file("2")], "one").digest)
    blob.write_bytes(blob.read_bytes()[:-30])
    with pytest.raises(IntegrityError, match=r"layer 1 \(one\) is damaged"):
        compare_images(store, here, store, there)
    with pytest.raises(StoreError):
        compare_images(store, here, store, Digest.of(b"absent"))
    with pytest.raises(IntegrityError, match="is not an image"):
        compare_images(store, here, store, store.add(b"{}"))


def foreign(store: Store, blob: bytes, data: bytes, *, media_type: str, indent: int | None = None) -> Digest:
    """Keep an image as another program writes them: its own media types, an empty step of history, its own JSON."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(data))]},
        "history": [{"created_by": "ENV PATH", "empty_layer": True}, {"created_by": "ADD rootfs"}],
    }
    text = json.dumps(config, indent=indent).encode()
    store.add(text)
    layers = [{**descriptor(media_type, blob), "digest": str(store.add(blob))}]
    return store.add(canonical_json({"config": descriptor(CONFIG_TYPE, text), "layers": layers, "schemaVersion": 2}))


def plain_tar(**changes: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("./etc/passwd")
        info.size, info.mtime = 4, 1_700_000_000
        for name, value in changes.items():
            setattr(info, name, value)
        archive.addfile(info, io.BytesIO(b"root"))
    return buffer.getvalue()


DOCKER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
PLAIN = "application/vnd.oci.image.layer.v1.tar"


def test_images_of_other_programs(store: Store) -> None:
    data = plain_tar()
    compressed = foreign(store, gzip.compress(data, 9, mtime=0), data, media_type=DOCKER)

    def against(other: bytes, blob: bytes, media_type: str) -> str:
        return str(compare_images(store, compressed, store, foreign(store, blob, other, media_type=media_type)))

    name = "layer 1 (ADD rootfs)"
    differently = "the same files, compressed differently: blob from byte"
    assert against(data, gzip.compress(data, 1, mtime=0), DOCKER).startswith(f"{name}: {differently}")
    assert against(data, data, PLAIN).startswith(f"{name}: {differently} 0 on")
    touched = plain_tar(mtime=1_700_000_000.5)
    assert against(touched, touched, PLAIN) == f"{name}: etc/passwd: time 1700000000 here, 1700000000.5 there"
    labelled = plain_tar(pax_headers={"SCHILY.xattr.user.a": "1"})
    assert "etc/passwd: attribute SCHILY.xattr.user.a none here, 1 there" in against(labelled, labelled, PLAIN)
    longer = data + bytes(10240)
    assert "the same files, written differently: tar from byte" in against(longer, longer, PLAIN)
    again = foreign(store, gzip.compress(data, 9, mtime=0), data, media_type=DOCKER, indent=1)
    assert str(compare_images(store, compressed, store, again)).startswith("config: text from byte 1 ")


def test_a_comment_alone_is_a_difference(store: Store) -> None:
    made = layer(store, NUMPY, "numpy 1.26.4")
    images = [
        write_image(Image(platform=Platform("amd64"), layers=(replace(made, comment=comment),)), store)
        for comment in ("numpy 1.26.4", "numpy 1.26.5")
    ]
    said = str(compare_images(store, images[0], store, images[1]))
    assert said == "config: history.0.created_by repro: numpy 1.26.4 here, repro: numpy 1.26.5 there"
