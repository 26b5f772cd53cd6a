"""What a run started from, had again: its code in a clone of its own, and its lock."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from repro_env.cli.project import LOCK_FILE, PROJECT_FILE, PYPROJECT, Workspace, fresh_lock, open_workspace
from repro_env.edges import files, process
from repro_env.edges.report import Reporter
from repro_env.errors import LockError
from repro_env.frozen import dataclass
from repro_env.lock.diff import diff, diff_lines
from repro_env.lock.model import Lock, LockedStep
from repro_env.lock.parse import parse_lock
from repro_env.record.git import DIFF
from repro_env.record.model import GitState, RunRecord
from repro_env.record.restore import RestoreError, has_commit, repository_of, restore_code
from repro_env.record.runs import Run
from repro_env.values import Digest

_MARK = ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a run starts from, as it was or as it is now; `changed` says in words what of the lock is not as it was."""

    workspace: Workspace
    lock: Lock
    changed: tuple[str, ...] = ()


class Restorer:
    """Restores runs for the project `home`, or with `here` takes what is checked out there now.

    `repository` is where the commits are; empty for the project's own repository, else the recorded one.
    """

    def __init__(self, home: Path, report: Reporter, *, here: bool, repository: str) -> None:
        self._home, self._report, self._here, self._asked = home, report, here, repository

    @contextlib.contextmanager
    def restored(self, found: Run) -> Iterator[Restored]:
        """Give the code and the lock to run with; restored code is removed afterwards.

        Errors: `RestoreError` for what is gone, `ToolError`, `StoreError`, `ConfigError`, `LockError`.
        """
        if self._here:
            yield self._present(found)
            return
        root = self._home / ".repro" / "restored"
        _sweep(root)
        directory = root / secrets.token_hex(8)
        mark = directory.with_suffix(_MARK)
        with files.locked(mark):
            try:
                project = self._restore_code(found.record, found.directory, directory)
                text = _lock_text(found, project, self._home)
                files.write_atomically(project / LOCK_FILE, text)
                yield Restored(workspace=_opened(project), lock=_parsed(text, found.record))
            finally:
                files.remove_tree(directory)
                mark.unlink(missing_ok=True)

    def _present(self, found: Run) -> Restored:
        workspace = open_workspace(self._home)
        workspace.check_steps((found.record.step,))
        lock = fresh_lock(workspace)
        try:
            before = _parsed(_lock_text(found, self._home), found.record)
        except RestoreError as error:
            return Restored(workspace=workspace, lock=lock, changed=(f"{error.what}: {error.why}",))
        changes = diff(before, lock)
        own = [change for change in changes if change.subject in _subjects(lock.steps[found.record.step])]
        return Restored(workspace=workspace, lock=lock, changed=diff_lines(own))

    def _restore_code(self, record: RunRecord, kept: Path, into: Path) -> Path:
        git = record.git
        if git is None:
            why = "the project was in no git repository, or had no commit, when it ran"
            hint = "`--here` runs the code that is here now, and tells whether it is another"
            raise RestoreError("the run's code cannot be restored", why, hint)
        for line in git.omitted:
            self._report.warn(f"not kept of what was not committed: {line}")
        repository = self._repository(git)
        with self._report.task("restoring the code", None):
            return restore_code(git, repository, into, kept / DIFF, run=process.run, environ=os.environ)

    def _repository(self, git: GitState) -> str:
        """Return where the commit is to be had: as asked, else the project's own repository, else the recorded one."""
        if self._asked:
            return self._asked
        own = repository_of(self._home, run=process.run, environ=os.environ)
        if own and (not git.remote or has_commit(own, git.commit, run=process.run, environ=os.environ)):
            return own
        if git.remote:
            here = f"{own} has no commit" if own else "no repository here has commit"
            self._report.note(f"{here} {git.commit[:12]}: fetching it from {git.remote}")
            return git.remote
        why = f"{self._home} is in no git repository, and the record names none"
        raise RestoreError("the run's code cannot be restored", why, "name it with --repository")


def _opened(project: Path) -> Workspace:
    """Read the restored project. Errors: `RestoreError` where it is not there: the one above it is another."""
    if not any((project / name).is_file() for name in (PROJECT_FILE, PYPROJECT)):
        why = f"neither the commit nor what was kept beside the record has {PROJECT_FILE}"
        raise RestoreError("the run's project file is gone", why, "commit it; `--here` uses the one that is here now")
    return open_workspace(project)


def _lock_text(found: Run, *projects: Path) -> bytes:
    """Return the run's own lock: kept with the run, or one of a project if it is the same. Errors: `RestoreError`."""
    for place in (found.directory, *projects):
        try:
            text = (place / LOCK_FILE).read_bytes()
        except OSError:
            continue
        if found.record.lock in {None, Digest.of(text)}:
            return text
    why = f"needed {found.record.lock}, which neither {found.directory} nor the project has"
    raise RestoreError("the run's lock is gone", why, f"put it back as {found.directory / LOCK_FILE}")


def _parsed(text: bytes, record: RunRecord) -> Lock:
    lock = parse_lock(text.decode(errors="replace"), file=f"{LOCK_FILE} of run {record.id}")
    if record.step not in lock.steps:
        raise LockError(f"the lock of run {record.id} has no step {record.step}")
    return lock


def _sweep(root: Path) -> None:
    """Remove what processes that were killed left restored: theirs are the locks that nobody holds."""
    for mark in root.glob(f"*{_MARK}"):
        with contextlib.suppress(OSError), mark.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            files.remove_tree(mark.with_suffix(""))
            mark.unlink()


def _subjects(step: LockedStep) -> AbstractSet[str]:
    """Return what a step is made from, as differences of locks call it. Other steps' packages are not its concern."""
    return {f"step {step.name}", f"base {step.base}", *(f"data {name}" for name in step.inputs)}
