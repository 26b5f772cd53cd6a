"""In which files the code of two runs differs, as git tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from repro_env.edges import process
from repro_env.record.code import RecordedCode, code_changes
from repro_env.record.git import DIFF, git_state


class Repository:
    """A repository with a project below its top, and runs of it."""

    def __init__(self, top: Path) -> None:
        self.top, self.project = top, top / "work"
        self.project.mkdir(parents=True)
        self.git("init", "-q")

    def git(self, *words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false"]
        return process.run(["git", "-C", self.top, *who, *words], timeout=30).stdout.strip()

    def write(self, name: str, text: str | bytes) -> None:
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "x")

    def run(self, name: str, code: Sequence[str] = ()) -> RecordedCode:
        directory = self.top.parent / "runs" / name
        directory.mkdir(parents=True)
        state = git_state(self.project, code, directory, process.run)
        assert state is not None
        return RecordedCode(git=state, directory=directory)

    def changes(self, before: RecordedCode, after: RecordedCode) -> list[str] | None:
        found = code_changes(self.project, before, after, process.run)
        return None if found is None else [f"{change.path} {change}" for change in found]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    made.write("a.py", "one\ntwo\n")
    made.write("sub/b.py", "one\n")
    made.commit()
    return made


def test_the_same_commit_has_no_changes(repository: Repository) -> None:
    assert repository.changes(repository.run("1"), repository.run("2")) == []


def test_what_was_committed_between_two_runs(repository: Repository) -> None:
    before = repository.run("1")
    repository.write("a.py", "one\n2\n3\n")
    repository.write("new é\n.py", "")
    (repository.project / "sub/b.py").unlink()
    (repository.top / "elsewhere.py").write_text("not of the project")
    repository.commit()
    assert repository.changes(before, repository.run("2")) == [
        "a.py changed (+2 -1)",
        "new é\n.py new (+0 -0)",
        "sub/b.py removed (+0 -1)",
    ]


def test_what_was_not_committed_counts(repository: Repository) -> None:
    clean = repository.run("1")
    repository.write("a.py", "one\n2\n")
    repository.write("untracked.py", "x\n")
    dirty = repository.run("2", ["untracked.py"])
    assert repository.changes(clean, dirty) == ["a.py changed (+1 -1)", "untracked.py new (+1 -0)"]
    assert repository.changes(dirty, clean) == ["a.py changed (+1 -1)", "untracked.py removed (+0 -1)"]
    repository.commit()
    assert repository.changes(dirty, repository.run("3")) == []


def test_bytes_and_modes(repository: Repository) -> None:
    before = repository.run("1")
    repository.write("model.bin", bytes(range(256)))
    (repository.project / "a.py").chmod(0o755)
    after = repository.run("2", ["model.bin"])
    assert repository.changes(before, after) == ["a.py changed (+0 -0)", "model.bin new"]


def test_nothing_is_left_in_the_repository(repository: Repository) -> None:
    before = repository.run("1")
    repository.write("a.py", "another\n")
    after = repository.run("2")
    objects = repository.git("count-objects")
    status = repository.git("status", "--porcelain")
    assert repository.changes(before, after)
    assert repository.git("count-objects") == objects
    assert repository.git("status", "--porcelain") == status


def test_a_commit_that_is_not_here_is_unknown(repository: Repository, tmp_path: Path) -> None:
    other = Repository(tmp_path / "other")
    other.write("a.py", "theirs")
    other.commit()
    assert repository.changes(repository.run("1"), other.run("2")) is None


def test_what_a_record_calls_a_commit_is_no_option_of_gits(repository: Repository) -> None:
    run = repository.run("1")
    target = repository.top.parent / "written"
    forged = RecordedCode(git=replace(run.git, commit=f"--index-output={target}"), directory=run.directory)
    assert repository.changes(run, forged) is None
    assert repository.changes(RecordedCode(git=replace(run.git, commit="\0"), directory=run.directory), run) is None
    assert not target.exists()


def test_changes_that_are_gone_or_forged_are_unknown(repository: Repository) -> None:
    before = repository.run("1")
    repository.write("a.py", "another\n")
    after = repository.run("2")
    kept = (after.directory / DIFF).read_bytes()
    (after.directory / DIFF).write_bytes(kept.replace(b"another", b"forged!"))
    assert repository.changes(before, after) is None
    (after.directory / DIFF).unlink()
    assert repository.changes(before, after) is None


def test_a_project_that_moved_in_its_repository(repository: Repository) -> None:
    before = repository.run("1")
    repository.git("mv", "work", "elsewhere")
    repository.project = repository.top / "elsewhere"
    repository.write("a.py", "one\n2\n")
    repository.commit()
    assert repository.changes(before, repository.run("2")) == ["a.py changed (+1 -1)"]


def test_what_a_hook_is_given_leads_git_nowhere_else(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = repository.run("1")
    repository.write("a.py", "one\n2\n")
    after = repository.run("2")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "no-index"))
    assert repository.changes(before, after) == ["a.py changed (+1 -1)"]
