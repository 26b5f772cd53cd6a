"""The code a run started from: the commit, and what turns it into the files that ran.

Nothing of this is written to the person's repository: the difference is made with an index and an object directory of
its own, which are gone afterwards.
Source: git(1), "Environment Variables"; git-status(1), "Porcelain Format Version 2".
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from repro_env.edges.files import os_errors
from repro_env.edges.git import local_git_environment
from repro_env.errors import ToolError
from repro_env.frozen import dataclass
from repro_env.record.line_ends import carriage_returns, converts, keep_bytes
from repro_env.record.model import GitState
from repro_env.values import Digest, format_size, strip_credentials

DIFF = "code.diff"
"""The name, beside the record, of what `git apply` turns the commit into what ran with."""

FILE_LIMIT = 8 << 20
DIFF_LIMIT = 64 << 20
"""Bytes of one changed file, and of all together, up to which they are kept. Code is small; what is larger is data,
which has its own place."""

_TIMEOUT = 60.0
_STATUS = (
    *("status", "--porcelain=v2", "-z", "--branch", "--no-renames"),
    *("--untracked-files=no", "--ignore-submodules=none"),  # untracked files may be a million, of data
)
_MODE = 6  # the digits of a mode, with which an entry of the index begins
_SUBMODULE = "160000"
_UNTRACKED_INSIDE = "S..U"
_DIFFERENCE = ("--cached", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color")
_BRANCH = "# branch.head "
_DETACHED = "(detached)"
_ORDINARY, _UNMERGED = 8, 10  # the fields before the path
_SETTINGS = r"^(remote\..*\.url|branch\..*\.remote|core\.(autocrlf|eol|attributesfile))$"
_PROTOCOL = re.compile(r"[A-Za-z0-9+.-]+::")  # of a remote helper, whose address may be a whole command line
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")  # SHA-1, or SHA-256
_UNREADABLE = "\N{REPLACEMENT CHARACTER}"


class Completed(Protocol):
    """What a program answered."""

    @property
    def stdout(self) -> str:
        """What it printed."""


Run = Callable[..., Completed]
"""`edges.process.run`, passed in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """A path below the repository's top that is not as the commit has it; `submodule` as git-status(1) tells it."""

    path: str
    submodule: str = "N..."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Git:
    """git, run in one directory, with nothing in its environment that would lead it elsewhere."""

    directory: Path
    run: Run
    extra: tuple[tuple[str, str], ...] = ()
    settings: tuple[str, ...] = ()

    def __call__(self, *words: str, stdin: str = "", check: bool = True) -> str:
        """Return what git prints. Errors: `ToolError`."""
        env = local_git_environment(**dict(self.extra))
        return self.run(
            ["git", *self.settings, *words], timeout=_TIMEOUT, env=env, cwd=self.directory, stdin=stdin, check=check
        ).stdout


PLAIN = (
    *("-c", "core.autocrlf=false", "-c", "core.eol=native", "-c", "core.safecrlf=false"),
    *("-c", "core.attributesFile=/dev/null", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"),
    *("-c", "submodule.recurse=false"),
)
"""Options that make git do what the repository alone says, and run no hook: people's own settings do not travel."""


class _Question(threading.Thread):
    """A question to git that is answered meanwhile; a pool of threads takes longer to import than git to answer."""

    def __init__(self, git: _Git, *words: str, check: bool = True) -> None:
        super().__init__()
        self._git, self._words, self._check = git, words, check
        self._found: str | ToolError = ""
        self.start()

    def run(self) -> None:
        """Ask."""
        try:
            self._found = self._git(*self._words, check=self._check)
        except ToolError as error:
            self._found = error

    def answer(self) -> str:
        """Wait for what git prints, and return it. Errors: `ToolError`."""
        self.join()
        if isinstance(self._found, ToolError):
            raise self._found
        return self._found


def git_state(project: Path, code: Iterable[str], directory: Path, run: Run, *, whole: bool = False) -> GitState | None:
    """Return the commit checked out at the project, or None without git, a repository or a commit.

    `code` are the step's files, as paths in the project: those that git does not track go into the difference, too,
    which is written to `code.diff` in `directory`. Only what changed below the project counts, unless `whole`.
    Errors: `StoreError`.
    """
    git = _Git(directory=project, run=run)
    try:
        # None of them waits for another.
        where = _Question(git, "rev-parse", "--show-cdup", "--show-prefix", "HEAD", "HEAD^{tree}")
        status = _Question(git, *_STATUS, "--", ":/" if whole else ".")
        index = _Question(git, "ls-files", "-z", "--stage", "--full-name", "--", ".")
        asked = _Question(git, "config", "-z", "--get-regexp", _SETTINGS, check=False)
        up, prefix, commit, tree = where.answer().split("\n")[:4]
        entries = status.answer().split("\0")
        paths = [prefix + path for path in code]
        changes = _changes(entries, index.answer().split("\0"), paths)
    except ToolError:
        return None
    settings = dict(entry.partition("\n")[::2] for entry in asked.answer().split("\0") if entry)
    raw = carriage_returns(project / up, paths) if converts(settings) else ()
    branch = next((entry.removeprefix(_BRANCH) for entry in entries if entry.startswith(_BRANCH)), "")
    branch = "" if branch == _DETACHED else branch
    state = GitState(
        commit=commit,
        dirty=False,
        tree=tree,
        branch=branch,
        remote=_remote(settings, branch),
        prefix=prefix,
    )
    git = _Git(directory=project / up, run=run, settings=PLAIN)
    return _with_difference(state, git, changes, raw, directory) if changes or raw else state


def _remote(found: Mapping[str, str], branch: str) -> str:
    """Return the address that the branch, or else `origin`, is fetched from."""
    name = found.get(f"branch.{branch}.remote", "origin")
    return clean_remote(found.get(f"remote.{name}.url", ""))


def is_commit(text: str) -> bool:
    """Whether a text is a commit's full name, as a record of elsewhere may say that it is: nothing else goes to git."""
    return _COMMIT.match(text) is not None


def clean_remote(address: str) -> str:
    """Return a remote's address without password, token or query; SSH's user name stays, being part of the place."""
    if _PROTOCOL.match(address):
        return ""
    if "://" not in address:
        return address
    try:
        parts = urlsplit(address)
        if "ssh" not in parts.scheme:
            return strip_credentials(address)
    except ValueError:
        return ""
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, user.partition(":")[0] + at + host, parts.path, "", ""))


