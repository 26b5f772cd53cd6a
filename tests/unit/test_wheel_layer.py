"""Layers of wheels: bundles, conflicts, what is shared, and the memory of what was made."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from layers import INFO, PYTHON, SITE, files_of, keep_wheel, layer_of, raw_wheel, read_layer, recorded
from wheelmaker import WheelRecipe, make_wheel, simple_wheel

from repro_env.errors import BuildError, IntegrityError, StoreError
from repro_env.image import tar
from repro_env.image import wheel_layer as module
from repro_env.image.gpu.observer import VERSION as GPU_VERSION
from repro_env.image.layer_memory import layer_document
from repro_env.image.libraries import VERSION
from repro_env.image.store import Store, canonical_json
from repro_env.image.wheel_layer import merge_paths, wheel_layer
from repro_env.values import Digest, PythonVersion


def wheel_with(directory: Path, name: str, files: dict[str, bytes], **more: Any) -> Path:
    return make_wheel(directory, WheelRecipe(name=name, files=files, **more))


def test_a_layer_holds_the_wheels_files(store: Store, tmp_path: Path) -> None:
    files = {"probe/__init__.py": b"x = 1\n", "probe/data.bin": bytes(70_000), "probe/tool": b"#!/bin/sh\n"}
    path = wheel_with(
        tmp_path, "probe", files, executable=frozenset({"probe/tool"}), stored=frozenset({"probe/data.bin"})
    )
    made = layer_of(store, path)
    found = files_of(store, made.layer)
    assert found.keys() == made.paths.keys()
    assert {name: found[f"{SITE}/{name}"].content for name in files} == files
    assert {found[path].mode for path in found if path.endswith("tool")} == {0o755}
    assert {entry.mode for path, entry in found.items() if not path.endswith("tool")} == {0o644}
    directories = {path: entry.mode for path, entry in read_layer(store, made.layer).items() if path not in found}
    assert set(directories) == tar.parents(found)
    assert set(directories.values()) == {0o755}


def test_fingerprints_are_of_the_content_and_the_mode(store: Store, tmp_path: Path) -> None:
    path = wheel_with(tmp_path, "probe", {"a": b"1", "b": b"1"}, executable=frozenset({"b"}))
    made = layer_of(store, path)
    expected = hashlib.sha256(b"1").hexdigest()
    assert made.paths[f"{SITE}/a"] == (expected, path.name)
    assert made.paths[f"{SITE}/b"] == (expected + "x", path.name)


def test_a_bundle_does_not_depend_on_the_order_of_its_wheels(tmp_path: Path) -> None:
    paths = [simple_wheel(tmp_path, name) for name in ("alpha", "beta", "gamma")]
    layers = {
        layer_of(Store(tmp_path / str(number)), *order).layer
        for number, order in enumerate((paths, paths[::-1], [paths[1], paths[0], paths[2]]))
    }
    assert len(layers) == 1
    assert layers.pop().unpacked > 0


def test_files_that_are_equal_are_shared(store: Store, tmp_path: Path) -> None:
    one = wheel_with(tmp_path, "one", {"shared/__init__.py": b"# namespace\n", "shared/one.py": b"1"})
    two = wheel_with(
        tmp_path, "two", {"shared/__init__.py": b"# namespace\n"}, stored=frozenset({"shared/__init__.py"})
    )
    assert files_of(store, layer_of(store, one, two).layer)[f"{SITE}/shared/__init__.py"].content == b"# namespace\n"
    merge_paths([layer_of(store, one), layer_of(store, two)])


@pytest.mark.parametrize("executable", [True, False])
def test_a_conflict_names_both_wheels(store: Store, tmp_path: Path, executable: bool) -> None:
    """Content that differs is a conflict, and so is a mode that does."""
    one = wheel_with(tmp_path, "one", {"tests/__init__.py": b"1"})
    two = wheel_with(
        tmp_path,
        "two",
        {"tests/__init__.py": b"1" if executable else b"2"},
        executable=frozenset({"tests/__init__.py"} if executable else ()),
    )
    for conflict in (
        lambda: layer_of(store, one, two),
        lambda: merge_paths([layer_of(store, one), layer_of(store, two)]),
    ):
        with pytest.raises(BuildError, match="two packages write one file") as caught:
            conflict()
        assert f"/{SITE}/tests/__init__.py" in caught.value.why
        assert one.name in caught.value.why
        assert two.name in caught.value.why
        assert caught.value.hint


@pytest.mark.parametrize("below", ["name/module.py", "name/a/b/c/module.py"])
def test_a_file_where_a_directory_is_needed_names_both_wheels(store: Store, tmp_path: Path, below: str) -> None:
    one = wheel_with(tmp_path, "one", {"name": b"a file"})
    two = wheel_with(tmp_path, "two", {below: b""})
    for conflict in (
        lambda: layer_of(store, one, two),
        lambda: merge_paths([layer_of(store, one), layer_of(store, two)]),
    ):
        with pytest.raises(BuildError, match="a file stands where a directory is needed") as caught:
            conflict()
        assert one.name in caught.value.why
        assert two.name in caught.value.why


def test_a_wheel_that_writes_one_file_twice_is_refused(store: Store, tmp_path: Path) -> None:
    path = raw_wheel(tmp_path, {"a.py": b"1", "probe-1.0.data/purelib/a.py": b"2"})
    with pytest.raises(BuildError, match=r"writes /.*a\.py twice"):
        layer_of(store, path)


def test_a_lie_in_record_is_refused(store: Store, tmp_path: Path) -> None:
    for stored in ("x", "a.py"):
        rows = f"a.py,{recorded(b'other')},5\n{INFO}/RECORD,,\n".encode()
        files = {"a.py": b"print(1)\n", f"{INFO}/RECORD": rows}
        directory = tmp_path / stored
        directory.mkdir()
        with pytest.raises(IntegrityError, match="is not a usable wheel") as caught:
            layer_of(store, raw_wheel(directory, files))
        assert caught.value.why == "a.py is not what RECORD says"
    assert list(store.temporary.iterdir()) == []


def test_a_damaged_wheel_is_named(store: Store, tmp_path: Path) -> None:
    path = wheel_with(tmp_path, "probe", {"a.py": b"print(1)\n" * 100})
    data = bytearray(path.read_bytes())
    data[data.index(b"a.py") + 10] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=path.name):
        layer_of(store, path)
    assert list(store.temporary.iterdir()) == []


def test_a_wheel_that_is_not_in_the_store_is_an_error_of_ours(store: Store, tmp_path: Path) -> None:
    wheel = keep_wheel(store, simple_wheel(tmp_path, "probe"))
    store.blob(wheel.sha256).unlink()
    with pytest.raises(StoreError, match=wheel.file):
        wheel_layer([wheel], PYTHON, store, layout=1, comment="")


def test_no_wheels_make_an_empty_layer(store: Store) -> None:
    assert read_layer(store, wheel_layer([], PYTHON, store, layout=1, comment="").layer) == {}


# What was made once


@pytest.fixture
def no_making(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise AssertionError("it was made anew")

    monkeypatch.setattr(module, "_make", fail)


def test_a_layer_is_made_once(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = simple_wheel(tmp_path, "probe")
    made = layer_of(store, path)
    request.getfixturevalue("no_making")
    assert layer_of(store, path) == made
    assert layer_of(Store(store.root), path) == made


def test_the_comment_is_the_callers_not_the_first_ones(store: Store, tmp_path: Path) -> None:
    """It is part of the image's config: an older comment in the cache must not move an image's digest."""
    wheel = keep_wheel(store, simple_wheel(tmp_path, "probe"))
    first = wheel_layer([wheel], PYTHON, store, layout=1, comment="first")
    second = wheel_layer([wheel], PYTHON, store, layout=1, comment="second")
    assert (first.layer.comment, second.layer.comment) == ("first", "second")
    assert first.layer.digest == second.layer.digest


def test_interpreter_and_layout_have_layers_of_their_own(store: Store, tmp_path: Path) -> None:
    wheel = keep_wheel(store, simple_wheel(tmp_path, "probe"))
    made = [wheel_layer([wheel], PythonVersion(minor), store, layout=1, comment="") for minor in (11, 12)]
    assert made[0].layer.digest != made[1].layer.digest
    wheel_layer([wheel], PYTHON, store, layout=2, comment="")
    assert len(list((store.root / "derived/wheel-layers").iterdir())) == 3


def test_a_vanished_blob_is_made_again(store: Store, tmp_path: Path) -> None:
    path = simple_wheel(tmp_path, "probe")
    made = layer_of(store, path)
    store.blob(made.layer.digest).unlink()
    assert layer_of(store, path) == made
    assert files_of(store, made.layer).keys() == made.paths.keys()


def test_a_blob_cut_short_is_made_again(store: Store, tmp_path: Path) -> None:
    path = simple_wheel(tmp_path, "probe")
    made = layer_of(store, path)
    blob = store.blob(made.layer.digest)
    blob.write_bytes(blob.read_bytes()[:100])
    assert layer_of(store, path) == made
    assert files_of(store, made.layer).keys() == made.paths.keys()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'"text"',
        b"\xff",
        b'{"digest":"sha256:1"}',
        b'{"digest":1,"diff_id":2,"size":3,"unpacked":4,"comment":"","paths":{}}',
    ],
)
def test_a_damaged_memory_is_made_again(store: Store, tmp_path: Path, text: bytes) -> None:
    path = simple_wheel(tmp_path, "probe")
    made = layer_of(store, path)
    (document,) = (store.root / "derived/wheel-layers").iterdir()
    good = document.read_bytes()
    document.write_bytes(text)
    assert layer_of(store, path) == made
    assert document.read_bytes() == good


def test_a_memory_with_odd_paths_is_made_again(store: Store, tmp_path: Path) -> None:
    path = simple_wheel(tmp_path, "probe")
    made = layer_of(store, path)
    (document,) = (store.root / "derived/wheel-layers").iterdir()
    document.write_bytes(document.read_bytes().replace(b'"paths":{', b'"paths":{"a":[],'))
    assert layer_of(store, path) == made


def test_merging_nothing_and_one_is_fine(store: Store, tmp_path: Path) -> None:
    merge_paths([])
    merge_paths([layer_of(store, simple_wheel(tmp_path, "probe"))])


def test_what_an_older_program_remembered_is_not_taken(store: Store, tmp_path: Path) -> None:
    """Wheels' own byte code was in their layers once: a store in use since then must not give that layer."""
    path = simple_wheel(tmp_path, "probe")
    other = layer_of(Store(tmp_path / "other"), simple_wheel(tmp_path, "other"))
    blob = Store(tmp_path / "other").blob(other.layer.digest)
    store.add(blob.read_bytes())
    wheel = keep_wheel(store, path)
    key = Digest.of(canonical_json([[wheel.sha256.hex], str(PYTHON), 1, VERSION, GPU_VERSION])).hex
    store.remember("wheel-layers", key, {**layer_document(other.layer), "paths": {}, "gpu_code": {}})
    assert f"{SITE}/probe/__init__.py" in layer_of(store, path).paths
