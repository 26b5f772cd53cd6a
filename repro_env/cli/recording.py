"""What a run's record is made of, collected when it starts and when it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro_env import __version__
from repro_env.build.code import CodeFile
from repro_env.build.images import local_digests
from repro_env.build.native import Built, step_definition
from repro_env.cli.inputs import Inputs, as_left
from repro_env.cli.project import LOCK_FILE, PROJECT_FILE
from repro_env.edges import process
from repro_env.edges.files import os_errors, write_atomically
from repro_env.frozen import dataclass
from repro_env.image.store import Store
from repro_env.lock.model import Lock
from repro_env.lock.places import IMAGE_ROOTS, expand, input_place, output_place
from repro_env.record.facts import host_facts
from repro_env.record.git import git_state
from repro_env.record.model import GitState, Machine, RecordedFinding, RecordedGpu, RecordedOutput, Resources, RunRecord
from repro_env.record.runs import OpenRun
from repro_env.run.execute import Outcome
from repro_env.run.plan import RunPlan
from repro_env.values import Digest, Platform

if TYPE_CHECKING:
    from repro_env.verify.gpu_use import GpuUse
    from repro_env.verify.report import Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What a run starts from. `root` is the project whose code and lock it uses; `built` is None without an image.

    `arguments` were appended to the step's command, and `reproduces` is the run that this one repeats, if any; `cloned`
    is what that one records of git, where the code is in a clone made for this run.
    """

    plan: RunPlan
    lock: Lock
    platform: Platform
    root: Path
    store: Store
    runtime: str
    inputs: Inputs
    code: Sequence[CodeFile]
    built: Built | None
    verification: Verification | None
    arguments: tuple[str, ...] = ()
    reproduces: str = ""
    cloned: GitState | None = None


def begun(beginning: Beginning, now: datetime) -> RunRecord:
    """Return the record of a run that starts; beside it go the lock, and what of the code is not committed.

    Errors: `StoreError`.
    """
    plan, built, verification = beginning.plan, beginning.built, beginning.verification
    step, directory = plan.step, plan.output.parent
    return RunRecord(
        id=plan.run,
        project=plan.project,
        step=step.name,
        status="started",
        started=now,
        command=_command(beginning),
        arguments=beginning.arguments,
        variables=dict(step.variables),
        secrets=tuple(plan.secrets),
        environment=tuple(sorted({*plan.variables, *plan.secrets})),
        deterministic=bool(step.deterministic),
        reproduces=beginning.reproduces,
        runtime=beginning.runtime,
        lock=_copy_lock(beginning.root, directory),
        definition=_definition(beginning),
        image=built.image if built else None,
        environment_image=built.environment if built else None,
        inputs=beginning.inputs.recorded,
        git=_git(beginning, directory),
        host=host_facts(),
        machine=_machine(verification) if step.gpu is not None and verification else None,
        findings=_findings(verification) if verification else (),
        waived=_waived(_findings(verification)) if verification else (),
        program=__version__,
    )


def unrecorded(record: RunRecord, root: Path) -> str:
    """Return, for people, what of the code a record does not tell; nothing where it tells all that git could."""
    if record.git is None and any((place / ".git").exists() for place in (root, *root.parents)):
        return "the record names no commit: git knows none here, or does not answer (`git status` tells why)"
    omitted = record.git.omitted if record.git else ()
    return "the record does not have all that is not committed:\n  " + "\n  ".join(omitted) if omitted else ""


def concluded(
    opened: OpenRun,
    outcome: Outcome,
    *,
    inputs: Inputs,
    outputs: Sequence[RecordedOutput],
    gpus: GpuUse | None = None,
    found: Mapping[str, Any] | None = None,
) -> RunRecord:
    """Write and return the record of a run whose step has ended; `found` is what the check found where the step ran.

    Errors: `StoreError`.
    """
    ended = outcome.ended
    resources = Resources(
        wall_seconds=round(outcome.wall_seconds, 3),
        cpu_seconds=None if ended.cpu_seconds is None else round(ended.cpu_seconds, 3),
        peak_memory=ended.peak_memory,
        gpu_memory=gpus.memory if gpus else None,
        gpu_utilisation=gpus.utilisation if gpus else None,
    )
    findings = _checked(found) if found else opened.record.findings
    return opened.conclude(
        status="succeeded" if outcome.status == 0 else "failed",
        finished=outcome.finished,
        exit_status=None if ended.signal else outcome.status,
        signal=ended.signal,
        inputs=as_left(inputs),
        outputs=tuple(outputs),
        resources=resources,
        findings=findings,
        waived=_waived(findings),
    )


def _command(beginning: Beginning) -> tuple[str, ...]:
    """Return the command with places as they are in the image, whatever the runtime: the same on every machine."""
    step = beginning.plan.step
    inputs = {one.name: input_place(IMAGE_ROOTS, one.name, one.declared) for one in beginning.inputs.planned}
    outputs = {name: output_place(IMAGE_ROOTS, declared) for name, declared in step.outputs.items()}
    return (*expand(step.command, inputs=inputs, outputs=outputs), *beginning.arguments)


def _copy_lock(root: Path, directory: Path) -> Digest:
    source, target = root / LOCK_FILE, directory / LOCK_FILE
    with os_errors(f"read {source}"):
        text = source.read_bytes()
    write_atomically(target, text)
    return Digest.of(text)


def _definition(beginning: Beginning) -> Digest:
    step, lock, platform = beginning.plan.step, beginning.lock, beginning.platform
    local = local_digests(lock, step.name, platform, beginning.root, beginning.store)
    return step_definition(lock, step, platform, beginning.code, local)


def _git(beginning: Beginning, directory: Path) -> GitState | None:
    """Return the state of the repository; all of it counts where a package of people's own is beside the project."""
    local = beginning.plan.step.environments[beginning.platform].local
    code = [*(file.path for file in beginning.code), PROJECT_FILE]  # without it nobody could repeat the run
    whole = any(package.path.startswith("..") for package in local)
    found = git_state(beginning.root, code, directory, process.run, whole=whole)
    if found is None or beginning.cloned is None:
        return found
    return replace(found, branch=beginning.cloned.branch, remote=beginning.cloned.remote)


def _machine(verification: Verification) -> Machine | None:
    facts = verification.facts
    if facts is None:
        return None
    gpus = tuple(
        RecordedGpu(
            index=gpu.index,
            name=gpu.name,
            uuid=gpu.uuid,
            memory=gpu.memory,
            compute_capability=gpu.compute_capability,
            mig=gpu.mig,
        )
        for gpu in facts.gpus
    )
    return Machine(driver=facts.driver, cuda=facts.cuda, gpus=gpus)


def _findings(verification: Verification) -> tuple[RecordedFinding, ...]:
    return tuple(
        RecordedFinding(
            name=one.name,
            status=one.status,
            needed=one.needed,
            found=one.found,
            allowed=not one.is_met and one.name in verification.allowed,
        )
        for one in verification.findings
    )


def _checked(document: Mapping[str, Any]) -> tuple[RecordedFinding, ...]:
    """Return the findings of the document that the check wrote where the step ran."""
    names = ("name", "status", "needed", "found")
    return tuple(
        RecordedFinding(**{name: str(one.get(name, "")) for name in names}, allowed=one.get("allowed") is True)
        for one in document.get("findings") or ()
        if isinstance(one, dict)
    )


def _waived(findings: Sequence[RecordedFinding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.name for one in findings if one.allowed))