def _changes(entries: Iterable[str], index: Iterable[str], code: Sequence[str]) -> list[_Change]:
    """Return what is not as the commit has it: tracked paths by `entries`, and code that the `index` does not have.

    All paths are below the repository's top.
    """
    modes = {path: fields[:_MODE] for fields, _tab, path in (entry.partition("\t") for entry in index)}
    submodules = tuple(f"{path}/" for path, mode in modes.items() if mode == _SUBMODULE)
    untracked = (path for path in code if path not in modes and not path.startswith(submodules))
    changed = (change for change in _tracked(entries) if _matters(change, code))
    return [*changed, *(_Change(path=path) for path in untracked)]


def _tracked(entries: Iterable[str]) -> Iterator[_Change]:
    for entry in entries:
        if entry.startswith("1 "):
            fields = entry.split(" ", _ORDINARY)
            yield _Change(path=fields[-1], submodule=fields[2])
        elif entry.startswith("u "):
            yield _Change(path=entry.split(" ", _UNMERGED)[-1])


def _matters(change: _Change, code: Iterable[str]) -> bool:
    """Whether a change can be of code: what a submodule does not track is not, unless code of the step is in there."""
    return change.submodule != _UNTRACKED_INSIDE or any(path.startswith(f"{change.path}/") for path in code)


def _with_difference(
    state: GitState, git: _Git, changes: Sequence[_Change], raw: Sequence[str], directory: Path
) -> GitState:
    changed = {change.path for change in changes}
    every = [*changes, *(_Change(path=path) for path in raw if path not in changed)]
    kept, omitted = _bounded(git.directory, every)
    target = directory / DIFF
    try:
        _write_difference(git, kept, raw, target)
    except ToolError as error:
        said = error.why.splitlines()[-1] if error.why else ""
        return replace(state, dirty=True, omitted=(f"every change: {error.what}: {said}", *omitted))
    with os_errors(f"read {target}"):
        text = target.read_bytes()
        if not text:
            target.unlink()
    return replace(state, dirty=bool(text or omitted), diff=Digest.of(text) if text else None, omitted=omitted)


def _bounded(top: Path, changes: Sequence[_Change]) -> tuple[list[str], tuple[str, ...]]:
    """Return the paths whose change is kept, and in words what is left out."""
    kept, omitted = [], []
    left = DIFF_LIMIT
    for change in changes:
        size = _size(top / change.path)
        if why := _why_not(change, size, left):
            omitted.append(f"{change.path}: {why}")
        if not why or "C" in change.submodule:
            kept.append(change.path)
            left -= size
    return kept, tuple(omitted)


def _why_not(change: _Change, size: int, left: int) -> str:
    if _UNREADABLE in change.path:
        return "its name is not UTF-8"
    if "M" in change.submodule or "U" in change.submodule:
        return "a submodule with changes of its own"
    if size > FILE_LIMIT:
        return f"{format_size(size)}, and no file larger than {format_size(FILE_LIMIT)} is kept"
    return f"{format_size(size)}, beyond the {format_size(DIFF_LIMIT)} that are kept in all" if size > left else ""


def _size(path: Path) -> int:
    try:
        found = path.lstat()
    except OSError:
        return 0
    return 0 if path.is_dir() else found.st_size


def _write_difference(git: _Git, paths: Sequence[str], raw: Sequence[str], target: Path) -> None:
    """Write what changed in these paths, as the work tree has them now; of those in `raw` the very bytes.

    Errors: `ToolError`, `StoreError`.
    """
    objects = git.directory / git("rev-parse", "--git-path", "objects").removesuffix("\n")
    with os_errors(f"write to {target.parent}"), tempfile.TemporaryDirectory(dir=target.parent) as name:
        own = Path(name) / "objects"
        (own / "info").mkdir(parents=True)
        (own / "info" / "alternates").write_bytes(bytes(objects.absolute()) + b"\n")  # gitrepository-layout(5)
        extra = (("GIT_INDEX_FILE", f"{name}/index"), ("GIT_OBJECT_DIRECTORY", str(own)))
        apart = replace(git, extra=extra)
        apart("read-tree", "HEAD")
        apart("update-index", "-z", "--add", "--remove", "--replace", "--stdin", stdin="\0".join([*paths, ""]))
        keep_bytes(apart, git.directory, [path for path in raw if path in paths])
        apart("diff-index", *_DIFFERENCE, "--src-prefix=a/", "--dst-prefix=b/", f"--output={target}", "HEAD")
