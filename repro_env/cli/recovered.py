"""What a run started from and what it made, found again by digest, wherever it still is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from repro_env.cli.inputs import Inputs, Verifier, Watched, as_output
from repro_env.cli.project import store_root
from repro_env.data import manifest
from repro_env.data.cache import StatCache
from repro_env.data.inputs import LOCAL, DataInputs
from repro_env.data.measure import Measured, measure
from repro_env.edges.report import Reporter
from repro_env.errors import StoreError, VerificationError
from repro_env.frozen import dataclass
from repro_env.lock.model import Lock, LockedStep
from repro_env.record.model import RecordedInput, RecordedOutput, RunRecord
from repro_env.record.restore import RestoreError
from repro_env.record.runs import Runs, record_digest, runs_directory
from repro_env.record.statement import manifest_name
from repro_env.run.plan import Input
from repro_env.values import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An output that was made again: where it is, and the run that made it."""

    run: str
    place: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """An input that is here: where, what was measured there, and how it is recorded."""

    place: Path
    measured: Measured
    recorded: RecordedInput


class Shelf:
    """Every place of a project that may still hold what a run used or made.

    `home` is the project; `made` is what was made again, by the original run's id and the output's name.
    """

    def __init__(self, home: Path, runs: Runs, report: Reporter) -> None:
        self.home, self.runs, self.report = home, runs, report
        self.made: dict[tuple[str, str], Made] = {}
        self._cache = StatCache(home / ".repro" / "stat-cache")

    def measure(self, place: Path) -> Measured | None:
        """Return what stands at a place now, or None for nothing that could be read."""
        try:
            return measure(place, reporter=self.report, cache=self._cache)
        except (VerificationError, StoreError):
            return None

    def find(self, digest: Digest, kind: str, declared: str) -> tuple[Path, Measured] | None:
        """Return a place that holds this very content: where it is declared to stand, or with a run that made it."""
        for place in self._places(digest, declared):
            found = self.measure(place) if place.exists() else None
            if found is not None and (found.digest, found.kind) == (digest, kind):
                return place, found
        return None

    def _places(self, digest: Digest, declared: str) -> Iterator[Path]:
        yield self.home / declared
        for record in self.runs.records:
            for output in record.outputs:
                if output.digest == digest:
                    yield self.run_directory(record.id) / "output" / output.path

    def run_directory(self, run: str) -> Path:
        """Return where a run of this project keeps what belongs to it."""
        return runs_directory(self.home) / run

    def output_of(self, output: RecordedOutput) -> Path | None:
        """Return where an output still stands as a run left it, or None."""
        found = self.find(output.digest, output.kind, output.path)
        return found[0] if found else None


