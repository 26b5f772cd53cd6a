"""One run of one step, from its checks to its record: what `repro exec` and `repro demo` share."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from repro_env.build.code import CodeFile, copy_code
from repro_env.build.native import Built
from repro_env.cli.determinism import warn_overridden
from repro_env.cli.inputs import Inputs, Verifier
from repro_env.cli.parts import Parts, image_for, this_platform
from repro_env.cli.project import Workspace, fresh_lock
from repro_env.cli.recording import Beginning, begun, concluded, unrecorded
from repro_env.cli.step_machine import StepMachine
from repro_env.cli.tracking import Tracker, tracked
from repro_env.config.exports import Exports
from repro_env.edges import files
from repro_env.edges.report import Reporter
from repro_env.frozen import dataclass
from repro_env.image.oci import read_image
from repro_env.image.store import Store
from repro_env.lock.model import Lock, LockedStep, Wheel
from repro_env.record.model import GitState, RecordedOutput, RunRecord
from repro_env.record.runs import OpenRun, list_runs, new_run_id, recording
from repro_env.record.sweep import cleared, sweep_runs
from repro_env.run.execute import Outcome, execute, make_run_directory
from repro_env.run.gpus import NOTHING
from repro_env.run.keep import keep
from repro_env.run.plan import Input, RunPlan, User, checked, plan_run
from repro_env.run.runtimes.base import Needs
from repro_env.run.runtimes.choose import choose_for, runtimes_of
from repro_env.run.secret_values import secret_values

if TYPE_CHECKING:
    from repro_env.verify.report import Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A run that has ended, and what a person may want to know of it."""

    record: RunRecord
    outcome: Outcome
    not_isolated: tuple[str, ...] = ()
    started: bool = True  # False where the machine, seen from inside, was not what the step needs


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run starts from. `built` is None for a runtime without an image."""

    inputs: Inputs
    code: Sequence[CodeFile]
    built: Built | None
    local: Sequence[Wheel]  # of people's own packages, for a runtime that installs wheels
    verification: Verification | None  # of the machine, before anything was built; None for a step that asks nothing

    @property
    def waived(self) -> tuple[str, ...]:
        """The checks of the machine that failed and were allowed to."""
        failed = self.verification.waived if self.verification else ()
        return tuple(dict.fromkeys(finding.name for finding in failed))


class Verifies(Protocol):
    """Finds and verifies a step's inputs, and measures what it made."""

    def verify(self, step: LockedStep) -> Inputs:
        """Return a step's inputs, each as it has to be. Errors: that of one which is not."""

    def output(self, name: str, declared: str, place: Path, run: Path) -> RecordedOutput:
        """Return an output that is declared to stand at `declared` and now is at `place`.

        A directory's manifest is kept in `run`, the run's own directory.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeating:
    """What a run that repeats another one takes from elsewhere than the project.

    `run` is the other one's id and `lock` its lock. `home` is the project that keeps the new run; what that makes stays
    in its own directory. `git` is what the other one records, where the code is restored from that.
    """

    run: str
    lock: Lock
    home: Path
    verifier: Verifies
    git: GitState | None = None


class Run:
    """A run in two parts: `prepare` checks and builds, with progress; `start` leaves the terminal to the step."""

    def __init__(
        self,
        workspace: Workspace,
        step: str,
        store: Store,
        report: Reporter,
        *,
        runtime: str = "",
        allowed: Collection[str] = (),
        repeating: Repeating | None = None,
        full: bool = False,
    ) -> None:
        """`allowed` are the names of findings that keep no run from starting; with `full` every input is read whole."""
        self._workspace, self._store, self._report, self._allowed = workspace, store, report, allowed
        self._repeating = repeating
        self._home = repeating.home if repeating else workspace.root
        self._lock = repeating.lock if repeating else fresh_lock(workspace)
        self._step = self._lock.steps[step]
        self._secrets = secret_values(step, self._step.secrets, os.environ)
        self._platform = this_platform(self._step)
        self._machine = StepMachine(workspace.root, self._step)
        self.runtime, self._gpus = choose_for(runtimes_of(store, report, runtime), self._machine.grant(), asked=runtime)
        self._verifier: Verifies = (
            repeating.verifier
            if repeating
            else Verifier(workspace, self._lock, list_runs(workspace.root, self._step.upstream), report, trust=not full)
        )

    def prepare(self) -> Prepared:
        """Verify the machine and the step's inputs, and have in the store what its runtime needs.

        Errors: all that keeps the step from being started.
        """
        # Before anything is built, so that a wrong machine is known in a second.
        isolated = self.runtime.needs is not Needs.WHEELS
        verification = self._machine.verify(self._lock, self._platform, self._allowed, isolated=isolated)
        warn_overridden((self._step,), self._report)
        inputs = self._verifier.verify(self._step)
        if gpus := self._machine.said(self._gpus):
            self._report.note(gpus)
        parts = Parts(
            workspace=self._workspace,
            lock=self._lock,
            step=self._step.name,
            platform=self._platform,
            store=self._store,
            report=self._report,
        )
        found = parts.for_wheels() if self.runtime.needs is Needs.WHEELS else parts.for_images()
        self._lock, self._step = found.lock, found.lock.steps[self._step.name]
        return Prepared(inputs, found.code, found.built, found.local, verification)

    def start(self, prepared: Prepared, arguments: Sequence[str] = ()) -> Finished:
        """Run the step to its end; `arguments` are appended to its command.

        The step's failure is no error: it is in the result. Errors: what keeps it from being started after all, or its
        outputs from taking their places.
        """
        now = datetime.now(UTC)
        run = new_run_id(self._step.name, now, secrets.token_hex)
        sweep_runs(self._home, now.timestamp())
        directory = make_run_directory(self._home, run)
        plan = self._plan(run, directory, prepared, arguments)
        open_ends = tuple(self.runtime.not_isolated(plan))
        if open_ends:
            self._report.warn(f"runtime {self.runtime.name} does not isolate:\n  " + "\n  ".join(open_ends))
        record = begun(self._beginning(plan, prepared, arguments), now)
        if lack := unrecorded(record, self._workspace.root):
            self._report.warn(lack)
        with (
            self._tracked(directory) as tracker,
            recording(directory, record, now=_now) as opened,
            cleared(directory),
        ):
            copy_code(prepared.code, directory / "code")
            tracker.started(record)
            finished = self._run(opened, plan, prepared)
        return replace(finished, not_isolated=open_ends)

    def plan_beside(self, prepared: Prepared, run: str, directory: Path, inputs: Sequence[Input]) -> RunPlan:
        """Return the plan of another command in the step's environment, to be given as `argv`, with these inputs."""
        bare = replace(
            self._step,
            command=(),
            inputs=tuple(one.name for one in inputs),
            outputs={},
            secrets=(),
            gpu=None,
            host=None,
        )
        given = replace(prepared, inputs=Inputs(planned=tuple(inputs), recorded=()))
        return self._plan(run, directory, given, (), bare)

    def _run(self, opened: OpenRun, plan: RunPlan, prepared: Prepared) -> Finished:
        """Run a plan whose record has begun, and conclude that."""
        # Runs of one step at once put their outputs into one place: each is measured before the next comes.
        turn = files.locked(self._home / ".repro" / "outputs.lock")
        with contextlib.ExitStack() as held:
            with self._machine.watched() as gpus:
                outcome = execute(
                    self._with_check(plan, opened.directory, prepared),
                    self.runtime,
                    project=None if self._repeating else self._home,
                    before_placing=lambda: held.enter_context(turn),
                )
            found = self._found_inside(opened.directory, prepared)
            outputs = self._outputs(outcome, opened.directory)
            use = gpus.use if gpus else None
            record = concluded(opened, outcome, inputs=prepared.inputs, outputs=outputs, gpus=use, found=found)
        if written := [used.name for used in record.inputs if used.changed]:
            self._report.warn(f"written to while the step ran, which the record says: {', '.join(written)}")
        return Finished(record=record, outcome=outcome, started=found is None or bool(found["started"]))

    def _tracked(self, directory: Path) -> contextlib.AbstractContextManager[Tracker]:
        """Return what tells others of the run, and signs its record. A run that repeats another is told to nobody."""
        exports = Exports() if self._repeating else self._workspace.project.exports
        return tracked(directory, exports, self._home, self._report.warn)

    def _found_inside(self, directory: Path, prepared: Prepared) -> Mapping[str, Any] | None:
        """Return what the check found where the step ran, which may be that its command must not be started."""
        if prepared.verification is None:
            return None
        from repro_env.cli.checking import read_verification  # noqa: PLC0415 - a step that asks for nothing

        return read_verification(directory)

    def _outputs(self, outcome: Outcome, directory: Path) -> list[RecordedOutput]:
        """Return what the step made; the run keeps the manifests of directories, and a copy of what is to be kept."""
        step = self._step
        # What is measured first is known to hold files, directories and links alone, which can be copied.
        made = [self._verifier.output(name, step.outputs[name], at, directory) for name, at in outcome.outputs.items()]
        for name in () if self._repeating else self._workspace.project.steps[step.name].keep:
            if name in outcome.outputs:
                keep(outcome.outputs[name], directory / "output" / step.outputs[name])
        return [replace(output, compare=step.compare.get(output.name, "")) for output in made]

    def _with_check(self, plan: RunPlan, directory: Path, prepared: Prepared) -> RunPlan:
        """Return the plan with what verifies the machine where the step runs; a step that asks nothing starts at once.

        Without a container that is here, and was done.
        """
        if prepared.verification is None:
            return plan
        from repro_env.cli import checking  # noqa: PLC0415 - a step that asks for nothing does without

        if prepared.built is None or not checking.can_check(self._step.python):
            checking.write_verification(directory, prepared.verification)
            if prepared.waived:
                names = ", ".join(prepared.waived)
                self._report.warn(f"step {self._step.name} goes on although this machine is not what it needs: {names}")
            return plan
        if self.runtime.needs is Needs.STEP_IMAGE:
            return checked(plan, checking.check_in_image(directory, self._allowed))
        # The lock that was read may be of before the build.
        carried = {wheel.sha256: code for wheel, code in prepared.built.gpu_code}
        lock = replace(self._lock, gpu_code={**self._lock.gpu_code, **carried})
        check = checking.check_beside_image(directory, lock, self._step, self._platform, self._allowed)
        return checked(plan, check)

    def _plan(
        self, run: str, directory: Path, prepared: Prepared, arguments: Sequence[str], step: LockedStep | None = None
    ) -> RunPlan:
        image = image_for(self.runtime, prepared.built)
        environment = self._step.environments[self._platform]
        step = step or self._step
        declared = read_image(self._store, image).env if image else {}
        gpus = self._gpus if step.gpu is not None else NOTHING
        if image and step.gpu is not None:
            root = self._lock.bases[step.base].roots[self._platform]
            gpus = self._machine.passing(gpus, root, {**declared, **step.variables})
        return plan_run(
            step,
            replace(environment, wheels=tuple(sorted((*environment.installed, *prepared.local)))),
            run=run,
            project=self._lock.project,
            image=image,
            image_environment=declared,
            gpus=gpus,
            inputs=prepared.inputs.planned,
            code=directory / "code",
            output=directory / "output",
            user=User(uid=os.getuid(), gid=os.getgid()),
            arguments=arguments,
            roots=self.runtime.roots(code=directory / "code", run=directory),
            secrets={name: value for name, value in self._secrets.items() if name in step.secrets},
        )

    def _beginning(self, plan: RunPlan, prepared: Prepared, arguments: Sequence[str]) -> Beginning:
        return Beginning(
            plan=plan,
            lock=self._lock,
            platform=self._platform,
            root=self._workspace.root,
            store=self._store,
            runtime=self.runtime.name,
            inputs=prepared.inputs,
            code=prepared.code,
            built=prepared.built,
            verification=prepared.verification,
            arguments=tuple(arguments),
            reproduces=self._repeating.run if self._repeating else "",
            cloned=self._repeating.git if self._repeating else None,
        )


def _now() -> datetime:
    return datetime.now(UTC)
