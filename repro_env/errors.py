"""What goes wrong, said in three parts: what happened, why, and what to do about it.

Every failure that a user or the world can cause is a `ReproError`. The command line prints it as

    error: WHAT
      WHY
    hint: HINT

and exits with the error's `exit_status`. Anything else that escapes is a bug of this program.
The statuses are documented in `docs/reference/exit-status.md`; `repro exec` maps all of them into 120 to 125
(see `exec_status`), because there 0 to 119 and 126 up belong to the step's own command.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from repro_env.frozen import dataclass


class ReproError(Exception):
    """A failure with its cause and its remedy.

    `what` is one line without a full stop; `why` may be several lines (the program's output, a list of findings);
    `hint` is one or more imperative sentences. Neither holds a credential.
    """

    exit_status: ClassVar[int] = 1
    exec_status: ClassVar[int] = 125

    def __init__(self, what: str, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.what]
        if self.why:
            parts.append("\n".join("  " + line for line in self.why.splitlines()))
        if self.hint:
            parts.append(f"hint: {self.hint}")
        return "\n".join(parts)


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Problem:
    """One thing wrong in a file that a person wrote, with where it stands.

    `line` counts from 1; 0 means that the line is not known. `key` is the TOML key path, dotted.
    """

    file: str
    line: int
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        key = f"{self.key}: " if self.key else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}: {key}{self.message}{hint}"


class UsageError(ReproError):
    """The command line was wrong."""

    exit_status = 2
    exec_status = 120


class ConfigError(ReproError):
    """`repro.toml` (or a file it names) is not a valid project: every problem at once."""

    exit_status = 3
    exec_status = 120

    def __init__(self, what: str, why: str = "", hint: str = "", *, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(what, why, hint)
        self.problems = problems

    @classmethod
    def from_problems(cls, problems: list[Problem]) -> ConfigError:
        """The one error that carries every problem, in file and line order."""
        ordered = tuple(sorted(problems))
        files = ", ".join(dict.fromkeys(Path(problem.file).name for problem in ordered))
        count = "1 problem" if len(ordered) == 1 else f"{len(ordered)} problems"
        return cls(f"{files} has {count}", "\n".join(map(str, ordered)), problems=ordered)


class LockError(ReproError):
    """`repro.lock` is missing, stale, damaged, or of a newer version than this program knows."""

    exit_status = 4
    exec_status = 120


class ResolutionError(ReproError):
    """No set of packages satisfies what a step or a base asks for."""

    exit_status = 5
    exec_status = 121


class FetchError(ReproError):
    """Something could not be downloaded: no network, refused, not found, broken off."""

    exit_status = 6
    exec_status = 121


class IntegrityError(ReproError):
    """Bytes are not the bytes that were pinned, or are not what they claim to be."""

    exit_status = 7
    exec_status = 121


class BuildError(ReproError):
    """An image could not be assembled from what the lock pins."""

    exit_status = 8
    exec_status = 121


class VerificationError(ReproError):
    """This machine or this data is not what the lock asks for."""

    exit_status = 9
    exec_status = 122


class RuntimeUnavailableError(ReproError):
    """No runtime, or not the one asked for, can start the image on this machine."""

    exit_status = 10
    exec_status = 123


class StoreError(ReproError):
    """The store or another file of this program cannot be written or read: full disk, permissions, damage."""

    exit_status = 11
    exec_status = 121


class ToolError(ReproError):
    """An external program failed, is absent, or ran past its time limit."""

    exit_status = 12
    exec_status = 121
