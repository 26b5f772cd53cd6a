"""One run from its fresh directory to its outputs in their places.

A step writes below `.repro/runs/ID/output`, at the paths its outputs have in the project. When it succeeds each output
takes its place there in one rename; when it does not, all of them stay where they are and the project is as it was.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from repro_env.edges import files
from repro_env.edges.child import Ended
from repro_env.errors import ReproError
from repro_env.frozen import dataclass
from repro_env.run.plan import RunPlan
from repro_env.run.runtimes.base import Runtime

LOG = "output.log"
"""The name, in the run's directory, of what the step printed."""

REPLACED = "replaced"
"""The name, in the run's directory, of the directory with earlier outputs whose places were taken: to be removed."""


class OutputError(ReproError):
    """A step ended well and yet did not make what it declares, or what it made cannot take its place."""

    exit_status = 13
    exec_status = 124


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended.

    `wall_seconds` is the step's own time. `outputs` maps each output's name to where it is; when the step failed it is
    empty, and `kept` is the directory with whatever was written, or None if nothing was.
    """

    ended: Ended
    started: datetime
    finished: datetime
    wall_seconds: float
    outputs: Mapping[str, Path]
    kept: Path | None
    log: Path

    @property
    def status(self) -> int:
        """The step's exit status, 128+N for signal N."""
        return self.ended.status


def make_run_directory(project: Path, run: str) -> Path:
    """Make and return `.repro/runs/RUN` below the project. Errors: `StoreError`."""
    directory = project / ".repro" / "runs" / run
    with files.os_errors(f"make {directory}"):
        directory.mkdir(parents=True)
    return directory


def execute(
    plan: RunPlan, runtime: Runtime, *, project: Path | None, before_placing: Callable[[], object] = lambda: None
) -> Outcome:
    """Run a plan and move what it made into the project, or without one leave it where it was made.

    `plan.output` is the directory to make; it stands in the run's own. `before_placing` is called before anything is
    moved: there the caller can wait for its turn. Errors: the runtime's, `OutputError`, `StoreError`.
    """
    log = plan.output.parent / LOG
    _make_output_directory(plan)
    started, clock = datetime.now(UTC), time.monotonic()
    try:
        ended = runtime.run(plan, log=log)
        finished, wall_seconds = datetime.now(UTC), time.monotonic() - clock
        if ended.status == 0:
            before_placing()
        outputs = _take_outputs(plan, project) if ended.status == 0 else {}
    finally:
        _remove_empty(plan.output)
    return Outcome(
        ended=ended,
        started=started,
        finished=finished,
        wall_seconds=wall_seconds,
        outputs=outputs,
        kept=plan.output if plan.output.exists() and not (outputs and project is None) else None,
        log=log,
    )


def _make_output_directory(plan: RunPlan) -> None:
    with files.os_errors(f"make {plan.output}"):
        plan.output.mkdir(parents=True)
        for declared in plan.step.outputs.values():
            (plan.output / declared).parent.mkdir(parents=True, exist_ok=True)


def _take_outputs(plan: RunPlan, project: Path | None) -> dict[str, Path]:
    _check_outputs(plan)
    if project is None:
        return {name: plan.output / declared for name, declared in plan.step.outputs.items()}
    taken, replaced = {}, plan.output.parent / REPLACED
    for name, declared in plan.step.outputs.items():
        with files.os_errors(f"move output {name} to {declared}"):
            replaced.mkdir(exist_ok=True)
            move_into_place(plan.output / declared, project / declared, replaced / name)
        taken[name] = project / declared
    return taken


def _check_outputs(plan: RunPlan) -> None:
    wrong = []
    for name, declared in plan.step.outputs.items():
        made = plan.output / declared
        if link := _link_to(made, plan.output):
            wrong.append(f"{name}: {link} is a symbolic link, which would lead elsewhere outside the run")
        elif not made.exists():
            wrong.append(f"{name}: nothing was written at {plan.roots.output}/{declared}")
    if wrong:
        raise OutputError(
            f"step {plan.step.name} ended well without making what it declares",
            "\n".join(wrong),
            f"what it did write is in {plan.output}; "
            "give the command the place as {output.NAME}, or read it from REPRO_OUTPUT_NAME",
        )


def _link_to(made: Path, output: Path) -> Path | None:
    """Return the link by which an output is reached, if there is one: what is behind it may be anybody's."""
    places = (made, *made.parents)
    link = next((place for place in places[: places.index(output)] if place.is_symlink()), None)
    return link and link.relative_to(output)


def move_into_place(source: Path, target: Path, aside: Path | None = None) -> None:
    """Let a file or directory take the place of what stands at `target`, or of nothing.

    A reader finds the old one or the new one; only where a directory is replaced there is an instant with none, and it
    comes back if the second rename fails. Across file systems the copy is made beside the target first. An old
    directory goes to `aside`, for the caller to remove, since one of many files takes long to go; without that, or
    where that is on another file system, it is removed here. Errors: `OSError`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.parent / f".{target.name}.{secrets.token_hex(4)}"
    try:
        os.rename(source, beside)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, beside)
    try:
        _swap(beside, target, (*([aside] if aside else []), beside.with_name(f"{beside.name}.old")))
    except BaseException:
        with contextlib.suppress(OSError):
            os.rename(beside, source)
        raise


def _copy(source: Path, target: Path) -> None:
    try:
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy2(source, target)
    except BaseException:
        files.remove_tree(target)
        raise
    files.remove_tree(source)


def _swap(new: Path, target: Path, asides: Sequence[Path]) -> None:
    if not new.is_dir() and not (target.is_dir() and not target.is_symlink()):
        os.replace(new, target)
        return
    old = _set_aside(target, asides)
    try:
        os.rename(new, target)
    except BaseException:
        if old is not None:
            os.rename(old, target)
        raise
    if old == asides[-1]:
        files.remove_tree(old)


def _set_aside(target: Path, asides: Sequence[Path]) -> Path | None:
    """Move what stands at `target` to the first of the places that it can be moved to, and return that."""
    for aside in asides:
        try:
            os.rename(target, aside)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EXDEV or aside == asides[-1]:
                raise
        else:
            return aside
    return None


def _remove_empty(directory: Path) -> None:
    """Remove a directory tree that holds nothing but directories."""
    for path, _directories, _names in os.walk(directory, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)
