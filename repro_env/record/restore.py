"""A run's code, as it was: its commit in a clone of its own, with the changes that were not committed.

The repository it comes from is read and not touched: no checkout of it, no branch, no worktree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from repro_env.edges.files import os_errors
from repro_env.edges.git import git_environment
from repro_env.errors import ReproError, ToolError
from repro_env.record.git import PLAIN, clean_remote, is_commit
from repro_env.record.model import GitState
from repro_env.values import Digest

_TIMEOUT = 3600.0  # seconds; a repository may have to be cloned from afar
_ANOTHER = "name another repository with --repository"
_PRESENT = "`--here` runs the code that is checked out now"

_AS_IT_IS = ("--whitespace=nowarn", "--no-ignore-whitespace")


class RestoreError(ReproError):
    """A run cannot be repeated, because something that it started from is gone."""

    exit_status = 15
    exec_status = 120


class _Completed(Protocol):
    @property
    def stdout(self) -> str: ...

    @property
    def stderr(self) -> str: ...

    @property
    def status(self) -> int: ...


Run = Callable[..., _Completed]
"""`edges.process.run`, passed in."""


def restore_code(
    git: GitState, repository: str, into: Path, diff: Path, *, run: Run, environ: Mapping[str, str]
) -> Path:
    """Make a clone of `repository`, a path or an address, at a run's commit, and return the project's directory in it.

    `into` is a directory that does not exist; `diff` is the file that holds what was not committed. Errors:
    `RestoreError` that names what is missing, `ToolError`.
    """
    if not is_commit(git.commit) or _leaves(git.prefix):
        raise RestoreError("the run's record names no commit of a project", f"{git.commit!r} {git.prefix!r}")
    clone = _Clone(into, run, environ)
    clone.make(repository, git.commit)
    if git.diff is not None:
        clone.apply(diff, git.diff)
    project = into / git.prefix
    if not project.is_dir():
        raise RestoreError(f"commit {git.commit[:12]} has no directory {git.prefix}", f"in {repository}")
    return project


def repository_of(project: Path, *, run: Run, environ: Mapping[str, str]) -> str:
    """Return the top of the repository that a directory is in, or nothing."""
    words = ("git", "-C", str(project), "rev-parse", "--show-toplevel")
    return _asked(words, run, environ).rstrip("\n")


def has_commit(repository: str, commit: str, *, run: Run, environ: Mapping[str, str]) -> bool:
    """Whether a repository on this machine has a commit."""
    if not is_commit(commit):
        return False
    words = ("git", "-C", repository, "rev-parse", "--quiet", "--verify", f"{commit}^{{commit}}")
    return bool(_asked(words, run, environ))


def _asked(words: Sequence[str], run: Run, environ: Mapping[str, str]) -> str:
    """Return what git prints, or nothing where it fails or is absent."""
    try:
        found = run(words, timeout=_TIMEOUT, check=False, env=git_environment(environ))
    except ToolError:
        return ""
    return found.stdout if found.status == 0 else ""


class _Clone:
    """A repository that is made for one run and thrown away after it."""

    def __init__(self, directory: Path, run: Run, environ: Mapping[str, str]) -> None:
        self._directory, self._run, self._environ = directory, run, git_environment(environ)

    def make(self, repository: str, commit: str) -> None:
        """Clone a repository and check the commit out. Errors: `RestoreError`, `ToolError`."""
        local = Path(repository).is_dir()
        # With --shared the clone takes even what no branch reaches any more. The copy that a CI job has is shallow.
        how = ("--shared",) if local else ()
        with os_errors(f"make {self._directory}"):
            self._directory.parent.mkdir(parents=True, exist_ok=True)
        words = (
            *("git", *PLAIN, "-c", "clone.rejectShallow=false"),
            *("clone", "--quiet", "--no-checkout", "--template=", "--origin=origin", *how),
            *("--", repository, str(self._directory)),
        )
        try:
            self._run(words, timeout=_TIMEOUT, env=self._environ)
        except ToolError as error:
            raise _unreachable(repository, error) from error
        if not self._has(commit):
            self._git("fetch", "--quiet", "origin", commit, check=False)  # what no branch of a server reaches
        if not self._has(commit):
            raise _gone(commit, repository)
        if local:
            self._have_promises(repository)
        self._check_out(commit, repository)
        if (self._directory / ".gitmodules").is_file():
            self._have_submodules(Path(repository) if local else None)

    def apply(self, diff: Path, digest: Digest) -> None:
        """Apply what was not committed; new files become known to git. Errors: `RestoreError`, `ToolError`."""
        if not diff.is_file():
            why = f"the run started from uncommitted changes, {digest}, which {diff} held"
            raise RestoreError("the run's uncommitted changes are gone", why, f"put that file back; {_PRESENT}")
        with os_errors(f"read {diff}"):
            found = Digest.of(diff.read_bytes())
        if found != digest:
            why = f"{diff}\n  needed {digest}\n  found  {found}"
            raise RestoreError("the run's uncommitted changes are not what was recorded", why, _PRESENT)
        try:
            self._git("apply", "--index", "--binary", *_AS_IT_IS, str(diff.absolute()))
        except ToolError as error:
            raise RestoreError("the run's uncommitted changes cannot be applied", error.why, _PRESENT) from error

    def _has(self, commit: str) -> bool:
        return self._git("cat-file", "-e", f"{commit}^{{commit}}", check=False).status == 0

    def _check_out(self, commit: str, repository: str) -> None:
        """Check a commit out, whole: git passes over a file that it cannot read, and calls that a success."""
        said = self._git("checkout", "--quiet", "--detach", commit, check=False).stderr
        missing = self._git("ls-files", "-z", "--deleted").stdout.split("\0")[:-1]
        if missing or self._git("rev-parse", "HEAD", check=False).stdout.strip() != commit:
            what = f"commit {commit[:12]} cannot be checked out of {clean_remote(repository)}"
            raise RestoreError(what, said.strip(), _ANOTHER)

    def _have_promises(self, repository: str) -> None:
        """Let what a partial clone left with the server it is from be fetched from there.

        Source: git's technical documentation, "partial-clone".
        """
        asked = ("git", "-C", repository, "config", "-z", "--get-regexp", r"^remote\..*\.(promisor|url)$")
        found = dict(
            entry.partition("\n")[::2] for entry in _asked(asked, self._run, self._environ).split("\0") if entry
        )
        for key in found:
            url = found.get(f"{key.removesuffix('.promisor')}.url", "")
            if key.endswith(".promisor") and url:
                self._git("config", "remote.promisor.url", url)
                self._git("config", "remote.promisor.promisor", "true")
                self._git("config", "core.repositoryformatversion", "1")
                self._git("config", "extensions.partialClone", "promisor")

    def _have_submodules(self, origin: Path | None) -> None:
        """Check submodules out, from the copies that the origin has where it has them."""
        listed = self._git("config", "-z", "-f", ".gitmodules", "--name-only", "--get-regexp", r"\.path$").stdout
        names = [key.removeprefix("submodule.").removesuffix(".path") for key in listed.split("\0") if key]
        for name in names if origin else ():
            copy = origin / ".git" / "modules" / name if origin else Path()
            if copy.is_dir():
                self._git("config", f"submodule.{name}.url", str(copy))
        words = ("-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init", "--recursive")
        self._git(*words)

    def _git(self, *words: str, check: bool = True) -> _Completed:
        arguments: Sequence[str] = ("git", *PLAIN, "-C", str(self._directory), *words)
        return self._run(arguments, timeout=_TIMEOUT, env=self._environ, check=check)


def _leaves(prefix: str) -> bool:
    path = PurePosixPath(prefix)
    return path.is_absolute() or ".." in path.parts


def _unreachable(repository: str, error: ToolError) -> RestoreError:
    shown = clean_remote(repository)
    said = error.why.replace(repository, shown).splitlines()[1:]  # without the command line
    return RestoreError(f"the repository {shown} cannot be cloned", "\n".join(said) or error.what, _ANOTHER)


def _gone(commit: str, repository: str) -> RestoreError:
    why = f"{clean_remote(repository)} has no commit {commit}"
    return RestoreError("the run's commit is gone", why, f"fetch it from where it was pushed; {_ANOTHER}; {_PRESENT}")
