from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from repro_env.cli import demo_files as module
from repro_env.cli.demo_files import copy_demo, demo_files
from repro_env.config.read import read_project
from repro_env.errors import StoreError


def test_the_demo_is_found_and_copied_whole(tmp_path: Path) -> None:
    copy_demo(tmp_path / "demo")
    wanted = {"repro.toml", "clean.py", "train.py", "report.py", "train.txt", "template.html", "data/penguins-raw.csv"}
    copied = {str(path.relative_to(tmp_path / "demo")) for path in (tmp_path / "demo").rglob("*") if path.is_file()}
    assert copied >= wanted
    for name in copied:
        assert (tmp_path / "demo" / name).read_bytes() == (demo_files() / name).read_bytes()


def test_what_a_run_left_in_the_demo_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_demo(tmp_path / "used")
    for left in ("build/report.html", ".repro/runs/1/record.json", "__pycache__/clean.pyc", "repro.lock"):
        (tmp_path / "used" / left).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "used" / left).touch()
    monkeypatch.setattr(module, "demo_files", lambda: tmp_path / "used")
    copy_demo(tmp_path / "fresh")
    names = {path.name for path in (tmp_path / "fresh").iterdir()}
    assert not names & {"build", ".repro", "__pycache__", "repro.lock"}


def test_what_stands_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "mine").write_text("mine")
    with pytest.raises(StoreError, match="cannot write the demo"):
        copy_demo(tmp_path / "demo")
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["mine"]


def test_a_demo_that_stands_there_is_left_to_go_on(tmp_path: Path) -> None:
    copy_demo(tmp_path / "demo")
    (tmp_path / "demo" / "repro.lock").write_text("made before")
    copy_demo(tmp_path / "demo")
    assert (tmp_path / "demo" / "repro.lock").read_text() == "made before"


def test_the_demo_is_a_project_of_three_steps_in_a_row() -> None:
    project = read_project((demo_files() / "repro.toml").read_text(), file="repro.toml")
    assert list(project.steps) == ["clean", "train", "report"]
    assert project.steps["train"].upstream == ("clean",)
    assert set(project.steps["report"].upstream) == {"clean", "train"}


def test_the_data_is_what_its_source_note_says() -> None:
    data = (demo_files() / "data" / "penguins-raw.csv").read_bytes()
    note = (demo_files() / "data" / "SOURCE.md").read_text()
    assert hashlib.sha256(data).hexdigest() in note
    assert "CC0 1.0" in note
