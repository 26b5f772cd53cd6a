"""What a person reads: exit status, standard output and standard error of whole commands, held against files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from projects import OnDisk, two_steps

Golden = Callable[[str, str], None]


@pytest.fixture
def project(tmp_path: Path) -> OnDisk:
    return two_steps(tmp_path)


@pytest.mark.parametrize(
    "command", ["", "lock", "build", "verify", "exec", "runs", "show", "reproduce", "diff", "status", "facts", "demo"]
)
def test_help(command: str, tmp_path: Path, golden: Golden) -> None:
    words = [command, "--help"] if command else ["--help"]
    golden(f"help-{command or 'repro'}.txt", str(OnDisk(tmp_path).repro(*words)))


@pytest.mark.parametrize("words", [(), ("data",)])
def test_without_a_command_there_is_its_help(words: tuple[str, ...], tmp_path: Path) -> None:
    answer = OnDisk(tmp_path).repro(*words)
    assert (answer.status, answer.stdout) == (2, "")
    assert answer.stderr == OnDisk(tmp_path).repro(*words, "--help").stdout


def test_no_project(tmp_path: Path, golden: Golden) -> None:
    (tmp_path / "empty").mkdir()
    golden("no-project.txt", str(OnDisk(tmp_path / "empty").repro("lock", "--check")))


def test_unknown_command(tmp_path: Path, golden: Golden) -> None:
    golden("unknown-command.txt", str(OnDisk(tmp_path).repro("lok")))


def test_every_problem_of_a_project_at_once(project: OnDisk, golden: Golden) -> None:
    text = (project.root / "repro.toml").read_text()
    text = text.replace("base = ", "bse = ", 1).replace('"{output.table}"', '"{output.tabel}"').replace('"raw"', "1")
    project.write("repro.toml", text)
    golden("many-problems.txt", str(project.repro("lock")))


def test_no_lock(project: OnDisk, golden: Golden) -> None:
    (project.root / "repro.lock").unlink()
    golden("no-lock.txt", str(project.repro("lock", "--check")))


def test_fresh_lock(project: OnDisk, golden: Golden) -> None:
    golden("fresh-lock.txt", str(project.repro("lock", "--check")))


def test_check_as_json_is_the_same_answer(project: OnDisk) -> None:
    answer = project.repro("lock", "--check", "--json")
    assert json.loads(answer.stdout) == {"fresh": True, "steps": ["clean", "count"], "packages": 0}


def test_stale_lock(project: OnDisk, golden: Golden) -> None:
    text = (project.root / "repro.toml").read_text()
    project.write("repro.toml", text.replace('env = { GREETING = "hello" }', 'dependencies = ["six"]'))
    golden("stale-lock.txt", str(project.repro("lock", "--check")))
    answer = project.repro("exec", "count")
    assert answer.status == 120  # in `exec`, statuses below belong to the step
    assert "is out of date" in answer.stderr


def test_a_comment_does_not_make_a_lock_stale(project: OnDisk) -> None:
    text = (project.root / "repro.toml").read_text()
    project.write("repro.toml", "# a word on this project\n" + text)
    assert project.repro("lock", "--check").status == 0


def test_conflict_markers(project: OnDisk, golden: Golden) -> None:
    text = (project.root / "repro.lock").read_text()
    project.write("repro.lock", text.replace("version = 1\n", "<<<<<<< ours\nversion = 1\n=======\n>>>>>>> theirs\n"))
    golden("conflict-markers.txt", str(project.repro("lock", "--check")))


def test_newer_lock(project: OnDisk, golden: Golden) -> None:
    text = (project.root / "repro.lock").read_text()
    project.write("repro.lock", text.replace("version = 1\n", "version = 7\n", 1))
    golden("newer-lock.txt", str(project.repro("status")))


def test_unknown_step(project: OnDisk, golden: Golden) -> None:
    golden("unknown-step.txt", str(project.repro("build", "cleen")))
    assert project.repro("exec", "cleen").status == 120


def test_an_option_that_is_the_steps_own(project: OnDisk, golden: Golden) -> None:
    golden("exec-unknown-option.txt", str(project.repro("exec", "clean", "--epochs", "3")))


def test_unknown_runtime(project: OnDisk, golden: Golden) -> None:
    golden("unknown-runtime.txt", str(project.repro("exec", "--runtime", "vm", "clean")))


def test_demo_into_a_directory_that_is_taken(project: OnDisk, golden: Golden) -> None:
    golden("demo-taken.txt", str(OnDisk(project.root.parent).repro("demo", "churn")))


def test_status_of_a_fresh_project(project: OnDisk, golden: Golden) -> None:
    golden("status-fresh.txt", str(project.repro("status")))


def test_status_of_steps_that_are_for_other_machines(project: OnDisk) -> None:
    other = "arm64" if os.uname().machine == "x86_64" else "amd64"
    text = (project.root / "repro.toml").read_text()
    project.write("repro.toml", text.replace("[project]", f'[project]\nplatforms = ["linux/{other}"]'))
    project.lock()
    answer = project.repro("status")
    assert answer.status == 0, answer
    assert answer.stdout.count("never run") == 2


def test_the_table_of_another_tool_makes_no_project(project: OnDisk) -> None:
    project.write("below/pyproject.toml", "[tool.reprolint]\nstrict = true\n")
    assert OnDisk(project.root / "below").repro("lock", "--check").status == 0


def test_status_without_a_lock(project: OnDisk, golden: Golden) -> None:
    (project.root / "repro.lock").unlink()
    golden("status-no-lock.txt", str(project.repro("status")))


def test_store_that_cannot_be_written(project: OnDisk, golden: Golden) -> None:
    project.write("store", "a file, where a directory is needed")
    taken = OnDisk(project.root, {"REPRO_STORE": str(project.root / "store")})
    golden("store-taken.txt", str(taken.repro("build")))


def test_an_upgrade_of_what_no_step_has(project: OnDisk) -> None:
    answer = project.repro("lock", "-P", "numpi")
    assert answer.status == 0
    assert answer.stdout == "repro.lock is up to date\n"
    assert answer.stderr == "warning: no step has a package numpi to upgrade\n"


def test_a_lock_that_was_laid_out_by_hand(project: OnDisk) -> None:
    text = (project.root / "repro.lock").read_text()
    project.write("repro.lock", text.replace("\n\n", "\n\n\n"))
    assert project.repro("lock").stdout == "wrote repro.lock: what it pins is as before\n"
    assert (project.root / "repro.lock").read_text() == text
