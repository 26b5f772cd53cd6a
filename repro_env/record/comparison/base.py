"""What comparing gives, and what it needs of this machine."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Protocol

from repro_env.errors import ReproError
from repro_env.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether two outputs are equal, by the comparison that was asked for.

    `where` is the first place that differs, and `difference` what stands there. `extent` is how much differs in all;
    of equal ones, how far apart they are where a tolerance made them equal. `count` of `total` values differ, None
    where values are not what was compared; `absolute` and `relative` are the largest differences seen.
    """

    equal: bool
    where: str = ""
    difference: str = ""
    extent: str = ""
    count: int | None = None
    total: int | None = None
    absolute: float | None = None
    relative: float | None = None

    def __str__(self) -> str:
        if self.equal:
            return self.extent or "equal"
        first = f"{self.where}: {self.difference}" if self.where else self.difference
        return f"{first}; {self.extent}" if self.extent else first


class Comparator(Protocol):
    """One way to compare two files."""

    def compare(self, then: Path, now: Path) -> Verdict:
        """Compare a run's file with that of a later one. Errors: `UnreadableError`, `StoreError`."""


class UnreadableError(Exception):
    """A file is not what its comparison reads."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(why)
        self.path = path
        self.why = why


class ComparisonError(ReproError):
    """Two outputs could not be compared, although both are there."""

    exit_status = 12
    exec_status = 121


def optional(name: str, purpose: str) -> ModuleType:
    """Import a module that not everybody has. Errors: `ComparisonError`, with how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        hint = 'run `pip install "repro-env[compare]"`'
        raise ComparisonError(f"{purpose} needs {package}, which is not installed", str(error), hint) from error
