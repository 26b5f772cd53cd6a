"""One run of one step, from its checks to its record: what `repro exec` and `repro demo` share."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from repro_env import __version__
from repro_env.build.code import CodeFile, copy_code, find_code
from repro_env.build.images import Order, local_digests, local_wheels, warn_of_code
from repro_env.build.native import Built, step_definition
from repro_env.cli.build_command import built_steps
from repro_env.cli.determinism import warn_overridden
from repro_env.cli.inputs import Inputs, Verifier
from repro_env.cli.missing_report import warn_missing_in_new
from repro_env.cli.project import LOCK_FILE, Workspace, fresh_lock
from repro_env.edges import files, process
from repro_env.edges.report import Reporter
from repro_env.errors import LockError
from repro_env.image.oci import read_image
from repro_env.image.store import Store
from repro_env.lock.dump import dump_lock
from repro_env.lock.model import Lock, LockedStep, Wheel
from repro_env.record.facts import host_facts
from repro_env.record.git import git_state
from repro_env.record.model import RecordedOutput, RunRecord
from repro_env.record.runs import OpenRun, list_runs, new_run_id, recording
from repro_env.run.execute import Outcome, execute, make_run_directory
from repro_env.run.gpus import NOTHING
from repro_env.run.plan import Input, RunPlan, User, checked, plan_run
from repro_env.run.runtimes.base import Needs, Runtime
from repro_env.run.runtimes.choose import choose_for, runtimes_of
from repro_env.values import Digest, Platform

if TYPE_CHECKING:
    from repro_env.run.gpus import GpuGrant
    from repro_env.verify.facts import Facts
    from repro_env.verify.report import Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A run that has ended, and what a person may want to know of it."""

    record: RunRecord
    outcome: Outcome
    not_isolated: tuple[str, ...]
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

    def output(self, name: str, declared: str, place: Path) -> RecordedOutput:
        """Return an output that is declared to stand at `declared` and now is at `place`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeating:
    """What a run that repeats another one takes from elsewhere than the project.

    `run` is the other one's id and `lock` its lock. `home` is the project that keeps the new run; what that makes stays
    in its own directory.
    """

    run: str
    lock: Lock
    home: Path
    verifier: Verifies


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
    ) -> None:
        """`allowed` are the names of findings that keep no run from starting."""
        self._workspace, self._store, self._report, self._allowed = workspace, store, report, allowed
        self._repeating = repeating
        self._home = repeating.home if repeating else workspace.root
        self._lock = repeating.lock if repeating else fresh_lock(workspace)
        self._step = self._lock.steps[step]
        self._platform = this_platform(self._step)
        self._facts = self._machine()
        self.runtime, self._gpus = choose_for(runtimes_of(store, report), self._grant(), asked=runtime)
        self._verifier: Verifies = (
            repeating.verifier if repeating else Verifier(workspace, self._lock, list_runs(workspace.root), report)
        )

    def prepare(self) -> Prepared:
        """Verify the machine and the step's inputs, and have in the store what its runtime needs.

        Errors: all that keeps the step from being started.
        """
        verification = self._verify_machine()
        warn_overridden((self._step,), self._report)
        inputs = self._verifier.verify(self._step)
        built = self._build()
        if built is not None:
            return Prepared(inputs, built.code.files, built, (), verification)
        code = find_code(self._step, self._lock, self._workspace.root)
        warn_of_code({self._step.name: code}, self._report)
        order = Order(
            lock=self._lock,
            steps=(self._step.name,),
            platforms=(self._platform,),
            root=self._workspace.root,
            workers=1,
        )
        local = local_wheels(order, self._store, self._report)
        return Prepared(inputs, code.files, built, local.get((self._step.name, self._platform), ()), verification)

    def start(self, prepared: Prepared, arguments: Sequence[str] = ()) -> Finished:
        """Run the step to its end; `arguments` are appended to its command.

        The step's failure is no error: it is in the result. Errors: what keeps it from being started after all, or its
        outputs from taking their places.
        """
        now = datetime.now(UTC)
        run = new_run_id(self._step.name, now, secrets.token_hex)
        directory = make_run_directory(self._home, run)
        copy_code(prepared.code, directory / "code")
        try:
            plan = self._plan(run, directory, prepared, arguments)
            open_ends = tuple(self.runtime.not_isolated(plan))
            if open_ends:
                self._report.warn(f"runtime {self.runtime.name} does not isolate:\n  " + "\n  ".join(open_ends))
            # Runs of one step at once put their outputs into one place: each is measured before the next comes.
            turn = files.locked(self._home / ".repro" / "outputs.lock")
            with (
                contextlib.ExitStack() as held,
                recording(directory, self._record(plan, prepared, now), now=_now) as opened,
            ):
                outcome = execute(
                    self._with_check(plan, directory, prepared),
                    self.runtime,
                    project=None if self._repeating else self._home,
                    before_placing=lambda: held.enter_context(turn),
                )
                record = self._conclude(opened, outcome)
        finally:
            files.remove_tree(directory / "code")
            files.remove_tree(directory / "check")
        started = prepared.verification is None or self._was_started(directory)
        return Finished(record=record, outcome=outcome, not_isolated=open_ends, started=started)

    def plan_beside(self, prepared: Prepared, run: str, directory: Path, inputs: Sequence[Input]) -> RunPlan:
        """Return the plan of another command in the step's environment, to be given as `argv`, with these inputs."""
        bare = replace(
            self._step, command=(), inputs=tuple(one.name for one in inputs), outputs={}, gpu=None, host=None
        )
        given = replace(prepared, inputs=Inputs(planned=tuple(inputs), recorded=()))
        return self._plan(run, directory, given, (), bare)

    def _was_started(self, directory: Path) -> bool:
        """Whether the step's command was started: the check in a container may have found that it must not be."""
        from repro_env.cli.checking import read_verification  # noqa: PLC0415 - a step that asks for nothing

        found = read_verification(directory)
        return found is None or bool(found["started"])

    def _machine(self) -> Facts | None:
        """Return what this machine is, or None for a step that asks nothing of it."""
        if self._step.gpu is None and self._step.host is None:
            return None
        from repro_env.cli.machine import this_machine  # noqa: PLC0415 - a step that asks for nothing starts sooner

        return this_machine(self._workspace.root, self._step)

    def _grant(self) -> GpuGrant | None:
        if self._facts is None:
            return None
        from repro_env.cli.gpus import grant_of  # noqa: PLC0415 - same

        return grant_of(self._facts, self._step)

    def _verify_machine(self) -> Verification | None:
        """Verify the machine before anything is built, so that a wrong one is known in a second."""
        if self._facts is None:
            return None
        from repro_env.cli.machine import verify_machine  # noqa: PLC0415 - same

        return verify_machine(
            self._lock,
            self._step,
            self._platform,
            self._facts,
            self._allowed,
            isolated=self.runtime.needs is not Needs.WHEELS,
        )

    def _with_check(self, plan: RunPlan, directory: Path, prepared: Prepared) -> RunPlan:
        """Return the plan with what verifies the machine where the step runs; a step that asks nothing starts at once.

        Without a container that is here, and was done.
        """
        if prepared.verification is None:
            return plan
        from repro_env.cli import checking  # noqa: PLC0415 - same

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

    def _build(self) -> Built | None:
        """Have in the store what the runtime needs, and return the images, or None where it needs none."""
        if self.runtime.needs is not Needs.WHEELS:
            names, platforms = (self._step.name,), (self._platform,)
            built = built_steps(self._workspace, self._lock, names, platforms, self._store, self._report)
            warn_missing_in_new(self._workspace, self._lock, built, self._store, self._report)
            return built[0]
        environment = self._step.environments[self._platform]
        if environment.sources:
            self._have_sources_built()
        if not all(self._store.has(wheel.sha256, wheel.size) for wheel in environment.all_wheels):
            from repro_env.cli.fetching import Fetching  # noqa: PLC0415 - urllib3, which a warm start does without

            fetching = Fetching(self._workspace)
            fetching.have_wheels(self._lock, self._step.name, self._platform, self._store, self._report)
        return None

    def _have_sources_built(self) -> None:
        """Have in the store, and in the lock, the wheels of what the step takes from its sources."""
        from repro_env.cli.building_sources import with_sources_built  # noqa: PLC0415 - what most projects do without

        pair = (self._step.name, self._platform)
        made = with_sources_built(
            self._workspace, self._lock, [pair], self._store, self._report, workers=1, update=False
        )
        if made != self._lock:
            files.write_atomically(self._workspace.lock_path, dump_lock(made).encode())
        self._lock, self._step = made, made.steps[self._step.name]

    def _plan(
        self, run: str, directory: Path, prepared: Prepared, arguments: Sequence[str], step: LockedStep | None = None
    ) -> RunPlan:
        image = image_for(self.runtime, prepared.built)
        environment = self._step.environments[self._platform]
        step = step or self._step
        return plan_run(
            step,
            replace(environment, wheels=tuple(sorted((*environment.installed, *prepared.local)))),
            run=run,
            project=self._lock.project,
            image=image,
            image_environment=read_image(self._store, image).env if image else {},
            gpus=self._gpus if step.gpu is not None else NOTHING,
            inputs=prepared.inputs.planned,
            code=directory / "code",
            output=directory / "output",
            user=User(uid=os.getuid(), gid=os.getgid()),
            arguments=arguments,
            roots=self.runtime.roots(code=directory / "code", run=directory),
        )

    def _record(self, plan: RunPlan, prepared: Prepared, now: datetime) -> RunRecord:
        built = prepared.built
        return RunRecord(
            id=plan.run,
            project=self._lock.project,
            step=self._step.name,
            status="started",
            started=now,
            command=plan.argv,
            runtime=self.runtime.name,
            environment=tuple(sorted(plan.variables)),
            lock=Digest.of((self._workspace.root / LOCK_FILE).read_bytes()),
            definition=step_definition(
                self._lock,
                self._step,
                self._platform,
                prepared.code,
                local_digests(self._lock, self._step.name, self._platform, self._workspace.root, self._store),
            ),
            image=built.image if built else None,
            environment_image=built.environment if built else None,
            inputs=prepared.inputs.recorded,
            host=host_facts(),
            deterministic=bool(self._step.deterministic),
            waived=prepared.waived,
            git=git_state(self._workspace.root, [file.path for file in prepared.code], plan.output.parent, process.run),
            program=__version__,
            reproduces=self._repeating.run if self._repeating else "",
        )

    def _conclude(self, opened: OpenRun, outcome: Outcome) -> RunRecord:
        declared = self._step.outputs
        measured = [self._verifier.output(name, declared[name], place) for name, place in outcome.outputs.items()]
        outputs = [replace(output, compare=self._step.compare.get(output.name, "")) for output in measured]
        return opened.conclude(
            status="succeeded" if outcome.status == 0 else "failed",
            finished=outcome.finished,
            exit_status=None if outcome.ended.signal else outcome.status,
            signal=outcome.ended.signal,
            outputs=outputs,
        )


def image_for(runtime: Runtime, built: Built | None) -> Digest | None:
    """Return the image that a runtime starts from: the step's, the environment's, or none."""
    if built is None:
        return None
    return built.image if runtime.needs is Needs.STEP_IMAGE else built.packaged


def this_platform(step: LockedStep) -> Platform:
    """Return this machine's platform. Errors: `LockError` when the step is not locked for it."""
    machine = os.uname().machine
    for platform in step.environments:
        if platform.machine == machine:
            return platform
    known = ", ".join(map(str, sorted(step.environments)))
    why = f"this machine is {machine}; step {step.name} is locked for {known}"
    raise LockError("the lock has nothing for this machine", why, "add its platform to [project] platforms and lock")


def _now() -> datetime:
    return datetime.now(UTC)
