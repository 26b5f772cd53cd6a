"""Runs repeated: code, lock, image, inputs as they were, then the outputs held against what they were."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from repro_env import __version__
from repro_env.cli.beside import run_beside
from repro_env.cli.inputs import Verifier
from repro_env.cli.interruption import ASKING_TO_END, interruption
from repro_env.cli.recovered import Made, Recovered, Shelf, differences_by_file
from repro_env.cli.restoring import Restored, Restorer
from repro_env.cli.running import Finished, Prepared, Repeating, Run
from repro_env.config.comparison import EXACT, Comparison
from repro_env.edges.files import os_errors
from repro_env.edges.report import Reporter
from repro_env.errors import RuntimeUnavailableError, VerificationError
from repro_env.frozen import dataclass
from repro_env.image.store import Store
from repro_env.record.comparison.base import ComparisonError
from repro_env.record.comparison.compare import check_available
from repro_env.record.model import RecordedOutput, RunRecord
from repro_env.record.repeated import (
    ComparedOutput,
    Originals,
    compare_outputs,
    ended_differently,
    machine_differences,
)
from repro_env.record.restore import RestoreError
from repro_env.record.runs import Run as KeptRun
from repro_env.record.runs import list_runs
from repro_env.record.words import visible
from repro_env.run.execute import move_into_place


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How a person wants runs repeated.

    With `here` the code and lock that are checked out now are used; else `repository` is where the commit is, by
    default the project's own. `upstream` repeats the makers of inputs that are gone, too. `comparisons` are used
    instead of the recorded ones, by output. `output` is where what is made goes once it was compared; None leaves it
    with the new run.
    """

    here: bool = False
    repository: str = ""
    runtime: str = ""
    allowed: Collection[str] = ()
    upstream: bool = False
    comparisons: Mapping[str, str] = field(default_factory=dict)
    output: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """A run and the one that repeated it.

    `directory` is the new run's, and what it made is below `place`. `changed` says in words what the new one
    started from that the old one did not: packages, code, image. `elsewhere` is what differs of the machine, and
    `ended` how it ended otherwise, if so. `cause` is what their records say of why outputs differ.
    """

    then: RunRecord
    now: RunRecord
    directory: Path
    place: Path
    here: bool
    seconds: float
    changed: tuple[str, ...]
    elsewhere: tuple[str, ...]
    ended: str
    outputs: tuple[ComparedOutput, ...]
    cause: str = ""

    @property
    def equal(self) -> bool:
        """Whether the run ended as it did then, with equal outputs."""
        return not self.ended and all(output.equal for output in self.outputs)


