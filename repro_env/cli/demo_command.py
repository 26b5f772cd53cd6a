"""`repro demo`: a small real pipeline, locked, built and run, on a fresh machine."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import click

from repro_env.cli.building import built_steps
from repro_env.cli.demo_files import copy_demo, is_demo
from repro_env.cli.exec_command import tell
from repro_env.cli.interruption import ASKING_TO_END, interruption
from repro_env.cli.locking import write_lock
from repro_env.cli.missing_report import warn_missing_in_new
from repro_env.cli.progress import reporter
from repro_env.cli.project import fresh_lock, open_workspace, store_root
from repro_env.cli.running import Finished, Run
from repro_env.edges.report import Reporter
from repro_env.errors import ReproError, UsageError
from repro_env.frozen import dataclass
from repro_env.image.store import Store
from repro_env.lock.model import DebianRoot, Lock
from repro_env.record.statement import to_statement
from repro_env.resolve.project import Upgrade
from repro_env.values import format_size


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the demo did, for its last words."""

    directory: Path
    steps: tuple[str, ...]  # in the order they ran
    lock: Lock
    images: int
    size: int
    finished: tuple[Finished, ...]
    seconds: float


@click.command("demo")
@click.argument("directory", type=click.Path(path_type=Path), default=Path("repro-demo"))
@click.option(
    "--runtime", default="", metavar="NAME", help="bwrap, podman, docker, apptainer or venv; by default the best here."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(*, directory: Path, runtime: str, as_json: bool) -> None:
    """Write a small pipeline into ./repro-demo (or DIRECTORY), lock it, build it and run it.

    Three steps, on real measurements of penguins, whose packages contradict each other. A demo that was interrupted
    goes on where it stopped.
    """
    began = time.monotonic()
    if directory.exists() and not is_demo(directory):
        why = "it exists, and is not a demo that could go on"
        raise UsageError(f"cannot write the demo to {directory}", why, "name another directory: `repro demo DIRECTORY`")
    copy_demo(directory)
    os.chdir(directory)
    with reporter(quiet=as_json) as report:
        shown = _play(Path.cwd(), runtime, report, began)
    click.echo(_document(shown) if as_json else _summary(shown, directory))


def _play(directory: Path, runtime: str, report: Reporter, began: float) -> _Shown:
    workspace, store = open_workspace(), Store(store_root())
    write_lock(workspace, Upgrade(), store, report)
    lock = fresh_lock(workspace)
    built = built_steps(workspace, lock, tuple(lock.steps), workspace.project.platforms, store, report)
    warn_missing_in_new(workspace, lock, built, store, report)
    finished = []
    for step in workspace.project.steps:
        report.note(f"step {step}")
        run = Run(workspace, step, store, report, runtime=runtime)
        finished.append(run.start(run.prepare()))
        tell(finished[-1], report)
        if (number := finished[-1].record.signal) in ASKING_TO_END:
            raise interruption(number)  # it went to the step, and was meant for all
        if finished[-1].outcome.status:
            raise ReproError(f"step {step} of the demo failed", f"see {finished[-1].outcome.log}")
    layers = {one.image: one.size for one in built}
    return _Shown(
        directory,
        tuple(workspace.project.steps),
        lock,
        len(built),
        sum(layers.values()),
        tuple(finished),
        time.monotonic() - began,
    )


def _summary(shown: _Shown, directory: Path) -> str:
    """Return the last words. `directory` is the demo's as it was typed, from where the person still stands."""
    lock = shown.lock
    roots = [root for base in lock.bases.values() for root in base.roots.values()]
    debian = sum(len(root.packages) for root in roots if isinstance(root, DebianRoot))
    pinned = f"{len(lock.steps)} steps, {len(lock.wheels)} Python and {debian} Debian packages, 1 data input"
    versions = "\n".join(f"    {name:<8} {_contradiction(lock, name)}" for name in shown.steps)
    page = next(output.path for run in shown.finished for output in run.record.outputs if output.path.endswith(".html"))
    runtime = shown.finished[-1].record.runtime
    return f"""
pinned    {pinned}: repro.lock
built     {shown.images} OCI images, {format_size(shown.size)} in all, some layers shared: repro build
produced  {directory / page}
in        {shown.seconds:.0f} s, with runtime {runtime}

The steps could not share one environment:
{versions}

Next, in {directory}/:
    repro status                  what is locked, built and run
    repro show report             one run, and its lineage up to the raw data
    repro reproduce --all --here  all three once more, every output compared
    repro lock --check            what a pre-commit hook runs
    edit clean.py, repro status   what an edit makes stale
"""


def _contradiction(lock: Lock, step: str) -> str:
    environment = next(iter(lock.steps[step].environments.values()))
    telling = ("numpy", "pandas", "scikit-learn", "matplotlib")
    return ", ".join(f"{wheel.name} {wheel.version}" for wheel in environment.wheels if wheel.name in telling)


def _document(shown: _Shown) -> str:
    document = {
        "directory": str(shown.directory),
        "steps": list(shown.steps),
        "packages": len(shown.lock.wheels),
        "images": shown.images,
        "seconds": round(shown.seconds, 1),
        "runs": [to_statement(finished.record) for finished in shown.finished],
    }
    return json.dumps(document, indent=2)
