"""`repro runs`: the history of a project, newest first."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from repro_env.cli.columns import left_out
from repro_env.cli.examples import WithExamples
from repro_env.cli.history import paint, read_time, tell_damaged
from repro_env.cli.project import project_root
from repro_env.errors import UsageError
from repro_env.record.describe import TONES, Cell, Section
from repro_env.record.model import STATUSES, RunRecord
from repro_env.record.runs import Runs, list_runs
from repro_env.record.selection import Selection, select
from repro_env.record.text import section_lines
from repro_env.record.words import ago, duration, ended, marks, moment, seconds_of, visible

_VERSION = 1
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})\Z")
_STATES = ("running", *STATUSES[1:])  # as the table has them
_RECENT = timedelta(days=1)  # within which a person counts hours, not dates
_SPARED = ("took", "step", "made", "note")  # what a narrow terminal does without, in this order
_GAP = 2  # between two columns


_EXAMPLES = (
    ("repro runs --step train --since 3d", "of one step, in the last three days"),
    ("repro runs --digest 9372c470eead", "that made or used a file of this SHA-256"),
)


@click.command("runs", cls=WithExamples, examples=_EXAMPLES)
@click.option("--step", default="", metavar="NAME", help="Only runs of this step.")
@click.option(
    "--status",
    default=None,
    type=click.Choice(_STATES),
    metavar="STATUS",
    help=f"Only runs that are: {', '.join(_STATES)}.",
)
@click.option(
    "--since", default="", metavar="TIME", help="Only runs started since: 2026-11-23, or 12h or 3d for that long ago."
)
@click.option(
    "--until", default="", metavar="TIME", help="Only runs started before; a date is meant with its whole day."
)
@click.option(
    "--digest",
    default="",
    metavar="SHA256",
    help="Only runs that used or made this: data, output, image, lock. Its beginning will do.",
)
@click.option("--limit", default=0, type=click.IntRange(min=0), metavar="N", help="No more than the newest N.")
@click.option("--send", is_flag=True, help="Send to the tools of [export] what they were not told yet; list nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    *, step: str, status: str | None, since: str, until: str, digest: str, limit: int, send: bool, as_json: bool
) -> None:
    """List the runs of this project, newest first.

    `repro show RUN` tells all of one, `repro diff RUN RUN` what differed between two.
    """
    if send:
        from repro_env.cli.sending import send_waiting  # noqa: PLC0415 - only for those who export

        send_waiting(as_json=as_json)
        return
    now = datetime.now(UTC)
    selection = Selection(
        step=step,
        status=STATUSES[_STATES.index(status)] if status else "",
        since=read_time(since, now) if since else None,
        until=read_time(until, now, after=True) if until else None,
        digest=_hex(digest) if digest else "",
    )
    runs = list_runs(project_root())
    if step:
        _check_step(step, runs)
    chosen = select(runs.records, selection)
    shown = chosen[:limit] if limit else chosen
    if as_json:
        click.echo(json.dumps(_document(shown, runs), indent=2))
        return
    for line in _lines(shown, now) if shown else (_none(runs),):
        click.echo(line)
    if len(shown) < len(chosen):
        click.echo(f"and {len(chosen) - len(shown)} more")
    tell_damaged(runs.damaged)


def _hex(text: str) -> str:
    if not (found := _DIGEST.match(text)):
        hint = "give at least its first four hexadecimal digits, in lower case"
        raise UsageError(f"{text!r} is not the beginning of a SHA-256", hint=hint)
    return found[1]


def _check_step(name: str, runs: Runs) -> None:
    """Errors: `UsageError` for a step that was never run, naming the nearest that was."""
    from difflib import get_close_matches  # noqa: PLC0415 - only for a step

    known = sorted({record.step for record in runs.records})
    if known and name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"no step {name!r} was ever run here", f"those that were are {', '.join(known)}", hint)


def _none(runs: Runs) -> str:
    return "no run is like that" if runs.records else "nothing was run here yet; `repro exec STEP` runs a step"


def _document(records: Sequence[RunRecord], runs: Runs) -> dict[str, Any]:
    damaged = [{"directory": str(one.directory), "why": one.why} for one in runs.damaged]
    return {"version": _VERSION, "runs": [_summary(record) for record in records], "damaged": damaged}


def _summary(record: RunRecord) -> dict[str, Any]:
    seconds = seconds_of(record)
    return {
        "id": record.id,
        "step": record.step,
        "status": record.status,
        "exit_status": record.exit_status,
        "signal": record.signal,
        "started": record.started.astimezone(UTC).isoformat(timespec="seconds"),
        "seconds": None if seconds is None else round(seconds, 3),
        "inputs": {one.name: str(one.digest) for one in record.inputs},
        "outputs": {one.name: str(one.digest) for one in record.outputs},
        "notes": list(marks(record)),
        "reproduces": record.reproduces or None,
    }


def _lines(records: Sequence[RunRecord], now: datetime) -> Sequence[str]:
    """Return the table, as wide as the terminal lets it be; a pipe is never too narrow."""
    rows = [_cells(record, now) for record in records]
    titles = [title for title in rows[0] if any(row[title].text for row in rows)]
    widths = {title: max(len(title), *(len(visible(row[title].text)) for row in rows)) for title in titles}
    for spared in left_out(widths, _SPARED, shutil.get_terminal_size((1000, 24)).columns, _GAP):
        titles.remove(spared)
    table = tuple(tuple(row[title] for title in titles) for row in rows)
    return [
        line.removeprefix("  ") for line in section_lines(Section(title="", columns=tuple(titles), rows=table), paint)
    ]


def _cells(record: RunRecord, now: datetime) -> dict[str, Cell]:
    seconds = seconds_of(record)
    recent = now - record.started < _RECENT
    return {
        "run": Cell(text=record.id),
        "step": Cell(text=record.step),
        "status": Cell(text=ended(record), tone=TONES[record.status]),
        "started": Cell(text=ago(record.started, now) if recent else moment(record.started, None)),
        "took": Cell(text="" if seconds is None else duration(seconds)),
        "made": Cell(text=", ".join(f"{one.name} {one.digest.short}" for one in record.outputs)),
        "repeats": Cell(text=record.reproduces.rpartition("-")[2], tone="quiet"),
        "note": Cell(text="; ".join(marks(record)), tone="doubt"),
    }
