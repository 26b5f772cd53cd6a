"""`repro diff`: what changed between two locks, commits or runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repro_env.cli.examples import WithExamples
from repro_env.cli.history import paint, runs_around, wanted_run
from repro_env.cli.project import LOCK_FILE, project_root
from repro_env.edges import process
from repro_env.edges.files import os_errors
from repro_env.edges.git import local_git_environment
from repro_env.errors import LockError, ToolError, UsageError
from repro_env.frozen import dataclass
from repro_env.record.runs import RECORD, Run

if TYPE_CHECKING:
    from repro_env.lock.model import Lock

DIFFERS = 14
"""The exit status with `--exit-code` when there is a difference."""

_VERSION = 1
_GIT_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class _LockText:
    """A lock, and what a person calls the place it is from."""

    name: str
    text: str

    def parse(self) -> Lock:
        """Return the lock. Errors: `LockError` that names the place."""
        from repro_env.lock.parse import parse_lock  # noqa: PLC0415 - only where a lock is compared

        return parse_lock(self.text, file=self.name)


_Side = Run | _LockText


_EXAMPLES = (
    ("repro diff", "what is not committed of repro.lock"),
    ("repro diff main", "what changed since branch main"),
    ("repro diff train", "the last run of a step and the one before it: why the outputs differ"),
)


@click.command("diff", cls=WithExamples, examples=_EXAMPLES)
@click.argument("sides", nargs=-1, metavar="[A] [B]")
@click.option("--exit-code", is_flag=True, help=f"Exit with {DIFFERS} if something differs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(context: click.Context, *, sides: tuple[str, ...], exit_code: bool, as_json: bool) -> None:
    """Tell what changed from A to B, in people's words.

    A and B are two runs, named as for `repro show`: the cause is told first (code, packages, base, data, parameters,
    machine), and then what it led to. One run alone is compared with the one that it repeats, or else with the one of
    its step before it.

    Or they are two locks, each named by a commit, a run or a file: without B it is the project's repro.lock, and
    without A that of the last commit.
    """
    if len(sides) > 2:  # noqa: PLR2004 - A and B
        raise UsageError(f"two sides can be compared, not {len(sides)}", hint="see `repro diff --help`")
    before, after = _sides(sides)
    if isinstance(before, Run) and isinstance(after, Run):
        document, text = _of_runs(before, after)
    else:
        document, text = _of_locks(_lock_of(before), _lock_of(after))
    click.echo(json.dumps(document, indent=2) if as_json else text, nl=as_json)
    if exit_code and document["differs"]:
        context.exit(DIFFERS)


def two_locks(words: tuple[str, ...]) -> tuple[Lock, Lock]:
    """Return the two locks that a person named, with what was left out filled in. Errors: `UsageError`, `LockError`."""
    if len(words) > 2:  # noqa: PLR2004 - A and B
        raise UsageError(f"two sides can be compared, not {len(words)}", hint="name two commits, runs or files")
    before, after = (_lock_of(side) for side in _sides(words))
    return before.parse(), after.parse()


def _sides(words: tuple[str, ...]) -> tuple[_Side, _Side]:
    """Return what is compared, with what was left out filled in."""
    if not words:
        return _at_commit("HEAD"), _working()
    first = _side(words[0])
    if len(words) > 1:
        return first, _side(words[1])
    return (_before(first), first) if isinstance(first, Run) else (first, _working())


def _side(word: str) -> _Side:
    """Return the run, the lock's file or the commit that a person means, in this order. Errors: `UsageError`."""
    path = Path(word)
    if path.is_file() and path.suffix != ".json":
        return _LockText(word, _read(path))
    if path.is_dir() and (path / LOCK_FILE).is_file() and not (path / RECORD).is_file():
        return _LockText(str(path / LOCK_FILE), _read(path / LOCK_FILE))
    try:
        return wanted_run(word)
    except UsageError as no_run:
        if not _is_commit(word):
            why = "\n".join(filter(None, (no_run.why, "and no commit and no lock file is called that")))
            raise UsageError(no_run.what, why, no_run.hint) from no_run
    return _at_commit(word)


