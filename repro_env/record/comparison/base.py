"""What comparing gives, and what it needs of this machine."""

from __future__ import annotations

import contextlib
import errno
import importlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Protocol

from repro_env.edges.files import os_errors
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


_DAMAGE = (
    *(ValueError, LookupError, TypeError, ArithmeticError, RuntimeError, EOFError, MemoryError, SyntaxError),
    *(struct.error, zlib.error),
)
"""What libraries raise for a file that is damaged, encrypted, or says that it holds petabytes."""


@contextlib.contextmanager
def reading(path: Path, *more: type[Exception]) -> Iterator[None]:
    """Tell what a library raises for a file that it cannot read, `more` being its own errors, as `UnreadableError`.

    Errors: that, and `StoreError` for what the system refuses.
    """
    damage: tuple[type[Exception], ...] = (*_DAMAGE, *more)
    with os_errors(f"read {path}"):
        try:
            yield
        except OSError as error:
            if error.errno not in {None, errno.EINVAL}:  # a library's own, and a place before the file's beginning
                raise
            raise UnreadableError(path, _said(error)) from error
        except damage as error:
            raise UnreadableError(path, _said(error)) from error


def _said(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or "it ends too soon"


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
        hint = "install it: pip install 'repro-env[compare]'"
        raise ComparisonError(f"{purpose} needs {package}, which is not installed", str(error), hint) from error
