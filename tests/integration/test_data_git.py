"""Data in a git repository at a commit, read from a bare remote."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from pathlib import Path

import pytest
from pulling import Machine

from repro_env.edges.http import NotFoundError
from repro_env.errors import ConfigError, FetchError

ENV = {
    **os.environ,
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


def git(directory: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=directory, env=ENV, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Return a checkout that is pushed to `remote.git` beside it."""
    work = tmp_path / "work"
    (work / "data" / "sub").mkdir(parents=True)
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "remote.git")
    git(work, "init", "--quiet", "--initial-branch=main")
    (work / "README").write_text("about")
    (work / "data" / "a.csv").write_bytes(b"one\r\ntwo\r\n")
    (work / ".gitattributes").write_text("*.csv text eol=lf\n")
    (work / "data" / "sub" / "run").write_bytes(os.urandom(100_000))
    (work / "data" / "sub" / "run").chmod(0o755)
    (work / "data" / "latest").symlink_to("a.csv")
    os.close(os.open(os.fsencode(work) + b"/data/caf\xe9", os.O_CREAT))
    commit(work, "first")
    return work


def commit(work: Path, message: str) -> str:
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--message", message)
    git(work, "push", "--quiet", "--force", str(work.parent / "remote.git"), "HEAD:main")
    return git(work, "rev-parse", "HEAD")


@pytest.fixture
def uri(work: Path) -> str:
    return f"git+file://{work.parent}/remote.git"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(root=tmp_path / "here")


def test_a_branch_is_resolved_once_and_read_by_its_commit(work: Path, uri: str, machine: Machine) -> None:
    first = git(work, "rev-parse", "HEAD")
    locked = machine.lock(uri=f"{uri}@main#subdirectory=data")
    assert (locked.revision, locked.kind, locked.files, locked.pin) == (first, "directory", 4, "sha256")
    (work / "data" / "a.csv").write_text("changed")
    commit(work, "second")
    there = machine.elsewhere()
    there.pull(locked)
    place = there.place(locked)
    blob = subprocess.run(["git", "show", f"{first}:data/a.csv"], cwd=work, capture_output=True, check=True).stdout
    assert (place / "a.csv").read_bytes() == blob
    assert os.readlink(place / "latest") == "a.csv"
    assert stat.S_IMODE((place / "sub" / "run").stat().st_mode) == 0o555
    assert os.fsencode("caf") + b"\xe9" in os.listdir(os.fsencode(place))
    assert there.measure(locked).digest == locked.digest


def test_one_file_a_tag_a_commit_and_the_default_branch(work: Path, uri: str, machine: Machine) -> None:
    first = git(work, "rev-parse", "HEAD")
    git(work, "tag", "--annotate", "v1", "--message", "one")
    git(work, "push", "--quiet", str(work.parent / "remote.git"), "v1")
    (work / "README").write_text("changed")
    second = commit(work, "second")
    one = machine.lock(uri=f"{uri}@v1#README")
    assert (one.kind, one.size, one.revision, one.path) == ("file", 5, first, ".repro/data/raw/README")
    assert machine.lock(uri=f"{uri}#README").revision == second
    assert machine.lock(uri=f"{uri}@{first}#README").digest == one.digest
    assert machine.lock(uri=uri, revision="v1", include=("README",)).files == 1


def test_a_commit_that_no_branch_leads_to_any_more_is_in_the_store(work: Path, uri: str, machine: Machine) -> None:
    locked = machine.lock(uri=f"{uri}#data")
    git(work, "commit", "--quiet", "--amend", "--message", "rewritten")
    git(work, "push", "--quiet", "--force", str(work.parent / "remote.git"), "HEAD:main")
    git(work.parent / "remote.git", "reflog", "expire", "--expire=now", "--all")
    git(work.parent / "remote.git", "gc", "--quiet", "--prune=now")
    machine.pull(locked)
    assert machine.measure(locked).digest == locked.digest
    with pytest.raises(NotFoundError, match="has no commit"):
        machine.elsewhere().pull(locked)


def test_a_hooks_variables_lead_nowhere(work: Path, uri: str, machine: Machine) -> None:
    git(work.parent, "init", "--quiet", "other")
    other = work.parent / "other" / ".git"
    hooked = Machine(root=machine.root, environ={"GIT_DIR": str(other), "GIT_INDEX_FILE": str(other / "index")})
    locked = hooked.lock(uri=f"{uri}#data")
    assert locked.revision == git(work, "rev-parse", "HEAD")
    assert sorted(os.listdir(other / "objects")) == ["info", "pack"], "nothing is fetched into the hook's repository"


def test_what_a_kill_left_of_a_copy_is_completed(uri: str, machine: Machine) -> None:
    locked = machine.lock(uri=uri)
    there = machine.elsewhere()
    (made,) = (one for one in (machine.root / "store" / "data" / "git").iterdir() if one.is_dir())
    half = there.root / "store" / "data" / "git" / made.name
    half.mkdir(parents=True)
    (half / "HEAD").write_text("ref: refs/heads/main\n")
    there.pull(locked)
    assert there.measure(locked).digest == locked.digest


def test_what_git_refuses_is_told_without_a_secret(work: Path, uri: str, machine: Machine) -> None:
    for wrong in (f"{uri}@nowhere", f"{uri}#nowhere", f"{uri}@{'0' * 40}"):
        with pytest.raises(NotFoundError):
            machine.lock(uri=wrong)
    with pytest.raises(FetchError, match="git cannot read") as error:
        machine.lock(uri="git+file:///nowhere/at/all.git")
    assert "does not" in error.value.why
    with pytest.raises(FetchError, match="git cannot read"):
        machine.lock(uri="git+http://127.0.0.1:9/a.git")
    with pytest.raises(ConfigError, match="names no git repository"):
        machine.lock(uri="git+ftp://host/a.git")


def test_submodules_are_left_out_and_told(work: Path, uri: str, tmp_path: Path, recorded: object) -> None:
    git(work, "-c", "protocol.file.allow=always", "submodule", "add", "--quiet", str(tmp_path / "remote.git"), "sub")
    commit(work, "with a submodule")
    machine = Machine(root=tmp_path / "here", report=recorded)  # type: ignore[arg-type]
    locked = machine.lock(uri=uri, exclude=(".git*",))
    assert locked.files == 5
    assert "submodules" in recorded.warnings[0]  # type: ignore[attr-defined]


def test_lfs_pointers_are_pinned_by_what_they_stand_for(work: Path, uri: str, machine: Machine) -> None:
    content = os.urandom(50_000)
    oid = hashlib.sha256(content).hexdigest()
    (work / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
    (work / "big.bin").write_text(pointer)
    git(work, "-c", "filter.lfs.clean=cat", "add", "--all")
    commit(work, "large")
    locked = machine.lock(uri=uri, include=("big.bin",))
    assert locked.size == len(content)
    manifest = (machine.project / ".repro" / "manifests" / locked.digest.hex).read_text()
    assert f"file\t50000\t{oid}\tbig.bin" in manifest