def _before(run: Run) -> Run:
    """Return the run that this one repeats, or else its step's before this one. Errors: `UsageError`."""
    record, runs = run.record, runs_around(run)
    for older in runs:
        if older.record.id == record.reproduces:
            return older
    for older in runs:
        is_own = older.record.step == record.step and not older.record.reproduces
        if is_own and older.record.started < record.started:
            return older
    hint = "name two runs, or a commit to compare locks with"
    raise UsageError(f"run {record.id} is the first of step {record.step}", "there is none before it", hint)


def _is_commit(word: str) -> bool:
    # What begins with a hyphen would be an option of git's.
    return not word.startswith("-") and _git("rev-parse", "--verify", "--quiet", f"{word}^{{commit}}") is not None


def _at_commit(word: str) -> _LockText:
    """Return the lock of this project at a commit. Errors: `LockError`."""
    name = f"{LOCK_FILE} at {word}"
    text = _git("show", f"{word}:./{LOCK_FILE}")
    if text is None:
        why = f"commit {word} of this project holds none" if _is_commit(word) else "there is no commit, or no git, here"
        raise LockError(f"there is no {name}", why, "name a commit that has it, or two lock files")
    return _LockText(name, text)


def _git(*words: str) -> str | None:
    """Return what git says, in the project's directory, or None if it fails."""
    try:
        answer = process.run(
            ["git", "-C", project_root(), *words], timeout=_GIT_TIMEOUT, env=local_git_environment(), check=False
        )
    except ToolError:
        return None
    return answer.stdout if answer.status == 0 else None


def _working() -> _LockText:
    path = project_root() / LOCK_FILE
    if not path.is_file():
        raise LockError(f"there is no {LOCK_FILE}", f"in {path.parent}", "run `repro lock`")
    return _LockText(LOCK_FILE, _read(path))


def _read(path: Path) -> str:
    with os_errors(f"read {path}"):
        data = path.read_bytes()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise LockError(f"{path} is not a lock", "it is not UTF-8") from error


def _lock_of(side: _Side) -> _LockText:
    """Return a side's lock; a run has a copy of it. Errors: `LockError`."""
    if isinstance(side, _LockText):
        return side
    path = side.directory / LOCK_FILE
    if not path.is_file():
        raise LockError(f"the lock of run {side.record.id} is not kept", f"there is no {path}")
    return _LockText(f"{LOCK_FILE} of run {side.record.id}", _read(path))


def _of_locks(before: _LockText, after: _LockText) -> tuple[dict[str, Any], str]:
    from repro_env.lock.diff import diff, diff_lines  # noqa: PLC0415 - only where locks are compared

    changes = diff(before.parse(), after.parse())
    lines = list(diff_lines(changes))
    document = {
        "version": _VERSION,
        "differs": bool(changes),
        "before": before.name,
        "after": after.name,
        "changes": [
            {
                "subject": change.subject,
                "what": change.what,
                "before": change.before,
                "after": change.after,
                "platform": change.platform,
                "told": str(change),
            }
            for change in changes
        ],
    }
    same = f"nothing that is pinned differs between {before.name} and {after.name}"
    return document, "\n".join(lines or [same]) + "\n"


def _of_runs(before: Run, after: Run) -> tuple[dict[str, Any], str]:
    from repro_env.cli.run_witness import RunWitness  # noqa: PLC0415 - only where runs are compared
    from repro_env.record.differences import compare  # noqa: PLC0415 - same
    from repro_env.record.differences_text import comparison_document, comparison_text  # noqa: PLC0415 - same

    found = compare(before.record, after.record, RunWitness((before, after)).witness)
    return {"version": _VERSION, **comparison_document(found)}, comparison_text(found, paint)
