"""What a record says of real git repositories, and whether commit and difference together give back what was there."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from repro_env.edges import process
from repro_env.record import git as record_git
from repro_env.record.git import DIFF, clean_remote, git_state
from repro_env.record.model import GitState
from repro_env.values import Digest

IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false")


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository on disk, and a directory beside it for what a run would keep."""

    root: Path
    kept: Path

    def git(self, *words: str | Path) -> str:
        command = ["git", "-C", self.root, *IDENTITY, "-c", "protocol.file.allow=always", *words]
        return process.run(command, timeout=30).stdout.strip()

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "-q", "--allow-empty", "-m", "commit")
        return self.git("rev-parse", "HEAD")

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def state(self, code: Sequence[str] = (), below: str = "") -> GitState:
        found = git_state(self.root / below, code, self.kept, process.run)
        assert found is not None
        return found

    def restored(self, state: GitState) -> Repository:
        """Return a clone at the commit with the difference applied."""
        clone = Repository(self.root.parent / "clone", self.kept)
        process.run(["git", "clone", "-q", "--no-local", self.root, clone.root], timeout=30)
        clone.git("checkout", "-q", state.commit)
        if state.diff:
            clone.git("apply", "--binary", self.kept / DIFF)
        return clone


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository", tmp_path / "kept")
    made.root.mkdir()
    made.kept.mkdir()
    made.git("init", "-q", "-b", "main")
    made.write("train.py", "print(1)\n")
    made.write("notes.txt", "a\nb\n")
    made.commit()
    return made