class Reproducer:
    """Repeats runs of one project, `home`, which keeps the new runs and none of whose files is touched."""

    def __init__(
        self, home: Path, store: Store, report: Reporter, wishes: Wishes, beside: Sequence[KeptRun] = ()
    ) -> None:
        """`beside` are runs of elsewhere that others may need the outputs of."""
        self._beside = {run.record.id: run for run in beside}
        self._home, self._store, self._report, self._wishes = home, store, report, wishes
        self._shelf = Shelf(home, list_runs(home), report)
        self._restorer = Restorer(home, report, here=wishes.here, repository=wishes.repository)
        self._waiting: set[str] = set()

    def reproduce(self, found: KeptRun) -> Iterator[Reproduction]:
        """Repeat a run, and yield how it went; with `upstream`, first the runs whose outputs it needs and are gone.

        Errors: `RestoreError` for what is gone, and all that keeps a step from being started.
        """
        record = found.record
        _check_ended(record)
        _check_comparisons(record, self._wishes)
        with self._restorer.restored(found) as restored:
            recovered = Recovered(
                record, restored.lock, self._shelf, restored.workspace.root, self._present_inputs(restored)
            )
            step = restored.lock.steps[record.step]
            for maker in recovered.missing_makers(step) if self._wishes.upstream else ():
                for result in self._upstream(maker, record.id):
                    yield result
                    if not result.equal:
                        self._report.warn(f"run {record.id} is not repeated: an input of it came out different")
                        return
            yield self._repeat(found, restored, recovered)

    def _present_inputs(self, restored: Restored) -> Verifier | None:
        """Return what finds inputs as they are to be now, where that is what is asked for."""
        if not self._wishes.here:
            return None
        return Verifier(restored.workspace, restored.lock, self._shelf.runs, self._report)

    def _upstream(self, maker: str, run: str) -> Iterator[Reproduction]:
        own = {record.id: record for record in self._shelf.runs.records}
        if maker in own:
            known = KeptRun(directory=self._shelf.run_directory(maker), record=own[maker])
        elif maker in self._beside:
            known = self._beside[maker]
        else:
            why = f"run {run} takes what it made, and that is gone, too"
            raise RestoreError(f"the record of run {maker} is gone", why, "put its directory back below .repro/runs")
        if maker in self._waiting:
            raise RestoreError(f"run {maker} takes its own output", "its records stand in a circle")
        self._waiting.add(maker)
        yield from self.reproduce(known)

    def _repeat(self, found: KeptRun, restored: Restored, recovered: Recovered) -> Reproduction:
        record, began = found.record, time.monotonic()
        run = self._run(record, restored, recovered)
        prepared = run.prepare()
        changed = (*restored.changed, *_image_changed(record, prepared))
        if changed:
            self._report.warn("what runs is not what ran:\n  " + "\n  ".join(changed))
        finished = run.start(prepared, record.arguments)
        if not finished.started:
            raise VerificationError(f"run {record.id} could not be repeated here", "its machine check failed above")
        now = finished.record
        if now.signal in ASKING_TO_END and now.signal != record.signal:
            raise interruption(now.signal)  # it went to the step, and was meant for all
        outputs = self._compared(found, now, run, prepared)
        place = self._delivered(record, finished)
        result = Reproduction(
            then=record,
            now=now,
            directory=self._shelf.run_directory(now.id),
            place=place,
            here=self._wishes.here,
            seconds=time.monotonic() - began,
            changed=(*(changed or _code_changed(record, now)), *_inputs_changed(record, now)),
            elsewhere=machine_differences(record, now),
            ended=ended_differently(record, now),
            outputs=outputs,
        )
        return result if result.equal else replace(result, cause=_cause(found, result))

    def _run(self, record: RunRecord, restored: Restored, recovered: Recovered) -> Run:
        """Return the run to be, in the runtime that was asked for, else the recorded one, else the best here."""
        git = None if self._wishes.here else record.git
        repeating = Repeating(run=record.id, lock=restored.lock, home=self._home, verifier=recovered, git=git)
        allowed = {*record.waived, *self._wishes.allowed}

        def made(runtime: str) -> Run:
            return Run(
                restored.workspace,
                record.step,
                self._store,
                self._report,
                runtime=runtime,
                allowed=allowed,
                repeating=repeating,
            )

        if self._wishes.runtime:
            return made(self._wishes.runtime)
        try:
            return made(record.runtime)
        except RuntimeUnavailableError as error:
            asked = visible(record.runtime)
            self._report.warn(f"the run was made with runtime {asked}, which cannot be used here: {error.why}")
            return made("")

    def _delivered(self, record: RunRecord, finished: Finished) -> Path:
        """Move what was made to where it is wanted, note it for runs that need it, and return where it is."""
        made = self._shelf.run_directory(finished.record.id) / "output"
        root = self._wishes.output or made
        for output in finished.record.outputs:
            place = root / output.path
            if root != made:
                with os_errors(f"move output {output.name} to {place}"):
                    move_into_place(made / output.path, place)
            self._shelf.made[record.id, output.name] = Made(run=finished.record.id, place=place)
        return root

    def _compared(self, found: KeptRun, now: RunRecord, run: Run, prepared: Prepared) -> tuple[ComparedOutput, ...]:
        directory = self._shelf.run_directory(now.id)
        kept = {"then": found.directory, "now": directory}

        def place(output: RecordedOutput) -> Path:
            return directory / "output" / output.path

        def run_command(words: Sequence[str], then: Path, after: Path) -> tuple[int, str]:
            name = f"{now.id}-beside"
            return run_beside(run, prepared, name, directory / "beside", words, {"a": then, "b": after})

        originals = Originals(
            then=self._shelf.output_of,
            now=place,
            by_file=lambda then, after: differences_by_file(kept, then, after),
        )
        comparisons = self._wishes.comparisons
        return compare_outputs(found.record, now, originals, run_command=run_command, comparisons=comparisons)


def _check_ended(record: RunRecord) -> None:
    what = f"run {record.id} has no end to compare with"
    if record.status == "started":
        raise RestoreError(what, "it is still running", "wait for its end, or name another run")
    if record.status == "interrupted":
        raise RestoreError(what, "it was interrupted, and nothing came of it", f"run `repro exec {record.step}`")


def _check_comparisons(record: RunRecord, wishes: Wishes) -> None:
    """Check before a long run that what it makes can be compared. Errors: `ComparisonError`."""
    for output in record.outputs:
        text = wishes.comparisons.get(output.name) or output.compare or EXACT
        try:
            comparison = Comparison.parse(text)
        except ValueError as error:  # of a later program, or a record that somebody wrote
            hint = f"say another way: --compare {output.name}=exact"
            raise ComparisonError(f"output {output.name} cannot be compared as {text!r}", str(error), hint) from error
        if output.kind == "file":
            check_available(comparison, output.path)


def _cause(found: KeptRun, result: Reproduction) -> str:
    from repro_env.cli.run_witness import RunWitness  # noqa: PLC0415 - only where outputs differ
    from repro_env.record.differences import compare, headline  # noqa: PLC0415 - same

    witness = RunWitness((found, KeptRun(directory=result.directory, record=result.now))).witness
    return headline(compare(result.then, result.now, witness))


def _image_changed(record: RunRecord, prepared: Prepared) -> Iterator[str]:
    """Yield in words that an image is not the one that ran."""
    built = prepared.built
    if built is None:
        return
    pairs = (("environment image", record.environment_image, built.environment), ("image", record.image, built.image))
    for name, then, now in pairs:
        if then is not None and then != now:
            by = "" if record.program == __version__ else f" (made by repro {record.program} then, {__version__} now)"
            yield f"the {name} is another: {then} then, {now} now{by}"
            return


def _code_changed(then: RunRecord, now: RunRecord) -> tuple[str, ...]:
    """Return in words that the code is not what ran, which only the new record tells."""
    same = then.definition in {None, now.definition}
    return () if same else ("the step's code, or a package of your own, is not the one that ran",)


def _inputs_changed(then: RunRecord, now: RunRecord) -> Iterator[str]:
    """Yield in words which inputs are not the bytes of then."""
    used = {one.name: one.digest for one in then.inputs}
    for one in now.inputs:
        before = used.get(one.name)
        if one.digest != before:
            then_was = f"sha256:{before.short}" if before else "none"
            yield f"input {one.name} is another: {then_was} then, sha256:{one.digest.short} now"
