"""A step's inputs as they are now, held against the lock and against the runs that made them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from repro_env.cli.project import Workspace
from repro_env.data.cache import StatCache
from repro_env.data.measure import Measured, measure
from repro_env.data.verify import compare, demand
from repro_env.edges.report import Reporter
from repro_env.errors import StoreError, VerificationError
from repro_env.lock.model import Lock, LockedStep
from repro_env.record.model import RecordedInput, RecordedOutput, RunRecord
from repro_env.record.runs import Runs
from repro_env.run.plan import Input
from repro_env.values import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The inputs of one step, verified: for the plan, and for the record."""

    planned: tuple[Input, ...]
    recorded: tuple[RecordedInput, ...]


class Verifier:
    """Measures a project's inputs, reading again only what changed since it was last read."""

    def __init__(self, workspace: Workspace, lock: Lock, runs: Runs, report: Reporter) -> None:
        self._workspace, self._lock, self._runs, self._report = workspace, lock, runs, report
        self._state = workspace.root / ".repro"
        self._cache = StatCache(self._state / "stat-cache")

    def verify(self, step: LockedStep) -> Inputs:
        """Return a step's inputs.

        Errors: `VerificationError` when data is not as locked, or another step's output not as its last run left it.
        """
        findings, planned, recorded = [], [], []
        for name in step.inputs:
            if "." in name:
                declared, found = self._upstream(step, name)
            else:
                locked = self._lock.data[name]
                declared, measured = locked.path, self._measure(locked.path)
                findings.append(compare(locked, measured, manifests=self._state / "manifests"))
                found = _recorded(name, measured, None)
            planned.append(Input(name=name, declared=declared, source=self._place(declared)))
            recorded.append(found)
        demand(findings)
        return Inputs(planned=tuple(planned), recorded=tuple(recorded))

    def digest_now(self, name: str) -> Digest | None:
        """Return what an input is at this moment, or None if it is not there or cannot be read."""
        step, _, output = name.partition(".")
        declared = self._lock.steps[step].outputs[output] if output else self._lock.data[name].path
        try:
            return self._measure(declared).digest
        except (VerificationError, StoreError):
            return None

    def output(self, name: str, declared: str, place: Path) -> RecordedOutput:
        """Return an output that is declared to stand at `declared` and now is at `place`."""
        found = measure(place, reporter=self._report, cache=self._cache)
        return RecordedOutput(
            name=name, path=declared, kind=found.kind, digest=found.digest, files=found.files, size=found.size
        )

    def _upstream(self, step: LockedStep, name: str) -> tuple[str, RecordedInput]:
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
            raise _changed(name, declared, last, made, measured)
        return declared, _recorded(name, measured, last.id)

    def _measure(self, declared: str) -> Measured:
        return measure(self._place(declared), reporter=self._report, cache=self._cache)

    def _place(self, declared: str) -> Path:
        return self._workspace.root / declared


def _recorded(name: str, found: Measured, run: str | None) -> RecordedInput:
    return RecordedInput(name=name, kind=found.kind, digest=found.digest, files=found.files, size=found.size, run=run)


def _changed(name: str, declared: str, last: RunRecord, made: RecordedOutput, found: Measured) -> VerificationError:
    why = f"{declared}\n  needed {made.digest}, as run {last.id} left it\n  found  {found.digest}"
    hint = f"run `repro exec {last.step}` again; what was changed by hand cannot be traced"
    return VerificationError(f"input {name} is not what its step made", why, hint)
