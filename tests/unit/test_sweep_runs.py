"""What dead runs left is removed; nothing of a living one, of one that is beginning, or of value is."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from repro_env.record.runs import ALIVE, LOG, RECORD
from repro_env.record.sweep import WORKING, cleared, sweep_runs
from repro_env.run.execute import REPLACED

NOW = 1_800_000_000.0


def a_run(project: Path, *names: str, age: float = 60) -> Path:
    directory = project / ".repro/runs/20261123T043354Z-train-3f2a"
    directory.mkdir(parents=True)
    for name in names:
        (directory / name).mkdir() if name in {"code", "output", "home"} else (directory / name).write_text("x")
    for path in (*directory.iterdir(), directory):
        os.utime(path, (NOW - age, NOW - age))
    return directory


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} if directory.exists() else set()


def test_of_a_dead_run_what_is_worth_something_stays(tmp_path: Path) -> None:
    directory = a_run(tmp_path, ALIVE, RECORD, LOG, "repro.lock", "output", "code", "home", "podman.id")
    sweep_runs(tmp_path, NOW)
    assert names(directory) == {RECORD, LOG, "repro.lock", "output"}


def test_a_living_run_is_left_alone(tmp_path: Path) -> None:
    directory = a_run(tmp_path, ALIVE, RECORD, "code")
    with (directory / ALIVE).open("rb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        sweep_runs(tmp_path, NOW)
        assert names(directory) == {ALIVE, RECORD, "code"}
    sweep_runs(tmp_path, NOW)
    assert names(directory) == {RECORD}


@pytest.mark.parametrize(("age", "stays"), [(1, True), (60, True), (7200, False)])
def test_a_run_without_a_record_may_be_beginning(tmp_path: Path, age: float, stays: bool) -> None:
    directory = a_run(tmp_path, "repro.lock", age=age)
    sweep_runs(tmp_path, NOW)
    assert directory.exists() is stays


def test_a_run_may_be_about_to_take_its_lock(tmp_path: Path) -> None:
    directory = a_run(tmp_path, ALIVE, "code", age=1)
    sweep_runs(tmp_path, NOW)
    assert names(directory) == {ALIVE, "code"}


def test_runs_that_ended_and_strangers_are_left_alone(tmp_path: Path) -> None:
    directory = a_run(tmp_path, RECORD, "code", age=7200)
    strangers = [directory.parent / "stray", directory.parent / "saved" / "run"]
    for stranger in strangers:
        stranger.parent.mkdir(exist_ok=True)
        stranger.write_text("x")
    sweep_runs(tmp_path, NOW + 7200)
    assert names(directory) == {RECORD, "code"}
    assert all(stranger.exists() for stranger in strangers)


def test_without_runs_there_is_nothing_to_do(tmp_path: Path) -> None:
    sweep_runs(tmp_path, NOW)
    assert names(tmp_path) == set()


def test_what_a_run_needed_only_while_it_lived_goes_when_it_ends(tmp_path: Path) -> None:
    directory = a_run(tmp_path, RECORD, "code", "output")

    def fail() -> None:
        with cleared(directory):
            (directory / REPLACED).mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(directory) == {RECORD, "output"}


def test_everything_that_is_swept_is_named_once() -> None:
    assert len(set(WORKING)) == len(WORKING)
    assert not {RECORD, LOG, "output", "manifests", "code.diff", "repro.lock"} & set(WORKING)
