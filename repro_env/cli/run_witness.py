"""What lies beside the records of runs, for their comparison: locks, code, manifests."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from pathlib import Path

from repro_env.cli.history import home_around, kept_runs
from repro_env.cli.project import LOCK_FILE
from repro_env.config.comparison import EXACT, Comparison
from repro_env.data import manifest
from repro_env.edges import process
from repro_env.edges.report import Silent
from repro_env.errors import LockError, StoreError, ToolError
from repro_env.lock.model import Lock
from repro_env.lock.parse import parse_lock
from repro_env.record.code import CodeChange, RecordedCode, code_changes
from repro_env.record.comparison.base import ComparisonError
from repro_env.record.comparison.compare import compare
from repro_env.record.difference import Content, Evidence
from repro_env.record.differences import Witness
from repro_env.record.model import RecordedOutput, RunRecord
from repro_env.record.runs import Run, list_runs
from repro_env.values import Digest


class RunWitness:
    """Knows the runs that lie with those compared, and reads what each left; what is missing or damaged is unknown."""

    def __init__(self, compared: Sequence[Run]) -> None:
        homes = dict.fromkeys(map(home_around, compared))
        self._kept = {home: list_runs(home) for home in homes if home}
        self._runs = {run.record.id: run for home, runs in self._kept.items() for run in kept_runs(home, runs)}
        self._runs |= {run.record.id: run for run in compared}

    @property
    def witness(self) -> Witness:
        """What a comparison asks."""
        return Witness(run=self._record, evidence=self._evidence, code=self._code, files=self._files)

    def _record(self, run: str) -> RunRecord | None:
        found = self._runs.get(run)
        return found.record if found else None

    def _evidence(self, record: RunRecord) -> Evidence:
        return Evidence(record=record, lock=self._lock(record))

    def _lock(self, record: RunRecord) -> Lock | None:
        text = _kept(self._runs[record.id].directory / LOCK_FILE, record.lock)
        try:
            return None if text is None else parse_lock(text.decode(), file=LOCK_FILE)
        except (LockError, UnicodeDecodeError):
            return None

    def _code(self, before: RunRecord, after: RunRecord) -> Sequence[CodeChange] | None:
        old, new = self._recorded_code(before), self._recorded_code(after)
        if old is None or new is None or (before.definition and before.definition == after.definition):
            return None
        for place in (new.directory, old.directory, Path.cwd()):
            with contextlib.suppress(ToolError):  # not a repository
                if (changes := code_changes(place, old, new, process.run)) is not None:
                    return changes
        return None

    def _recorded_code(self, record: RunRecord) -> RecordedCode | None:
        return RecordedCode(git=record.git, directory=self._runs[record.id].directory) if record.git else None

    def _files(self, before: Content, after: Content) -> Sequence[str]:
        if isinstance(before, RecordedOutput) and isinstance(after, RecordedOutput):
            return (*self._by_file(before, after), *self._by_content(before, after))
        return self._by_file(before, after)

    def _by_file(self, before: Content, after: Content) -> Sequence[str]:
        old, new = self._manifest(before.digest), self._manifest(after.digest)
        if old is None or new is None:  # a file has none
            return ()
        try:
            return manifest.differences(manifest.parse(old), manifest.parse(new))
        except ValueError:
            return ()

    def _by_content(self, then: RecordedOutput, now: RecordedOutput) -> Sequence[str]:
        """Return what differs first where both outputs are still somewhere, as those of a run and its repetition."""
        text = now.compare or then.compare or EXACT
        try:
            comparison = Comparison.parse(text)
        except ValueError:
            return ()
        if comparison.method == "command":
            return ("a command compares them, which `repro reproduce` runs",)
        places = self._place(then), self._place(now)
        if places[0] is None or places[1] is None:
            return ()
        try:
            verdict = compare(places[0], places[1], comparison, run_command=_no_command)
        except (ComparisonError, StoreError):
            return ()
        return (f"equal as {text}: {verdict}" if verdict.equal else str(verdict),)

    def _place(self, output: RecordedOutput) -> Path | None:
        """Return where an output still stands as a run left it, or None."""
        from repro_env.cli.recovered import Shelf  # noqa: PLC0415 - most outputs that differ replaced each other

        shelves = (Shelf(home, runs, Silent()) for home, runs in self._kept.items())
        return next((place for shelf in shelves if (place := shelf.output_of(output))), None)

    @functools.cache  # noqa: B019 - lives as long as the command
    def _manifest(self, digest: Digest) -> bytes | None:
        """Return the manifest with this digest, of data or of a run's output, where it is kept."""
        candidates = [home / ".repro" / "manifests" / digest.hex for home in self._kept]
        candidates += [
            run.directory / "manifests" / f"{made.name}.manifest"
            for run in self._runs.values()
            for made in run.record.outputs
            if made.digest == digest
        ]
        return next((text for path in candidates if (text := _kept(path, digest)) is not None), None)


def _no_command(_words: Sequence[str], _then: Path, _now: Path) -> tuple[int, str]:
    raise ComparisonError("a command is not run for this")


def _kept(path: Path, digest: Digest | None) -> bytes | None:
    """Return a file's bytes if they are those that were recorded."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data if Digest.of(data) == digest else None
