"""What commands that look back share: the runs of a project, times as people give them, colours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from repro_env.cli.colour import styled
from repro_env.cli.project import project_root
from repro_env.errors import ConfigError, UsageError
from repro_env.record.runs import Damaged, Run, Runs, find_run, list_runs, runs_directory

_STYLES: Mapping[str, Mapping[str, Any]] = {
    "good": {"fg": "green"},
    "bad": {"fg": "red"},
    "doubt": {"fg": "yellow"},
    "quiet": {"dim": True},
    "title": {"bold": True},
}
_AGE = re.compile(r"(\d{1,6})(min|h|d|w)\Z")
_UNITS = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_DAY = 10  # characters of a date without a time


def paint(text: str, tone: str) -> str:
    """Return a text in the colour of its tone, where there are colours."""
    style = _STYLES.get(tone)
    return styled(text, **style) if style else text


def wanted_run(text: str) -> Run:
    """Return the run that a person means; one given by its path needs no project. Errors: as `find_run`."""
    is_path = "/" in text or text.endswith(".json")
    return find_run(Path() if is_path else project_root(), text)


def home_around(run: Run) -> Path | None:
    """Return the project whose runs a run belongs among: the one that keeps it, else the one here; None without one."""
    if home := run.home:
        return home
    try:
        return project_root()
    except ConfigError:
        return None


def runs_around(run: Run) -> tuple[Run, ...]:
    """Return the runs among which one's lineage is looked for, newest first: those of the project around it."""
    home = home_around(run)
    return kept_runs(home, list_runs(home)) if home else (run,)


def kept_runs(home: Path, runs: Runs) -> tuple[Run, ...]:
    """Return the runs of a project with where it keeps each."""
    return tuple(Run(directory=runs_directory(home) / record.id, record=record) for record in runs.records)


def tell_damaged(damaged: Sequence[Damaged]) -> None:
    """Warn of runs whose record cannot be read."""
    for one in damaged:
        click.echo(f"warning: {one.directory.name}: {one.why}", err=True)


def read_time(text: str, now: datetime, *, after: bool = False) -> datetime:
    """Return the moment that a person means: `2026-11-23`, `2026-11-23T14:30`, or `3d`, `12h` ago.

    A date is its first moment, or with `after` the first moment of the next day. What names no zone is in this
    machine's. Errors: `UsageError`.
    """
    try:
        if age := _AGE.match(text):
            return now - int(age[1]) * _UNITS[age[2]]
        found = datetime.fromisoformat(text)
        if len(text) == _DAY and after:
            found += timedelta(days=1)
        return found if found.tzinfo else found.astimezone()
    except (ValueError, OverflowError) as error:
        hint = "give 2026-11-23, 2026-11-23T14:30, or an age: 30min, 12h, 3d, 2w"
        raise UsageError(f"{text!r} is no date", hint=hint) from error