class Recovered:
    """The inputs of a run, for the one that repeats it: the very bytes it had, wherever they are now."""

    def __init__(
        self, record: RunRecord, lock: Lock, shelf: Shelf, restored: Path, present: Verifier | None = None
    ) -> None:
        """`restored` is the directory with the run's code, which may hold data that is kept with it.

        `present` finds inputs as they are to be now, to be used where those of then are gone.
        """
        self._present = present
        self._used = {one.name: one for one in record.inputs}
        self._record, self._lock, self._shelf, self._restored = record, lock, shelf, restored

    def verify(self, step: LockedStep) -> Inputs:
        """Return the inputs; data from elsewhere is pulled again. Errors: one `RestoreError` with each that is gone."""
        inputs, gone = [], []
        for name in step.inputs:
            found = self._find(name)
            if found is not None:
                inputs.append(self._one(name, found))
            elif self._present is not None:
                inputs.append(self._present.verify(replace(step, inputs=(name,))))
            elif name in self._used:
                gone.append(self._gone(self._used[name], self._declared(name)))
            else:
                raise RestoreError(f"run {self._record.id} records no input {name}", "its lock names one")
        if gone:
            raise _inputs_gone(gone, upstream=any(used.run for used in self._used.values()))
        return Inputs(
            planned=tuple(one for each in inputs for one in each.planned),
            recorded=tuple(one for each in inputs for one in each.recorded),
            watched=tuple(one for each in inputs for one in each.watched),
        )

    def _find(self, name: str) -> _Found | None:
        used = self._used.get(name)
        if used is None:
            return None
        return self._upstream(used, self._declared(name)) if "." in name else self._data(used)

    def _one(self, name: str, found: _Found) -> Inputs:
        planned = Input(name=name, declared=self._declared(name), source=found.place)
        watched = Watched(name=name, place=found.place, measured=found.measured)
        return Inputs(planned=(planned,), recorded=(found.recorded,), watched=(watched,))

    def missing_makers(self, step: LockedStep) -> tuple[str, ...]:
        """Return the runs that made inputs which are gone."""
        used = [self._used[name] for name in step.inputs if name in self._used]
        makers = [one.run for one in used if one.run and self._upstream(one, self._declared(one.name)) is None]
        return tuple(dict.fromkeys(filter(None, makers)))

    def output(self, name: str, declared: str, place: Path, run: Path) -> RecordedOutput:
        """Return an output that is declared to stand at `declared` and now is at `place`. Errors: `StoreError`."""
        found = self._shelf.measure(place)
        if found is None:
            raise StoreError(f"output {name} cannot be read", str(place))
        return as_output(name, declared, found, run)

    def _declared(self, name: str) -> str:
        step, _, output = name.partition(".")
        return self._lock.steps[step].outputs[output] if output else self._lock.data[name].path

    def _upstream(self, used: RecordedInput, declared: str) -> _Found | None:
        """Return what another run made: as it was, or made again and found equal."""
        found = self._shelf.find(used.digest, used.kind, declared)
        if found is not None:
            return _Found(place=found[0], measured=found[1], recorded=replace(used, changed=False))
        again = self._shelf.made.get((used.run or "", used.name.partition(".")[2]))
        measured = self._shelf.measure(again.place) if again else None
        if again is None or measured is None:
            return None
        recorded = replace(
            used,
            digest=measured.digest,
            kind=measured.kind,
            files=measured.files,
            size=measured.size,
            run=again.run,
            record=record_digest(self._shelf.home, again.run),
            changed=False,
        )
        return _Found(place=again.place, measured=measured, recorded=recorded)

    def _data(self, used: RecordedInput) -> _Found | None:
        """Return data: in the project, with the code, or pulled from where the lock has it."""
        locked = self._lock.data[used.name]
        for root in (self._shelf.home, self._restored):
            data = DataInputs(root, store_root(), self._shelf.report, os.environ)
            if root == self._restored and locked.source not in LOCAL:
                data.have(locked)  # not in the project, whose own place may be meant to hold another by now
            try:
                measured = data.measure(locked)
            except (VerificationError, StoreError):
                continue
            if (measured.digest, measured.kind) == (used.digest, used.kind):
                given = data.given(locked, measured)
                seen = self._shelf.measure(given) or measured
                return _Found(place=given, measured=seen, recorded=replace(used, changed=False))
        return None

    def _gone(self, used: RecordedInput, declared: str) -> str:
        now = self._shelf.measure(self._shelf.home / declared)
        found = f"{now.kind} {now.digest}" if now else "nothing"
        maker = f", which run {used.run} made" if used.run else ""
        return f"{used.name} ({declared}){maker}\n  needed {used.kind} {used.digest}\n  found  {found}"


def _inputs_gone(gone: Sequence[str], *, upstream: bool) -> RestoreError:
    what = "an input of the run is gone" if len(gone) == 1 else f"{len(gone)} inputs of the run are gone"
    again = "; `--upstream` first repeats the runs that made what other steps gave it" if upstream else ""
    return RestoreError(what, "\n".join(gone), f"put the data back where it was{again}")


def differences_by_file(kept: Mapping[str, Path], then: RecordedOutput, now: RecordedOutput) -> Sequence[str]:
    """Return in words how two directories differ of which the manifests are kept; of anything else, nothing.

    `kept` are the directories of the two runs, by `then` and `now`.
    """
    texts = []
    for key, output in (("then", then), ("now", now)):
        try:
            text = (kept[key] / manifest_name(output)).read_bytes()
        except OSError:
            return ()
        if Digest.of(text) != output.digest:
            return ()
        texts.append(manifest.parse(text))
    return manifest.differences(texts[0], texts[1])