def everything_below(directory: Path) -> dict[str, str]:
    """Return the content of every file below a directory, by its path."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_a_clean_checkout(repository: Repository) -> None:
    assert repository.state(["train.py"]) == GitState(
        commit=repository.git("rev-parse", "HEAD"),
        tree=repository.git("rev-parse", "HEAD^{tree}"),
        branch="main",
        dirty=False,
    )
    assert not (repository.kept / DIFF).exists()


def test_changes_come_back_from_commit_and_difference(repository: Repository) -> None:
    repository.write("gone.py", "x")
    repository.write("mode.sh", "x")
    repository.write("latin.txt", "é\n".encode("latin-1"))
    repository.write("become/a", "x")
    repository.commit()
    repository.write("train.py", "print(2)\n")
    repository.write("latin.txt", "è\n".encode("latin-1"))
    repository.write("model.bin", bytes(range(256)) * 9)
    repository.write("staged.py", "y")
    repository.git("add", "staged.py")
    repository.write("staged.py", "z")
    (repository.root / "gone.py").unlink()
    (repository.root / "mode.sh").chmod(0o755)
    shutil.rmtree(repository.root / "become")
    repository.write("become", "a file now")
    os.symlink("train.py", repository.root / "link.py")
    repository.write("with space é.py", "x")
    repository.write("stray.txt", "no code of the step")
    state = repository.state(["train.py", "model.bin", "become", "link.py", "with space é.py", "notes.txt"])
    assert (state.dirty, state.omitted) == (True, ())
    assert state.diff == Digest.of((repository.kept / DIFF).read_bytes())
    clone = repository.restored(state)
    for name in ("train.py", "latin.txt", "model.bin", "staged.py", "become", "with space é.py", "notes.txt"):
        assert (clone.root / name).read_bytes() == (repository.root / name).read_bytes(), name
    assert not (clone.root / "gone.py").exists()
    assert not (clone.root / "stray.txt").exists()
    assert (clone.root / "link.py").readlink() == Path("train.py")
    assert (clone.root / "mode.sh").stat().st_mode & 0o100


def test_nothing_is_written_to_the_repository(repository: Repository) -> None:
    repository.write("train.py", "print(2)\n")
    repository.write("new.py", "new")
    before = everything_below(repository.root)
    assert repository.state(["train.py", "new.py"]).diff
    assert everything_below(repository.root) == before
    assert os.listdir(repository.kept) == [DIFF]


def test_files_that_are_no_code_make_nothing_dirty(repository: Repository) -> None:
    repository.write("scratch.txt", "x")
    assert not repository.state(["train.py"]).dirty


@pytest.mark.parametrize("name", ["made.py", "made/deep/code.py"])
def test_code_that_git_ignores_is_kept(repository: Repository, name: str) -> None:
    repository.write(".gitignore", "/made*\n")
    repository.commit()
    repository.write(name, "generated")
    state = repository.state(["train.py", name])
    assert state.dirty
    assert (repository.restored(state).root / name).read_text() == "generated"


def test_code_in_an_untracked_directory_is_kept(repository: Repository) -> None:
    repository.write("steps/clean.py", "clean")
    repository.write("steps/other.txt", "other")
    state = repository.state(["steps/clean.py"])
    clone = repository.restored(state)
    assert os.listdir(clone.root / "steps") == ["clean.py"]


def test_a_project_below_the_top(repository: Repository) -> None:
    repository.write("work/demo/clean.py", "1")
    repository.commit()
    repository.write("train.py", "not this project's")
    assert not repository.state(["clean.py"], "work/demo").dirty
    repository.write("work/demo/clean.py", "2")
    repository.write("work/demo/new.py", "3")
    state = repository.state(["clean.py", "new.py"], "work/demo")
    assert state.prefix == "work/demo/"
    clone = repository.restored(state)
    assert (clone.root / "work/demo/clean.py").read_text() == "2"
    assert (clone.root / "work/demo/new.py").read_text() == "3"
    assert (clone.root / "train.py").read_text() == "print(1)\n"


def test_the_whole_repository_where_that_counts(repository: Repository) -> None:
    repository.write("work/clean.py", "1")
    repository.commit()
    repository.write("train.py", "2")
    state = git_state(repository.root / "work", ["clean.py"], repository.kept, process.run, whole=True)
    assert state is not None
    assert (repository.restored(state).root / "train.py").read_text() == "2"


def test_what_is_large_is_left_out_and_said(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_git, "FILE_LIMIT", 100)
    monkeypatch.setattr(record_git, "DIFF_LIMIT", 150)
    repository.write("train.py", "#" * 80)
    repository.write("notes.txt", "#" * 101)
    repository.write("more.py", "#" * 90)
    state = repository.state(["train.py", "more.py"])
    assert state.omitted == (
        "notes.txt: 101 B, and no file larger than 100 B is kept",
        "more.py: 90 B, beyond the 150 B that are kept in all",
    )
    clone = repository.restored(state)
    assert (clone.root / "train.py").read_text() == "#" * 80
    assert (clone.root / "notes.txt").read_text() == "a\nb\n"


def test_a_name_that_is_no_utf8_is_left_out_and_said(repository: Repository) -> None:
    path = os.fsencode(repository.root) + b"/\xff.py"
    with open(path, "wb") as stream:
        stream.write(b"1")
    repository.commit()
    with open(path, "wb") as stream:
        stream.write(b"2")
    state = repository.state(["train.py"])
    assert (state.dirty, state.diff) == (True, None)
    assert state.omitted == ("\N{REPLACEMENT CHARACTER}.py: its name is not UTF-8",)


def test_submodules(repository: Repository, tmp_path: Path) -> None:
    library = replace(repository, root=tmp_path / "library")
    library.root.mkdir()
    library.git("init", "-q", "-b", "main")
    library.write("lib.py", "1")
    first = library.commit()
    repository.git("submodule", "add", "-q", library.root, "lib")
    repository.commit()
    assert not repository.state(["train.py"]).dirty
    inside = replace(repository, root=repository.root / "lib")
    inside.write("lib.py", "2")
    state = repository.state(["train.py"])
    assert (state.dirty, state.diff, state.omitted) == (True, None, ("lib: a submodule with changes of its own",))
    second = inside.commit()
    state = repository.state(["train.py"])
    text = (repository.kept / DIFF).read_text()
    assert (state.omitted, f"-Subproject commit {first}" in text, f"+Subproject commit {second}" in text) == (
        (),
        True,
        True,
    )


def test_what_a_submodule_does_not_track(repository: Repository, tmp_path: Path) -> None:
    library = replace(repository, root=tmp_path / "library")
    library.root.mkdir()
    library.git("init", "-q", "-b", "main")
    library.write("lib.py", "1")
    library.commit()
    repository.git("submodule", "add", "-q", library.root, "lib")
    repository.commit()
    repository.write("lib/build.log", "left behind")
    assert not repository.state(["train.py"]).dirty
    state = repository.state(["train.py", "lib/build.log"])
    assert state.omitted == ("lib: a submodule with changes of its own",)


def test_code_in_a_repository_of_its_own(repository: Repository) -> None:
    inner = replace(repository, root=repository.root / "vendor")
    inner.root.mkdir()
    inner.git("init", "-q")
    inner.write("tool.py", "inner")
    inner.commit()
    state = repository.state(["train.py", "vendor/tool.py"])
    assert (repository.restored(state).root / "vendor/tool.py").read_text() == "inner"


def test_many_files_that_are_no_code_cost_nothing(repository: Repository) -> None:
    for number in range(2000):
        repository.write(f"data/{number}", "")
    asked = []

    def run(words: Sequence[str | Path], **options: Any) -> process.Completed:
        asked.append(process.run(words, **options))
        return asked[-1]

    found = git_state(repository.root, ["train.py"], repository.kept, run)
    assert found is not None
    assert not found.dirty
    assert sum(len(answer.stdout) for answer in asked) < 1000


def test_a_worktree_and_a_commit_without_a_branch(repository: Repository, tmp_path: Path) -> None:
    repository.git("worktree", "add", "-q", "--detach", tmp_path / "tree")
    there = replace(repository, root=tmp_path / "tree")
    there.write("train.py", "print(3)\n")
    before = everything_below(repository.root)
    state = there.state(["train.py"])
    assert (state.branch, state.dirty) == ("", True)
    assert everything_below(repository.root) == before
    assert (repository.restored(state).root / "train.py").read_text() == "print(3)\n"


def test_in_the_midst_of_a_merge(repository: Repository) -> None:
    repository.git("checkout", "-q", "-b", "other")
    repository.write("train.py", "other\n")
    repository.commit()
    repository.git("checkout", "-q", "main")
    repository.write("train.py", "main\n")
    repository.commit()
    process.run(["git", "-C", repository.root, *IDENTITY, "merge", "other"], timeout=30, check=False)
    assert "<<<<<<<" in (repository.root / "train.py").read_text()
    state = repository.state(["train.py"])
    clone = repository.restored(state)
    assert (clone.root / "train.py").read_text() == (repository.root / "train.py").read_text()


def test_where_there_is_nothing_to_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git_state(tmp_path, [], tmp_path, process.run) is None
    process.run(["git", "-C", tmp_path, "init", "-q"], timeout=30)
    assert git_state(tmp_path, [], tmp_path, process.run) is None, "a branch without a commit"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path, [], tmp_path, process.run) is None, "no git"


def test_a_difference_that_cannot_be_made_is_said(repository: Repository) -> None:
    repository.write("train.py", "2")
    shutil.rmtree(repository.root / ".git" / "objects")
    (repository.root / ".git" / "objects").mkdir()
    found = git_state(repository.root, ["train.py"], repository.kept, process.run)
    assert found is None or found.omitted[0].startswith("every change: git failed")


def test_variables_of_git_lead_nowhere_else(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a hook, where git sets these.
    expected = repository.state()
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert repository.state() == expected


# The remote


def test_the_remote_of_the_branch_comes_before_origin(repository: Repository) -> None:
    repository.git("remote", "add", "origin", "https://example.org/origin.git")
    repository.git("remote", "add", "team", "git@example.org:team/it.git")
    assert repository.state().remote == "https://example.org/origin.git"
    repository.git("config", "branch.main.remote", "team")
    assert repository.state().remote == "git@example.org:team/it.git"


def test_no_credential_of_the_remote_is_kept(repository: Repository) -> None:
    repository.git("remote", "add", "origin", "https://alice:s3cret@example.org/origin.git?token=s3cret")
    repository.git("config", "url.https://oauth2:s3cret@example.org/.insteadOf", "https://example.org/")
    assert repository.state().remote == "https://example.org/origin.git"


@pytest.mark.parametrize(
    ("address", "clean"),
    [
        ("https://ghp_token@example.org/a.git", "https://example.org/a.git"),
        ("http://a:b@example.org:8080/a.git#c", "http://example.org:8080/a.git"),
        ("ssh://git:pass@example.org:22/a.git", "ssh://git@example.org:22/a.git"),
        ("git+ssh://git@example.org/a.git", "git+ssh://git@example.org/a.git"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ("/srv/git/a.git", "/srv/git/a.git"),
        ("file:///srv/git/a.git", "file:///srv/git/a.git"),
        ("ext::connect --password s3cret %S", ""),
        ("https://[bad/a.git", ""),
        ("", ""),
    ],
)
def test_addresses_without_credentials(address: str, clean: str) -> None:
    assert clean_remote(address) == clean
