"""How progress and notices reach a person: a live display on a terminal, plain lines elsewhere.

Everything here goes to standard error, so that standard output holds a command's result and nothing else.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

import click

from repro_env.cli.colour import styled
from repro_env.edges.report import Reporter, Silent, Task
from repro_env.values import format_size

_PLAIN_EVERY = 10.0
"""Seconds between two plain lines about one task."""

_MINUTES = 120.0
"""Seconds from which on a time left is told in minutes."""

_WORTH_SECONDS, _WORTH_BYTES = 1.0, 1 << 20
"""A task is worth a line from this long, or this much, on."""


@contextlib.contextmanager
def reporter(*, quiet: bool = False) -> Iterator[Reporter]:
    """Give the reporter that fits standard error: live on a terminal, lines in a pipe, nothing when quiet."""
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        yield from _live()
    else:
        yield PlainReporter()


class PlainReporter:
    """Lines for pipes and CI logs: one at the end of each task, and one now and then while it lasts."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def note(self, text: str) -> None:
        """Print the line."""
        click.echo(text, err=True)

    def warn(self, text: str) -> None:
        """Print the lines, marked, the first time they are said."""
        if text in self._warned:
            return
        self._warned.add(text)
        click.echo(f"{styled('warning:', fg='yellow', bold=True)} {text}", err=True)

    @contextlib.contextmanager
    def task(self, title: str, total: int | None, *, unit: str = "bytes") -> Iterator[Task]:
        """Count, and print how far it is."""
        task = _PlainTask(title, total, unit)
        yield task
        task.finish()


class _PlainTask:
    def __init__(self, title: str, total: int | None, unit: str) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._done = 0
        self._started = self._said = time.monotonic()
        self._lock = threading.Lock()

    def advance(self, amount: int) -> None:
        with self._lock:
            self._done += amount
            if time.monotonic() - self._said > _PLAIN_EVERY:
                self._said = time.monotonic()
                whole = f" of {self._amount(self._total)}{self._left()}" if self._total else ""
                click.echo(f"{self._title}: {self._amount(self._done)}{whole}", err=True)

    def finish(self) -> None:
        took = time.monotonic() - self._started
        if took >= _WORTH_SECONDS or (self._unit == "bytes" and self._done >= _WORTH_BYTES):
            click.echo(f"{self._title}: {self._amount(self._done)} in {took:.1f} s", err=True)

    def _left(self) -> str:
        """Return about how long it will still take, if it goes on as so far."""
        took = time.monotonic() - self._started
        seconds = took * ((self._total or 0) - self._done) / self._done if self._done else 0.0
        if seconds < 1:
            return ""
        return f", about {seconds:.0f} s left" if seconds < _MINUTES else f", about {seconds / 60:.0f} min left"

    def _amount(self, count: int) -> str:
        return _amount(count, self._unit)


def _amount(count: int, unit: str) -> str:
    """Return an amount in words: `17.4 MiB`, `1 package`, `1,204 rows`."""
    if unit == "bytes":
        return format_size(count)
    return f"{count:,} {unit.removesuffix('s') if count == 1 else unit}"


def _live() -> Iterator[Reporter]:
    from rich.console import Console  # noqa: PLC0415 - a tenth of a second that pipes and CI need not pay
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - what pipes and CI do without

    console = Console(stderr=True, highlight=False, emoji=False)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[amount]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        warned: set[str] = set()

        class Live:
            def note(self, text: str) -> None:
                console.print(text, markup=False)

            def warn(self, text: str) -> None:
                if text in warned:
                    return
                warned.add(text)
                console.print("[bold yellow]warning:[/] ", end="")
                console.print(text, markup=False)

            @contextlib.contextmanager
            def task(self, title: str, total: int | None, *, unit: str = "bytes") -> Iterator[Task]:
                bar = progress.add_task(title, total=total, amount="")

                class LiveTask:
                    done = 0

                    def advance(self, amount: int) -> None:
                        self.done += amount
                        progress.update(bar, advance=amount, amount=_amount(self.done, unit))

                try:
                    yield LiveTask()
                finally:
                    progress.remove_task(bar)

        yield Live()
