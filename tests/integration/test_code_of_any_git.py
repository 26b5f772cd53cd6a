"""The bytes that ran are had again, whatever people's own settings of git make of files and commits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from repro_env.edges import process
from repro_env.record.git import DIFF, git_state
from repro_env.record.restore import restore_code

CODE = ("train.py", "mixed.txt", "new.py", 'a "quoted" ü.txt')

HOSTILE = """
[user]
    name = a
    email = a@b.invalid
[core]
    autocrlf = {autocrlf}
    safecrlf = true
    quotePath = true
    hooksPath = {hooks}
[diff]
    noprefix = true
    mnemonicPrefix = true
    external = /bin/false
    context = 0
    renames = copies
    ignoreSubmodules = all
[color]
    ui = always
[submodule]
    recurse = true
[apply]
    whitespace = error
    ignoreWhitespace = change
[status]
    showUntrackedFiles = no
    relativePaths = true
[clone]
    defaultRemoteName = upstream
    rejectShallow = true
[init]
    defaultBranch = weird/бранч
"""


@pytest.fixture(params=["true", "input", "false"])
def repository(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository of somebody whose settings are hostile, and whose every hook leaves a mark."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "post-index-change", "reference-transaction", "pre-commit"):
        hook = hooks / name
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
        hook.chmod(0o755)
    (tmp_path / ".gitconfig").write_text(HOSTILE.format(autocrlf=request.param, hooks=hooks))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / ".gitconfig"))
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q")
    write(root, {"train.py": b"one\r\ntwo\r\n", "mixed.txt": b"a\r\nb\n", 'a "quoted" ü.txt': b"x\n"})
    git(root, "-c", "core.safecrlf=false", "add", "-A")
    git(root, "commit", "-qm", "one")
    (tmp_path / "hooked").unlink()
    return root


def git(root: Path, *words: str) -> None:
    process.run(["git", "-C", root, *words], timeout=30)


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).write_bytes(content)


def had_again(root: Path, kept: Path) -> dict[str, bytes]:
    """Record the state of the code, restore it, and return the files that are there then."""
    kept.mkdir(exist_ok=True)
    state = git_state(root, CODE, kept, process.run)
    assert state is not None
    assert state.omitted == ()
    clone = kept / "clone"
    restore_code(state, str(root), clone, kept / DIFF, run=process.run, environ=os.environ)
    return {name: (clone / name).read_bytes() for name in CODE if (clone / name).exists()}


def as_they_are(root: Path) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in CODE if (root / name).exists()}


def test_what_is_committed_comes_back_as_it_stood(repository: Path, tmp_path: Path) -> None:
    assert had_again(repository, tmp_path / "kept") == as_they_are(repository)
    assert not (tmp_path / "hooked").exists()


def test_what_is_not_committed_comes_back_as_it_stood(repository: Path, tmp_path: Path) -> None:
    changed = {"train.py": b"one\r\n2  \t\n\n\ntwo\r\n", "mixed.txt": b"a\nB\r\n", "new.py": b"n\r\nm\n"}
    write(repository, {**changed, 'a "quoted" ü.txt': b"x\ny\n"})
    (repository / "train.py").chmod(0o755)
    assert had_again(repository, tmp_path / "kept") == as_they_are(repository)
    assert os.access(tmp_path / "kept/clone/train.py", os.X_OK)
    assert not (tmp_path / "hooked").exists()


def test_line_ends_that_attributes_ask_for(repository: Path, tmp_path: Path) -> None:
    write(repository, {".gitattributes": b"* text=auto\n"})
    git(repository, "-c", "core.safecrlf=false", "add", "--renormalize", ".")
    git(repository, "-c", "core.safecrlf=false", "add", ".gitattributes")
    git(repository, "-c", "core.safecrlf=false", "commit", "-qm", "text")
    git(repository, "rm", "-rq", "--cached", ".")
    git(repository, "reset", "-q", "--hard")  # checked out anew, with the line ends of these settings
    (tmp_path / "hooked").unlink()
    assert had_again(repository, tmp_path / "kept") == as_they_are(repository)
    assert not (tmp_path / "hooked").exists()
