"""A step's inputs as they are now, held against the lock and against the runs that made them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from repro_env.cli.project import Workspace, store_root
from repro_env.data.cache import StatCache
from repro_env.data.inputs import DataInputs
from repro_env.data.measure import Measured, measure
from repro_env.data.verify import DataFinding, compare, demand
from repro_env.data.watch import was_written
from repro_env.edges.files import write_atomically
from repro_env.edges.report import Reporter
from repro_env.errors import StoreError, VerificationError
from repro_env.frozen import dataclass
from repro_env.lock.model import Lock, LockedStep
from repro_env.record.model import RecordedInput, RecordedOutput, RunRecord
from repro_env.record.runs import Runs, record_digest
from repro_env.record.statement import manifest_name
from repro_env.run.plan import Input
from repro_env.values import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """An input as it was measured before the run, and where it stands."""

    name: str
    place: Path
    measured: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One input: where it stands, what was measured there, its record, and its finding where the lock pins it."""

    declared: str
    measured: Measured
    recorded: RecordedInput
    finding: DataFinding | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The inputs of one step, verified: for the plan, for the record, and for a look at them after the run."""

    planned: tuple[Input, ...]
    recorded: tuple[RecordedInput, ...]
    watched: tuple[Watched, ...] = ()


def as_left(inputs: Inputs) -> tuple[RecordedInput, ...]:
    """Return the inputs for the record of a run that has ended: what was written to meanwhile says so."""
    written = {one.name for one in inputs.watched if was_written(one.place, one.measured)}
    return tuple(replace(used, changed=used.name in written) for used in inputs.recorded)


def as_output(name: str, declared: str, found: Measured, run: Path) -> RecordedOutput:
    """Return an output for a record, and keep a directory's manifest in `run`. Errors: `StoreError`."""
    output = RecordedOutput(
        name=name, path=declared, kind=found.kind, digest=found.digest, files=found.files, size=found.size
    )
    if output.kind == "directory":
        write_atomically(run / manifest_name(output), found.manifest())
    return output


class Verifier:
    """Measures a project's inputs, reading again only what changed since it was last read."""

    def __init__(self, workspace: Workspace, lock: Lock, runs: Runs, report: Reporter, *, trust: bool = True) -> None:
        """Without `trust` every input is read whole, whatever the stat cache knows."""
        self._workspace, self._lock, self._runs, self._report = workspace, lock, runs, report
        self._trust = trust
        self._state = workspace.root / ".repro"
        self._cache = StatCache(self._state / "stat-cache")
        self._data = DataInputs(workspace.root, store_root(), report, os.environ)

    def verify(self, step: LockedStep) -> Inputs:
        """Return a step's inputs.

        Errors: one `VerificationError` for all data that is not as locked, and outputs of other steps that are not as
        their last runs left them.
        """
        found: dict[str, _Found] = {}
        failures: list[VerificationError] = []
        for name in step.inputs:
            try:
                found[name] = self._upstream(step, name) if "." in name else self._pinned(name)
            except VerificationError as error:
                failures.append(error)
        demand([one.finding for one in found.values() if one.finding], failures)
        return Inputs(
            planned=tuple(self._input(name, one) for name, one in found.items()),
            recorded=tuple(one.recorded for one in found.values()),
            watched=tuple(
                Watched(name=name, place=self._place(one.declared), measured=one.measured)
                for name, one in found.items()
            ),
        )

    def _input(self, name: str, found: _Found) -> Input:
        """Return what the step is given of an input that is right."""
        given = self._place(found.declared)
        if found.finding is not None:
            given = self._data.given(self._lock.data[name], found.measured)
        return Input(name=name, declared=found.declared, source=given)

    def _pinned(self, name: str) -> _Found:
        """Measure data and hold it against its pin."""
        locked = self._data.have(self._lock.data[name])
        measured = self._data.measure(locked, trust=self._trust)
        finding = compare(locked, measured, manifests=self._state / "manifests", root=self._workspace.root)
        recorded = _recorded(name, measured, None, pin=locked.pin, uri=locked.uri)
        return _Found(declared=locked.path, measured=measured, recorded=recorded, finding=finding)

    def digest_now(self, name: str) -> Digest | None:
        """Return what an input is at this moment, or None if it is not there or cannot be read."""
        step, _, output = name.partition(".")
        try:
            if output:
                return self._measure(self._lock.steps[step].outputs[output]).digest
            return self._data.measure(self._lock.data[name]).digest
        except (VerificationError, StoreError):
            return None

    def output(self, name: str, declared: str, place: Path, run: Path) -> RecordedOutput:
        """Return an output that is declared to stand at `declared` and now is at `place`."""
        return as_output(name, declared, measure(place, reporter=self._report, cache=self._cache), run)

    def _upstream(self, step: LockedStep, name: str) -> _Found:
        """Measure another step's output and hold it against what its last run made."""
        maker, _, output = name.partition(".")
        declared = self._lock.steps[maker].outputs[output]
        last = self._runs.last_success(maker)
        made = next((made for made in last.outputs if made.name == output), None) if last else None
        if last is None or made is None:
            why = f"step {step.name} reads {declared}, which step {maker} makes, and {maker} has no successful run here"
            raise VerificationError(f"input {name} has not been made", why, f"run `repro exec {maker}` first")
        if not self._place(declared).exists():
            why = f"{declared} was made by run {last.id} and is gone"
            raise VerificationError(f"input {name} is missing", why, f"run `repro exec {maker}` again")
        measured = self._measure(declared)
        if measured.digest != made.digest:
            raise _changed(name, declared, last, made, measured, self._runs.last(maker))
        used = replace(_recorded(name, measured, last.id), record=record_digest(self._workspace.root, last.id))
        return _Found(declared=declared, measured=measured, recorded=used)

    def _measure(self, declared: str) -> Measured:
        return measure(self._place(declared), reporter=self._report, cache=self._cache, trust=self._trust)

    def _place(self, declared: str) -> Path:
        return self._workspace.root / declared


def _recorded(name: str, found: Measured, run: str | None, *, pin: str = "sha256", uri: str = "") -> RecordedInput:
    return RecordedInput(
        name=name, kind=found.kind, digest=found.digest, files=found.files, size=found.size, run=run, pin=pin, uri=uri
    )


def _changed(
    name: str, declared: str, last: RunRecord, made: RecordedOutput, found: Measured, newest: RunRecord | None
) -> VerificationError:
    why = f"{declared}\n  needed {made.digest}, as run {last.id} left it\n  found  {found.digest}"
    if newest is not None and newest.status == "interrupted":
        why += f"\nrun {newest.id} was interrupted after that, and may have put its own there"
    hint = f"run `repro exec {last.step}` again; what was changed by hand cannot be traced"
    return VerificationError(f"input {name} is not what its step made", why, hint)
