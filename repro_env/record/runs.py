"""The runs of a project, in `.repro/runs/ID/`: begun, concluded, listed, found by what a person types.

While a run lives, its process holds a lock on `alive` in its directory. The kernel drops that lock however the process
ends, so a record that still says `started` and whose lock is free is one of a run that was killed, or went down with
its machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from repro_env.edges.files import flush_directory, os_errors, write_atomically
from repro_env.errors import StoreError, UsageError
from repro_env.frozen import dataclass
from repro_env.record.model import RecordedLog, RunRecord
from repro_env.record.read_statement import from_statement
from repro_env.record.statement import to_statement
from repro_env.values import Digest

RECORD = "record.json"
LOG = "output.log"
"""The name, beside the record, of what the step printed."""

_OUTPUT = "output"
ALIVE = "alive"
"""The name, beside the record, of the file that a run holds a lock on while it lives."""

_LAST = "last"
_SHOWN = 5
_ENDING = re.compile(r"[0-9a-f]{4}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """A run whose record cannot be read, and why."""

    directory: Path
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """A project's runs, newest first, and those whose record is damaged."""

    records: tuple[RunRecord, ...]
    damaged: tuple[Damaged, ...]

    @property
    def own(self) -> Iterator[RunRecord]:
        """Those that repeat no other, newest first. One that does keeps what it makes to itself."""
        return (record for record in self.records if not record.reproduces)

    def last(self, step: str) -> RunRecord | None:
        """Return the newest run of a step that repeats no other."""
        return next((record for record in self.own if record.step == step), None)

    def last_success(self, step: str) -> RunRecord | None:
        """Return the newest run of a step that succeeded and repeats no other: its outputs are those in the project."""
        done = (record for record in self.own if record.step == step and record.status == "succeeded")
        return next(done, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: its directory, with what it left there, and its record."""

    directory: Path
    record: RunRecord

    @property
    def home(self) -> Path | None:
        """The project that keeps the run, or None where its record lies elsewhere."""
        place = self.directory.resolve()
        kept = place.parent.name == "runs" and place.parents[1].name == ".repro"
        return place.parents[2] if kept else None


def runs_directory(project: Path) -> Path:
    """Return where a project keeps its runs, each in a directory that is called by its id."""
    return project / ".repro" / "runs"


def new_run_id(step: str, now: datetime, random: Callable[[int], str]) -> str:
    """Return an id that sorts by time: `20261123T043354Z-clean-3f2a`. `random(2)` gives four hexadecimal digits."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{step}-{random(2)}"


class OpenRun:
    """A run that has begun: its directory, and its record as it stands on disk."""

    def __init__(self, directory: Path, record: RunRecord) -> None:
        self.directory = directory
        self.record = record
        self._write()

    def conclude(self, *, status: str, finished: datetime, **parts: Any) -> RunRecord:
        """Replace the record with the finished one, and return it. `parts` are other fields of `RunRecord`.

        What stands in the run's directory by now, its log and what a failed step wrote, is recorded, too.
        Errors: `StoreError`.
        """
        kept = _kept(self.directory) if status != "succeeded" else ""
        left = {"log": _log(self.directory), "kept": kept}
        self.record = replace(self.record, status=status, finished=finished, **{**left, **parts})
        self._write()
        return self.record

    def _write(self) -> None:
        write_atomically(self.directory / RECORD, document(self.record))
        with os_errors(f"write to {self.directory}"):
            flush_directory(self.directory)  # a machine that goes down now leaves a record of it


def document(record: RunRecord) -> bytes:
    """Return a record as its file holds it."""
    text = json.dumps(to_statement(record), indent=2, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace")  # an argument's byte that is no UTF-8: `\udcff`, as JSON escapes it


def _log(directory: Path) -> RecordedLog | None:
    """Return what the step printed. Errors: `StoreError`."""
    path = directory / LOG
    with os_errors(f"read {path}"):
        if not path.exists():
            return None
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            return RecordedLog(digest=Digest(digest), size=stream.tell())


def _kept(directory: Path) -> str:
    """Return the name of the directory with what a step wrote that took no place in the project; empty for nothing."""
    return _OUTPUT if (directory / _OUTPUT).is_dir() else ""


@contextlib.contextmanager
def recording(directory: Path, record: RunRecord, *, now: Callable[[], datetime]) -> Iterator[OpenRun]:
    """Write the record of a run that starts, and let the block conclude it.

    A block that ends without that, by an error or Ctrl-C, leaves a record that says `failed` or `interrupted`.
    Errors: `StoreError`.
    """
    with os_errors(f"write to {directory}"):
        directory.mkdir(parents=True, exist_ok=True)
        alive = (directory / ALIVE).open("ab")
        fcntl.flock(alive, fcntl.LOCK_EX)
    with alive:
        run = OpenRun(directory, record)
        try:
            yield run
        except BaseException as error:
            if run.record.status == "started":
                interrupted = isinstance(error, KeyboardInterrupt)
                run.conclude(status="interrupted" if interrupted else "failed", finished=now())
            raise
        finally:
            (directory / ALIVE).unlink(missing_ok=True)


def read_record(path: Path) -> RunRecord:
    """Return the record in a run's directory, or in a file; that of a run which was cut off is `interrupted`.

    Errors: `OSError`, and `ValueError` for what is no record.
    """
    file = path / RECORD if path.is_dir() else path
    record = _parsed(file)
    if record.status != "started" or _lives(file.parent):
        return record
    record = _parsed(file)  # it may have come to its end between the two looks
    if record.status != "started":
        return record
    return replace(record, status="interrupted", kept=_kept(file.parent))


def _parsed(file: Path) -> RunRecord:
    try:
        return from_statement(json.loads(file.read_bytes()))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def record_digest(project: Path, run: str) -> Digest | None:
    """Return the digest of a run's record as it stands, or None where it cannot be read."""
    try:
        return Digest.of((runs_directory(project) / run / RECORD).read_bytes())
    except OSError:
        return None


def list_runs(project: Path, steps: Collection[str] | None = None) -> Runs:
    """Return the runs of the project in this directory, or of some of its steps; what was killed early is none.

    Errors: `StoreError` when they cannot be listed.
    """
    root = runs_directory(project)
    with os_errors(f"list {root}"):
        found = os.listdir(root) if root.is_dir() else []  # thousands of names, of which few become paths
        wanted = [root / name for name in found if steps is None or _step_of(name) in steps]
        directories = [path for path in wanted if (path / RECORD).exists()]
    records: list[RunRecord] = []
    damaged: list[Damaged] = []
    for directory in sorted(directories, key=lambda path: path.name, reverse=True):
        try:
            records.append(read_record(directory))
        except (OSError, ValueError) as error:
            damaged.append(Damaged(directory=directory, why=_reason(error)))
    records.sort(key=lambda record: (record.started, record.id), reverse=True)
    return Runs(records=tuple(records), damaged=tuple(damaged))


def _step_of(run: str) -> str:
    """Return the step that a run's id names."""
    return run.partition("-")[2].rpartition("-")[0]


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return f"{RECORD}: {error.strerror}"
    if isinstance(error, json.JSONDecodeError):
        cut_off = "it is cut off" if error.doc else "it is empty"
        return f"{RECORD}: {cut_off if error.pos >= len(error.doc.rstrip()) else error}"
    return f"{RECORD}: {error}"


def _lives(directory: Path) -> bool:
    """Whether the process of a run still holds its lock."""
    try:
        with (directory / ALIVE).open("rb") as alive:
            fcntl.flock(alive, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def find_run(project: Path, text: str) -> Run:
    """Return the run that `text` means.

    It is one of: `last`; a run's id, its beginning, or its last four digits, as long as one run alone has them; a
    step, for its last run, if it can be one that repeats no other; a path to a record or to the directory with one, of
    any project.
    Errors: `UsageError` for what means no run or more than one, `StoreError` for a record that cannot be read.
    """
    if "/" in text or text.endswith(".json"):
        return _at(Path(text))
    runs = list_runs(project)
    records = {record.id: record for record in runs.records}
    of_step = next((record.id for record in (*runs.own, *runs.records) if record.step == text), None)
    chosen = _last(records, text) or of_step
    if chosen is None:
        chosen = _only(text, [*records, *(damaged.directory.name for damaged in runs.damaged)])
    if chosen not in records:
        raise _unreadable(next(damaged for damaged in runs.damaged if damaged.directory.name == chosen))
    return Run(directory=runs_directory(project) / chosen, record=records[chosen])


def _at(path: Path) -> Run:
    file = path / RECORD if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"there is no record at {path}", hint="`repro runs` lists this project's runs")
    with os_errors(f"read {file}"):
        try:
            return Run(directory=file.parent, record=read_record(file))
        except ValueError as error:
            raise StoreError(f"{file} is no record of a run", str(error)) from error


def _last(ids: Iterable[str], text: str) -> str | None:
    """Return the newest of the ids, which come first, for `last`."""
    newest = next(iter(ids), None)
    if text == _LAST and newest is None:
        raise UsageError("there is no last run", "nothing was run in this project yet", "run `repro exec STEP`")
    return newest if text == _LAST else None


def _only(text: str, ids: list[str]) -> str:
    """Return the one id that is `text`, begins with it, or ends with its four digits."""
    if text in ids:
        return text
    found = [run for run in ids if text and run.startswith(text)]
    if not found and _ENDING.match(text):
        found = [run for run in ids if run.endswith(f"-{text}")]
    if len(found) > 1:
        raise UsageError(f"{text} is the beginning of {len(found)} runs", _some(found), "give more of the id")
    if not found:
        raise _no_run(text, ids)
    return found[0]


def _no_run(text: str, ids: list[str]) -> UsageError:
    from difflib import get_close_matches  # noqa: PLC0415 - only for a mistake

    near = get_close_matches(text, ids, n=_SHOWN)
    listed = f"near are\n{_some(near)}" if near else f"the newest are\n{_some(ids)}"
    why = f"no run has that id, and no step of that name was run; {listed}" if ids else "nothing was run here yet"
    return UsageError(f"there is no run {text!r}", why, "`repro runs` lists them" if ids else "run `repro exec STEP`")


def _some(ids: list[str]) -> str:
    more = [f"and {len(ids) - _SHOWN} more"] if len(ids) > _SHOWN else []
    return "\n".join([*ids[:_SHOWN], *more])


def _unreadable(damaged: Damaged) -> StoreError:
    hint = "restore the file, or remove that directory"
    return StoreError(f"the record of run {damaged.directory.name} cannot be read", damaged.why, hint)
