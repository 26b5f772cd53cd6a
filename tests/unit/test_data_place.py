"""Data out of the store into its place: whole, read-only, or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
from datatree import make_data, of

from repro_env.data import manifest
from repro_env.data.manifest import Entry
from repro_env.data.place import Placing
from repro_env.edges import files
from repro_env.edges.report import Silent
from repro_env.errors import IntegrityError, StoreError
from repro_env.image.store import Store


def in_store(root: Path, store: Store) -> Mapping[str, Entry]:
    """Return the entries of a directory, whose files are in the store then."""
    entries = manifest.parse(of(root).manifest())
    for entry in entries.values():
        if entry.digest is not None:
            path = os.fsencode(root) + b"/" + manifest.unescape(entry.path.encode())
            with open(path, "rb") as stream:
                store.add(stream.read())
    return entries


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = make_data(tmp_path / "data")
    (root / "line\u2028separator").write_text("four")
    os.close(os.open(os.fsencode(root) + b"/sub/caf\xe9\n", os.O_CREAT | os.O_WRONLY))
    (root / "loop").symlink_to("loop")
    return root


@pytest.fixture
def placing(store: Store) -> Placing:
    return Placing(store=store, report=Silent())


def test_a_directory_comes_back_as_it_was_and_read_only(data: Path, placing: Placing, tmp_path: Path) -> None:
    target = tmp_path / "p" / "raw"
    placing.place(in_store(data, placing.store), "directory", target)
    assert of(target).digest == of(data).digest
    for path in target.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert stat.S_IMODE(path.stat().st_mode) in (0o444, 0o555)
    assert os.listdir(target.parent) == ["raw"], "nothing else is left behind"


def test_what_is_right_already_is_taken_over_and_the_rest_replaced(
    data: Path, placing: Placing, tmp_path: Path
) -> None:
    target = tmp_path / "raw"
    entries = in_store(data, placing.store)
    placing.place(entries, "directory", target)
    kept = (target / "sub" / "run.sh").stat().st_ino
    (target / "a.txt").unlink()
    (target / "a.txt").write_text("changed")
    (target / "more").mkdir()
    placing.place(entries, "directory", target, known=of(target))
    assert of(target).digest == of(data).digest
    assert (target / "sub" / "run.sh").stat().st_ino == kept
    assert not (target / "more").exists()


def test_a_damaged_blob_is_found_and_what_stood_there_stays(data: Path, placing: Placing, tmp_path: Path) -> None:
    target = tmp_path / "raw"
    entries = in_store(data, placing.store)
    digest = entries["a-b"].digest
    assert digest is not None
    placing.store.blob(digest).write_text("TWO")
    target.mkdir()
    (target / "mine").write_text("x")
    with pytest.raises(IntegrityError, match="damaged"):
        placing.place(entries, "directory", target)
    assert os.listdir(target) == ["mine"]
    assert not placing.store.has(digest)
    assert os.listdir(target.parent) == ["data", "raw", "store"] or sorted(os.listdir(target.parent)) == [
        "data",
        "raw",
        "store",
    ]


def test_a_blob_that_is_gone_is_told(data: Path, placing: Placing, tmp_path: Path) -> None:
    entries = in_store(data, placing.store)
    digest = entries["a-b"].digest
    assert digest is not None
    placing.store.blob(digest).unlink()
    with pytest.raises(StoreError, match="cannot put data"):
        placing.place(entries, "directory", tmp_path / "raw")


def test_what_a_kill_left_beside_the_place_is_removed(data: Path, placing: Placing, tmp_path: Path) -> None:
    target = tmp_path / "p" / "raw"
    entries = in_store(data, placing.store)
    target.parent.mkdir()
    (target.parent / ".raw.mine.repro").touch()
    for left in (".raw.0a1b2c3d.repro", ".raw.0a1b2c3d.repro.old"):
        (target.parent / left / "sub").mkdir(parents=True)
        (target.parent / left / "sub" / "a").touch()
    placing.place(entries, "directory", target)
    assert sorted(os.listdir(target.parent)) == [".raw.mine.repro", "raw"]


@pytest.mark.parametrize("able", [True, False])
def test_a_directory_takes_anothers_place(
    placing: Placing, tmp_path: Path, data: Path, able: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not able:
        monkeypatch.setattr(files, "_exchanged", lambda *_paths: False)
    target = tmp_path / "p" / "raw"
    (target / "old").mkdir(parents=True)
    (target / "old" / "file").touch()
    entries = in_store(data, placing.store)
    placing.place(entries, "directory", target)
    assert of(target).digest == of(data).digest
    assert os.listdir(target.parent) == ["raw"]


def test_a_file_that_became_a_directory_and_back(placing: Placing, tmp_path: Path, data: Path) -> None:
    target = tmp_path / "raw"
    one = Entry(path="", kind="file", size=3, digest=placing.store.add(b"one"))
    entries = in_store(data, placing.store)
    placing.place({"": one}, "file", target)
    placing.place(entries, "directory", target, known=of(target))
    assert of(target).digest == of(data).digest
    placing.place({"": one}, "file", target, known=of(target))
    assert target.read_bytes() == b"one"
