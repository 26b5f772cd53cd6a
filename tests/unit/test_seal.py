"""A tree of the store is looked at once after each start of the machine, and made anew when it was damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny

from repro_env.image import seal
from repro_env.image.layer import Layer
from repro_env.image.store import Store
from repro_env.image.unpack import root_filesystem, unpack_layer


@pytest.fixture
def layer(store: Store) -> Layer:
    return tiny.make_layer(store, [tiny.directory("d"), tiny.text("d/a", "content"), tiny.link("d/b", "a")])


def restart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the machine have been started again."""
    (tmp_path / "boot_id").write_text("another\n")
    monkeypatch.setattr(seal, "_BOOT", tmp_path / "boot_id")


DAMAGES: list[Callable[[Path], object]] = [
    lambda tree: (tree / "d/a").write_text("cut"),
    lambda tree: (tree / "d/a").unlink(),
    lambda tree: (tree / "d/b").unlink(),
    lambda tree: (tree / "d/more").write_text(""),
    lambda tree: (tree / "more").mkdir(),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_a_power_failure_left_is_made_anew(
    store: Store, layer: Layer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object]
) -> None:
    root = root_filesystem(store, [layer])
    damage(root)
    assert root_filesystem(store, [layer]) == root, "looked at once a start: it costs nothing later"
    restart(monkeypatch, tmp_path)
    again = root_filesystem(store, [layer])
    assert (again / "d/a").read_text() == "content"
    assert sorted(path.name for path in (again / "d").iterdir()) == ["a", "b"]
    assert (unpack_layer(store, layer) / "d/a").read_text() == "content"


def test_a_sound_tree_stays(store: Store, layer: Layer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = root_filesystem(store, [layer])
    before = (root / "d/a").stat().st_ino
    restart(monkeypatch, tmp_path)
    assert seal.is_intact(store, root)
    monkeypatch.setattr(seal, "_shape", None)  # not looked at again
    assert (root_filesystem(store, [layer]) / "d/a").stat().st_ino == before


def test_a_tree_without_a_seal_is_made_anew(store: Store, layer: Layer) -> None:
    tree = unpack_layer(store, layer)
    (store.root / "derived" / "seals" / f"trees-{tree.name}.json").unlink()
    (tree / "d/a").unlink()
    assert (unpack_layer(store, layer) / "d/a").read_text() == "content"


def test_compiled_modules_are_no_damage(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = store.root / "venvs" / "key"
    (place / "lib").mkdir(parents=True)
    seal.seal(store, place, place)
    (place / "lib" / "__pycache__").mkdir()
    (place / "lib" / "__pycache__" / "m.pyc").write_text("compiled")
    restart(monkeypatch, tmp_path)
    assert seal.is_intact(store, place)


def test_where_no_start_can_be_told_it_is_looked_at_each_time(
    store: Store, layer: Layer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal, "_BOOT", tmp_path / "absent")
    tree = unpack_layer(store, layer)
    (tree / "d/a").write_text("")
    assert (unpack_layer(store, layer) / "d/a").read_text() == "content"
