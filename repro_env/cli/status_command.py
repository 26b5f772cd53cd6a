"""`repro status`: what is locked, built, run and stale, at a glance."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import click

from repro_env.build.code import find_code
from repro_env.build.images import local_digests
from repro_env.build.native import is_built, step_definition
from repro_env.cli.columns import left_out
from repro_env.cli.inputs import Verifier
from repro_env.cli.project import LOCK_FILE, Workspace, open_workspace, read_lock, store_root
from repro_env.edges.report import Silent
from repro_env.errors import BuildError
from repro_env.frozen import dataclass
from repro_env.image.store import Store
from repro_env.lock.drift import Drift
from repro_env.lock.model import Lock, LockedData, LockedStep
from repro_env.record.model import RunRecord
from repro_env.record.runs import Runs, list_runs
from repro_env.record.words import ago
from repro_env.values import Digest, Platform

_TITLES = ("step", "lock", "packages", "environment image", "last run", "outputs")
_SPARED = ("packages", "environment image", "lock")  # what a narrow terminal does without, in this order
_GAP = 3  # between two columns
_PIPE = 1000  # characters of what is no terminal: nothing is folded there


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStatus:
    """One step, as a row. `lock` is `locked`, `stale` or `missing`; `run` is the newest run's id, or empty."""

    step: str
    lock: str
    packages: int
    environment: str
    built: bool
    run: str
    run_status: str
    finished: str
    current: bool
    why: str


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(*, as_json: bool) -> None:
    """Show, for each step, whether it is locked, built and run, and what an edit made stale."""
    workspace = open_workspace()
    lock = read_lock(workspace)
    changes = workspace.changes(lock) if lock else ()
    runs = list_runs(workspace.root)
    store = Store(store_root())
    rows = _rows(workspace, lock, changes, runs, store)
    if as_json:
        document = {
            "project": workspace.project.name,
            "lock": "missing" if lock is None else "stale" if changes else "fresh",
            "changes": [str(change) for change in changes],
            "steps": [asdict(row) for row in rows],
            "weak_pins": {name: data.pin for name, data in sorted(_weak(lock).items())},
            "damaged_runs": [str(run.directory) for run in runs.damaged],
        }
        click.echo(json.dumps(document, indent=2))
    else:
        _show(workspace, lock, changes, rows, runs)


def _weak(lock: Lock | None) -> Mapping[str, LockedData]:
    """Return the data whose pin is no hash of its content."""
    return {name: data for name, data in lock.data.items() if data.is_weak} if lock else {}


def _rows(
    workspace: Workspace, lock: Lock | None, changes: Sequence[Drift], runs: Runs, store: Store
) -> list[StepStatus]:
    changed = {change.key.removesuffix(".python").removeprefix("step.") for change in changes}
    rows = []
    made: dict[str, RunRecord | None] = {}
    for name in workspace.project.steps:
        locked = lock.steps.get(name) if lock else None
        if lock is None or locked is None:
            rows.append(_unlocked(name, runs.last(name)))
            continue
        why = _why_stale(workspace, lock, locked, runs, made, store, Verifier(workspace, lock, runs, Silent()))
        made[name] = runs.last_success(name) if not why else None
        rows.append(_row(lock, locked, runs.last(name), store, stale=name in changed, why=why))
    return rows


def _unlocked(name: str, last: RunRecord | None) -> StepStatus:
    return StepStatus(
        step=name,
        lock="missing",
        packages=0,
        environment="",
        built=False,
        run=last.id if last else "",
        run_status=last.status if last else "",
        finished=_time(last),
        current=False,
        why="not locked",
    )


def _row(lock: Lock, step: LockedStep, last: RunRecord | None, store: Store, *, stale: bool, why: str) -> StepStatus:
    environment = step.environments[_platform(step)]
    return StepStatus(
        step=step.name,
        lock="stale" if stale else "locked",
        packages=len(environment.wheels) + len(environment.sources) + len(environment.local),
        environment=str(environment.image) if environment.image else "",
        built=is_built(lock, step, _platform(step), store),
        run=last.id if last else "",
        run_status=last.status if last else "",
        finished=_time(last),
        current=not why,
        why=why,
    )


