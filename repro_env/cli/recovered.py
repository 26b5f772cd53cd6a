"""What a run started from and what it made, found again by digest, wherever it still is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from repro_env.cli.inputs import Inputs, as_output
from repro_env.data import manifest
from repro_env.data.cache import StatCache
from repro_env.data.measure import Measured, measure
from repro_env.edges.report import Reporter
from repro_env.errors import StoreError, VerificationError
from repro_env.lock.model import Lock, LockedStep
from repro_env.record.model import RecordedInput, RecordedOutput, RunRecord
from repro_env.record.restore import RestoreError
from repro_env.record.runs import Runs
from repro_env.run.plan import Input
from repro_env.values import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An output that was made again: where it is, and the run that made it."""

    run: str
    place: Path
    output: RecordedOutput


class Shelf:
    """Every place of a project that may still hold what a run used or made.

    `home` is the project; `made` is what was made again, by the original run's id and the output's name.
    """

    def __init__(self, home: Path, runs: Runs, report: Reporter) -> None:
        self.home, self.runs = home, runs
        self.made: dict[tuple[str, str], Made] = {}
        self._report = report
        self._cache = StatCache(home / ".repro" / "stat-cache")

    def measure(self, place: Path) -> Measured | None:
        """Return what stands at a place now, or None for nothing that could be read."""
        try:
            return measure(place, reporter=self._report, cache=self._cache)
        except (VerificationError, StoreError):
            return None

    def find(self, digest: Digest, kind: str, declared: str, *also: Path) -> Path | None:
        """Return a place that holds this very content: where it is declared to stand, in `also`, or with a run."""
        for place in self._places(digest, declared, also):
            found = self.measure(place) if place.exists() else None
            if found is not None and (found.digest, found.kind) == (digest, kind):
                return place
        return None

    def _places(self, digest: Digest, declared: str, also: Sequence[Path]) -> Iterator[Path]:
        yield self.home / declared
        yield from also
        for record in self.runs.records:
            for output in record.outputs:
                if output.digest == digest:
                    yield self.run_directory(record.id) / "output" / output.path

    def run_directory(self, run: str) -> Path:
        """Return where a run of this project keeps what belongs to it."""
        return self.home / ".repro" / "runs" / run

    def output_of(self, output: RecordedOutput) -> Path | None:
        """Return where an output still stands as a run left it, or None."""
        return self.find(output.digest, output.kind, output.path)


class Recovered:
    """The inputs of a run, for the one that repeats it: the very bytes it had, wherever they are now."""

    def __init__(self, record: RunRecord, lock: Lock, shelf: Shelf, restored: Path) -> None:
        """`restored` is the directory with the run's code, which may hold data that is kept with it."""
        self._record, self._lock, self._shelf, self._restored = record, lock, shelf, restored

    def verify(self, step: LockedStep) -> Inputs:
        """Return the inputs. Errors: one `RestoreError` with each that is gone."""
        used = {one.name: one for one in self._record.inputs}
        planned, recorded, gone = [], [], []
        for name in step.inputs:
            if name not in used:
                raise RestoreError(f"run {self._record.id} records no input {name}", "its lock names one")
            declared = self._declared(name)
            found = self._find(used[name], declared)
            if found is None:
                gone.append(self._gone(used[name], declared))
                continue
            planned.append(Input(name=name, declared=declared, source=found[0]))
            recorded.append(found[1])
        if gone:
            raise _inputs_gone(gone, upstream=any(used[name].run for name in step.inputs if name in used))
        return Inputs(planned=tuple(planned), recorded=tuple(recorded))

    def missing_makers(self, step: LockedStep) -> tuple[str, ...]:
        """Return the runs that made inputs which are gone."""
        used = {one.name: one for one in self._record.inputs}
        names = [name for name in step.inputs if name in used]
        gone = [used[name].run for name in names if self._find(used[name], self._declared(name)) is None]
        return tuple(dict.fromkeys(run for run in gone if run is not None))

    def output(self, name: str, declared: str, place: Path, run: Path) -> RecordedOutput:
        """Return an output that is declared to stand at `declared` and now is at `place`. Errors: `StoreError`."""
        found = self._shelf.measure(place)
        if found is None:
            raise StoreError(f"output {name} cannot be read", str(place))
        return as_output(name, declared, found, run)

    def _declared(self, name: str) -> str:
        step, _, output = name.partition(".")
        return self._lock.steps[step].outputs[output] if output else self._lock.data[name].path

    def _find(self, used: RecordedInput, declared: str) -> tuple[Path, RecordedInput] | None:
        again = self._shelf.made.get((used.run or "", used.name.partition(".")[2]))
        place = self._shelf.find(used.digest, used.kind, declared, self._restored / declared)
        if place is not None:
            return place, replace(used, changed=False)
        if again is None:
            return None
        output = again.output
        recorded = replace(
            used, digest=output.digest, kind=output.kind, files=output.files, size=output.size, run=again.run
        )
        return again.place, recorded

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

    `kept` are the directories of the two runs' manifests, by `then` and `now`.
    """
    texts = []
    for key, output in (("then", then), ("now", now)):
        try:
            text = (kept[key] / f"{output.name}.manifest").read_bytes()
        except OSError:
            return ()
        if Digest.of(text) != output.digest:
            return ()
        texts.append(manifest.parse(text))
    return manifest.differences(texts[0], texts[1])
