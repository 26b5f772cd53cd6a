"""How long work says what it is doing: a protocol the rooms are handed, and the silent one for tests and `--json`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol


class Task(Protocol):
    """One piece of work with a known or unknown total."""

    def advance(self, amount: int) -> None:
        """Say that `amount` more units, bytes or items, are done."""


class Reporter(Protocol):
    """Where progress and notices go. Implementations are safe to call from several threads."""

    def note(self, text: str) -> None:
        """Say one line about something that was done: `locked step clean: 6 packages`."""

    def warn(self, text: str) -> None:
        """Say one line, or a few, about something a person should know though nothing failed."""

    def task(self, title: str, total: int | None, *, unit: str = "bytes") -> contextlib.AbstractContextManager[Task]:
        """Show a piece of work from start to end. `unit` is `bytes`, or the plural of what is counted."""


class Silent:
    """A reporter that says nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def warn(self, text: str) -> None:
        """Say nothing."""

    @contextlib.contextmanager
    def task(self, title: str, total: int | None, *, unit: str = "bytes") -> Iterator[Task]:  # noqa: ARG002
        """Show nothing."""
        yield self

    def advance(self, amount: int) -> None:
        """Count nothing."""