def _why_stale(
    workspace: Workspace,
    lock: Lock,
    step: LockedStep,
    runs: Runs,
    made: Mapping[str, RunRecord | None],
    store: Store,
    verifier: Verifier,
) -> str:
    """Return why a step's outputs are not what running it now would make, or nothing if they are."""
    last = runs.last_success(step.name)
    if last is None:
        return "never run"
    try:
        code = find_code(step, lock, workspace.root).files
        local = local_digests(lock, step.name, _platform(step), workspace.root, store)
    except BuildError as error:
        return error.what
    if step_definition(lock, step, _platform(step), code, local) != last.definition:
        return "code or lock changed"
    used = {found.name: (found.digest, found.run) for found in last.inputs}
    for name in step.inputs:
        upstream, _, output = name.partition(".")
        if output and not _still(used.get(name), made.get(upstream), output):
            return f"{upstream} is stale" if made.get(upstream) is None else f"{name} changed"
        now = verifier.digest_now(name)
        if now is None or name not in used or now != used[name][0]:
            return f"{name} is missing" if now is None else f"{name} changed"
    return ""


def _still(used: tuple[Digest, str | None] | None, maker: RunRecord | None, output: str) -> bool:
    """Whether the input that was used is what its maker's newest run left."""
    left = {found.name: found.digest for found in maker.outputs} if maker else {}
    return used is not None and left.get(output) == used[0]


def _platform(step: LockedStep) -> Platform:
    """Return this machine's platform, or another one that the step is locked for: it may be run elsewhere."""
    machine = os.uname().machine
    for platform in step.environments:
        if platform.machine == machine:
            return platform
    return next(iter(step.environments))


def _time(record: RunRecord | None) -> str:
    return record.finished.astimezone(UTC).isoformat(timespec="seconds") if record and record.finished else ""


def _show(
    workspace: Workspace, lock: Lock | None, changes: Sequence[Drift], rows: Sequence[StepStatus], runs: Runs
) -> None:
    if lock is None:
        click.echo(f"{workspace.project.name}: no {LOCK_FILE} yet; run `repro lock`")
    elif changes:
        click.echo(f"{workspace.project.name}: {LOCK_FILE} is out of date; run `repro lock`")
        for change in changes:
            click.echo(f"  {change}")
    else:
        click.echo(f"{workspace.project.name}: {LOCK_FILE} is up to date")
    _table(rows)
    for name, data in sorted(_weak(lock).items()):
        click.echo(f"data {name} is pinned by its {data.pin}, which is no hash of its content")
    for damaged in runs.damaged:
        click.echo(f"warning: {damaged.directory.name}: {damaged.why}", err=True)


def _table(rows: Sequence[StepStatus]) -> None:
    from rich import box  # noqa: PLC0415 - a tenth of a second that --json does without
    from rich.console import Console  # noqa: PLC0415 - same
    from rich.table import Table  # noqa: PLC0415 - same
    from rich.text import Text  # noqa: PLC0415 - same

    console = Console(width=None if os.isatty(1) else _PIPE, highlight=False)
    columns = {title: [Text.from_markup(cells[title]) for cells in map(_cells, rows)] for title in _TITLES}
    widths = {title: max(len(title), *(cell.cell_len for cell in cells)) for title, cells in columns.items()}
    for title in left_out(widths, _SPARED, console.width - _GAP, _GAP):
        del columns[title]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in columns:
        table.add_column(title, no_wrap=title != "outputs", justify="right" if title == "packages" else "left")
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    with console.capture() as drawn:
        console.print(table)
    click.echo()
    for line in drawn.get().splitlines():
        click.echo(line.rstrip())


def _cells(row: StepStatus) -> dict[str, str]:
    from rich.markup import escape  # noqa: PLC0415 - as for the table

    marks = {"locked": "[green]locked[/]", "stale": "[yellow]stale[/]", "missing": "[red]missing[/]"}
    image = Digest.parse(row.environment).short if row.environment else "-"
    image += "" if row.built or not row.environment else " (not here)"
    colour = {"succeeded": "green", "failed": "red"}.get(row.run_status, "yellow")
    when = ago(datetime.fromisoformat(row.finished), datetime.now(UTC)) if row.finished else ""
    word = "running" if row.run_status == "started" else row.run_status
    run = f"[{colour}]{word}[/] {when}".rstrip() if row.run else "-"
    outputs = "[green]current[/]" if row.current else f"[yellow]{escape(row.why)}[/]"
    return dict(zip(_TITLES, (row.step, marks[row.lock], str(row.packages), image, run, outputs), strict=True))
