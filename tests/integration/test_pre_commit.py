"""The hook of `.pre-commit-hooks.yaml`, installed by the real pre-commit into a real repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from repro_env.image.store import Store

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("pre-commit")]

TREE = Path(__file__).parents[2]
PROJECT = """\
[project]
name = "small"

[base.slim]
debian = "bookworm"

[step.hello]
base = "slim"
python = "3.11"
requirements = ["needs.txt"]
command = ["python", "-c", "import six"]
"""
COMMITTER = ["-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false"]


class Repository:
    """A git repository, and the environment its commands run in."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory = directory
        self.environment = environment
        directory.mkdir()
        self.git("init", "-q", "-b", "main")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )

    def git(self, *words: str) -> str:
        done = self.run("git", *COMMITTER, *words)
        assert done.returncode == 0, done.stdout
        return done.stdout.strip()

    def commit(self, message: str) -> subprocess.CompletedProcess[str]:
        self.git("add", "--all")
        return self.run("git", *COMMITTER, "commit", "-q", "-m", message)

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")


def copy_tree(target: Path) -> None:
    """Copy what git tracks, or would: the hook is tried as it is here, committed or not."""
    listed = subprocess.run(
        ["git", "-C", TREE, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, map(os.fsdecode, listed.split(b"\0"))):
        if (TREE / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(TREE / name, target / name)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pre-commit")


@pytest.fixture(scope="module")
def environment(home: Path, shared_store: Store) -> dict[str, str]:
    """A developer's environment, in which nothing but the hook's own installation can provide `repro`."""
    outer = [path for path in os.environ["PATH"].split(os.pathsep) if not (Path(path) / "repro").exists()]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "PRE_COMMIT", "VIRTUAL_"))}
    return {
        **kept,
        "PATH": os.pathsep.join(outer),
        "PRE_COMMIT_HOME": str(home / "cache"),
        "REPRO_STORE": str(shared_store.root),
    }


@pytest.fixture(scope="module")
def hooks(home: Path, environment: dict[str, str]) -> Repository:
    """This tree as a repository of hooks; pre-commit installs it once for all tests here."""
    repository = Repository(home / "hooks", environment)
    copy_tree(repository.directory)
    done = repository.commit("the hook")
    assert done.returncode == 0, done.stdout
    return repository


@pytest.fixture
def project(tmp_path: Path, environment: dict[str, str], hooks: Repository) -> Repository:
    """A project that uses this tree's hook, as `pre-commit install` leaves it."""
    user = Repository(tmp_path / "project", environment)
    (user.directory / ".gitignore").write_text(".repro/\n")
    (user.directory / "repro.toml").write_text(PROJECT)
    (user.directory / "needs.txt").write_text("six==1.16.0\n")
    (user.directory / ".pre-commit-config.yaml").write_text(
        f"repos:\n  - repo: {hooks.directory}\n    rev: {hooks.head}\n    hooks:\n      - id: repro-lock-check\n"
    )
    user.git("add", "--all")
    installed = user.run(sys.executable, "-m", "pre_commit", "install", "--install-hooks")
    assert installed.returncode == 0, installed.stdout
    return user


def test_a_commit_whose_lock_is_stale_is_refused(project: Repository, requires: Callable[..., None]) -> None:
    requires("git")
    repro = [sys.executable, "-m", "repro_env"]

    refused = project.commit("no lock yet")
    assert refused.returncode != 0, refused.stdout
    assert "repro.lock" in refused.stdout
    assert "hint: run `repro lock`" in refused.stdout

    locked = project.run(*repro, "lock")
    assert locked.returncode == 0, locked.stdout
    accepted = project.commit("locked")
    assert accepted.returncode == 0, accepted.stdout
    assert "repro.lock is up to date" in accepted.stdout
    before = project.head

    (project.directory / "needs.txt").write_text("six==1.17.0\n")
    refused = project.commit("another six")
    assert refused.returncode != 0
    assert "step hello: requirements changed" in refused.stdout
    assert project.head == before

    locked = project.run(*repro, "lock")
    assert locked.returncode == 0, locked.stdout
    accepted = project.commit("another six, locked")
    assert accepted.returncode == 0, accepted.stdout
    assert project.head != before


def test_what_is_staged_counts_and_not_what_stands_in_the_directory(project: Repository) -> None:
    assert project.run(sys.executable, "-m", "repro_env", "lock").returncode == 0
    assert project.commit("locked").returncode == 0
    (project.directory / "repro.toml").write_text(PROJECT.replace("import six", "import sys"))
    project.git("add", "repro.toml")
    (project.directory / "repro.toml").write_text(PROJECT)
    refused = project.run("git", *COMMITTER, "commit", "-q", "-m", "a stale lock, hidden")
    assert refused.returncode != 0
    assert "step hello: command changed" in refused.stdout
