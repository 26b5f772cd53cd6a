from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from repro_env.edges import process
from repro_env.record.model import GitState
from repro_env.record.restore import RestoreError, has_commit, repository_of, restore_code
from repro_env.values import Digest


def git(repository: Path, *words: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "protocol.file.allow=always")
    command = ["git", "-C", str(repository), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "origin"
    (root / "sub").mkdir(parents=True)
    git(root, "init", "-q", "-b", "main")
    (root / "sub/code.py").write_text("one\n")
    (root / "gone.py").write_text("gone\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "one")
    return root


def restored(repository: Path | str, state: GitState, into: Path, diff: Path = Path("none")) -> Path:
    return restore_code(state, str(repository), into, diff, run=process.run, environ=os.environ)


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_commit_is_restored_and_the_repository_left_alone(repository: Path, tmp_path: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "sub/code.py").write_text("two\n")
    git(repository, "commit", "-q", "-am", "two")
    (repository / "sub/code.py").write_text("uncommitted\n")
    before = snapshot(repository)
    project = restored(repository, GitState(commit=commit, dirty=False, prefix="sub/"), tmp_path / "clone")
    assert project == tmp_path / "clone/sub"
    assert (project / "code.py").read_text() == "one\n"
    assert snapshot(repository) == before


def test_what_was_not_committed_is_applied(repository: Path, tmp_path: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "sub/code.py").write_text("changed\n")
    (repository / "blob").write_bytes(bytes(range(256)))
    (repository / "gone.py").unlink()
    git(repository, "add", "-N", "blob")
    diff = tmp_path / "code.diff"
    diff.write_text(git(repository, "diff", "--binary", "HEAD") + "\n")
    state = GitState(commit=commit, dirty=True, diff=Digest.of(diff.read_bytes()))
    project = restored(repository, state, tmp_path / "clone", diff)
    assert (project / "sub/code.py").read_text() == "changed\n"
    assert (project / "blob").read_bytes() == bytes(range(256))
    assert not (project / "gone.py").exists()
    assert git(project, "ls-files") == "blob\nsub/code.py", "what was added is known to git, as it was then"
    broken = diff.with_name("broken.diff")
    broken.write_text(diff.read_text().replace("-one", "-1"))
    other = GitState(commit=commit, dirty=True, diff=Digest.of(broken.read_bytes()))
    with pytest.raises(RestoreError, match="cannot be applied"):
        restored(repository, other, tmp_path / "broken", broken)
    diff.write_text("other")
    with pytest.raises(RestoreError, match="not what was recorded"):
        restored(repository, state, tmp_path / "again", diff)
    diff.unlink()
    with pytest.raises(RestoreError, match="uncommitted changes are gone"):
        restored(repository, state, tmp_path / "once more", diff)


def test_a_commit_that_no_branch_reaches(repository: Path, tmp_path: Path) -> None:
    git(repository, "commit", "-q", "--allow-empty", "-m", "left behind")
    commit = git(repository, "rev-parse", "HEAD")
    git(repository, "reset", "-q", "--hard", "HEAD^")
    assert restored(repository, GitState(commit=commit, dirty=False), tmp_path / "clone").is_dir()
    git(repository, "reflog", "expire", "--expire=now", "--all")
    git(repository, "gc", "-q", "--prune=now")
    with pytest.raises(RestoreError) as caught:
        restored(repository, GitState(commit=commit, dirty=False), tmp_path / "again")
    assert caught.value.what == "the run's commit is gone"
    assert commit in caught.value.why
    assert "--here" in caught.value.hint


def test_an_address_is_cloned(repository: Path, tmp_path: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    project = restored(repository.as_uri(), GitState(commit=commit, dirty=False), tmp_path / "clone")
    assert (project / "gone.py").exists()
    secret = "https://user:token@127.0.0.1:9/absent"
    with pytest.raises(RestoreError) as caught:
        restored(secret, GitState(commit=commit, dirty=False), tmp_path / "other")
    assert "cannot be cloned" in caught.value.what
    assert "token" not in str(caught.value)


def test_a_partial_clone_has_what_it_left_with_its_server(repository: Path, tmp_path: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "sub/code.py").write_text("two\n")
    git(repository, "commit", "-q", "-am", "two")
    git(repository, "config", "uploadpack.allowFilter", "true")
    git(repository, "config", "uploadpack.allowAnySHA1InWant", "true")
    partial = tmp_path / "partial"
    git(tmp_path, "clone", "-q", "--filter=blob:none", repository.as_uri(), str(partial))
    before = snapshot(partial)
    project = restored(partial, GitState(commit=commit, dirty=False), tmp_path / "clone")
    assert (project / "sub/code.py").read_text() == "one\n"
    assert snapshot(partial) == before
    repository.rename(tmp_path / "down")
    with pytest.raises(RestoreError, match=f"commit {commit[:12]} cannot be checked out") as caught:
        restored(partial, GitState(commit=commit, dirty=False), tmp_path / "again")
    assert "could not fetch" in caught.value.why or "unable to read" in caught.value.why


def test_a_commit_with_a_file_that_cannot_be_read(repository: Path, tmp_path: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    blob = git(repository, "rev-parse", "HEAD:sub/code.py")
    (repository / ".git/objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(RestoreError, match=f"commit {commit[:12]} cannot be checked out") as caught:
        restored(repository, GitState(commit=commit, dirty=False), tmp_path / "clone")
    assert "unable to read" in caught.value.why
    assert "name another repository" in caught.value.hint


def test_submodules_come_from_the_copies_that_are_here(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    git(inner, "init", "-q", "-b", "main")
    (inner / "lib.py").write_text("library\n")
    git(inner, "add", ".")
    git(inner, "commit", "-q", "-m", "lib")
    git(repository, "submodule", "--quiet", "add", str(inner), "lib")
    git(repository, "commit", "-q", "-m", "lib")
    inner.rename(tmp_path / "elsewhere")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    commit = subprocess.run(
        ["git", f"--git-dir={repository}/.git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    project = restored(repository, GitState(commit=commit, dirty=False), tmp_path / "clone")
    assert (project / "lib/lib.py").read_text() == "library\n"


@pytest.mark.parametrize(
    ("commit", "prefix"), [("--upload-pack=x", ""), ("HEAD", ""), ("0" * 40, "../"), ("0" * 40, "/etc")]
)
def test_a_record_that_is_out_for_something_else(repository: Path, tmp_path: Path, commit: str, prefix: str) -> None:
    with pytest.raises(RestoreError, match="names no commit"):
        restored(repository, GitState(commit=commit, dirty=False, prefix=prefix), tmp_path / "clone")
    assert not (tmp_path / "clone").exists()


def test_which_repository_a_project_is_in(repository: Path, tmp_path: Path) -> None:
    assert repository_of(repository / "sub", run=process.run, environ=os.environ) == str(repository)
    assert repository_of(tmp_path, run=process.run, environ=os.environ) == ""
    commit = git(repository, "rev-parse", "HEAD")
    assert has_commit(str(repository), commit, run=process.run, environ=os.environ)
    assert not has_commit(str(repository), "0" * 40, run=process.run, environ=os.environ)
    assert not has_commit(str(tmp_path / "absent"), commit, run=process.run, environ=os.environ)
