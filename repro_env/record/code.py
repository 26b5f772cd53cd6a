"""In which files the code of two runs differs: commits with what was not committed, put together and compared by git.

Nothing is written to the person's repository, and its files are not looked at: trees are made with an index and an
object directory of their own, which are gone afterwards. Source: git(1), "Environment Variables".
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from repro_env.edges.files import os_errors
from repro_env.edges.git import local_git_environment
from repro_env.errors import ToolError
from repro_env.frozen import dataclass
from repro_env.record.git import DIFF, Run, is_commit
from repro_env.record.model import GitState
from repro_env.values import Digest

_TIMEOUT = 120.0
_COMPARE = ("diff-tree", "-r", "-z", "--no-renames", "--no-ext-diff", "--no-textconv")
_WORDS = {"A": "new", "D": "removed", "M": "changed", "T": "changed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeChange:
    """One file that differs: `change` is `new`, `removed` or `changed`; lines are None where it is no text."""

    path: str
    change: str
    added: int | None
    removed: int | None

    def __str__(self) -> str:
        lines = "" if self.added is None else f" (+{self.added} -{self.removed})"
        return f"{self.change}{lines}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCode:
    """The code of a run: its commit, and the run's directory, which holds what was not committed."""

    git: GitState
    directory: Path


def code_changes(
    repository: Path, before: RecordedCode, after: RecordedCode, run: Run
) -> tuple[CodeChange, ...] | None:
    """Return the files of the project that differ, by their paths in it, sorted.

    None means that it cannot be told: a commit is not in this repository, or what was not committed is not kept.
    Errors: `StoreError`.
    """
    if _same(before.git, after.git):
        return ()
    with os_errors("make a temporary directory"), tempfile.TemporaryDirectory(prefix="repro-") as name:
        try:
            trees = _Trees(repository, Path(name), run)
            pair = trees.tree(before), trees.tree(after)
            return trees.changes(*pair)
        except (ToolError, _UnknownError):
            return None


def _same(before: GitState, after: GitState) -> bool:
    is_whole = not (before.omitted or after.omitted)
    return is_whole and (before.commit, before.prefix, before.diff) == (after.commit, after.prefix, after.diff)


class _UnknownError(Exception):
    """A commit is none, or what was not committed is not there any more, or not what it was."""


class _Trees:
    """Trees of runs' code, in an object directory beside the repository's own."""

    def __init__(self, repository: Path, directory: Path, run: Run) -> None:
        self._directory, self._run = directory, run
        words = ("git", "-C", str(repository), "rev-parse", "--path-format=absolute", "--show-toplevel")
        answer = run([*words, "--git-path", "objects"], timeout=_TIMEOUT, env=local_git_environment()).stdout
        self._top, objects = answer.removesuffix("\n").split("\n")
        own = directory / "objects"
        (own / "info").mkdir(parents=True)
        (own / "info" / "alternates").write_bytes(os.fsencode(objects) + b"\n")  # gitrepository-layout(5)
        self._objects = own

    def tree(self, code: RecordedCode) -> str:
        """Return the tree of a project's directory as a run had it. Errors: `ToolError`, `_UnknownError`."""
        if not is_commit(code.git.commit):
            raise _UnknownError
        index = self._directory / "index"
        index.unlink(missing_ok=True)
        self._git("read-tree", f"{code.git.commit}^{{commit}}")
        if code.git.diff is not None:
            self._git("apply", "--cached", "--whitespace=nowarn", str(_kept(code, code.git.diff)))
        return self._git("write-tree", f"--prefix={code.git.prefix}").strip()

    def changes(self, before: str, after: str) -> tuple[CodeChange, ...]:
        """Return what differs between two trees. Errors: `ToolError`."""
        named = self._git(*_COMPARE, "--name-status", before, after).split("\0")[:-1]
        words = {path: _WORDS.get(letter, "changed") for letter, path in zip(named[::2], named[1::2], strict=True)}
        counted = self._git(*_COMPARE, "--numstat", before, after).split("\0")[:-1]
        found = [line.split("\t", 2) for line in counted]
        return tuple(
            CodeChange(path=path, change=words.get(path, "changed"), added=_lines(added), removed=_lines(removed))
            for added, removed, path in sorted(found, key=lambda fields: fields[2])
        )

    def _git(self, *words: str) -> str:
        own = {"GIT_INDEX_FILE": str(self._directory / "index"), "GIT_OBJECT_DIRECTORY": str(self._objects)}
        return self._run(["git", "-C", self._top, *words], timeout=_TIMEOUT, env=local_git_environment(**own)).stdout


def _kept(code: RecordedCode, digest: Digest) -> Path:
    """Return the file with what was not committed. Errors: `_UnknownError` when it is not what was recorded."""
    path = (code.directory / DIFF).absolute()
    if not path.is_file() or Digest.of(path.read_bytes()) != digest:
        raise _UnknownError
    return path


def _lines(count: str) -> int | None:
    return None if count == "-" else int(count)
