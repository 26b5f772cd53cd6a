"""One `run` for every external program: argument list, explicit environment, captured output, a time limit."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from repro_env.errors import ToolError

_TAIL_LINES = 40


@dataclass(frozen=True, slots=True)
class Completed:
    """What an external program did: exit status (negative: the signal that ended it) and its output."""

    arguments: tuple[str, ...]
    status: int
    stdout: str
    stderr: str


def run(
    arguments: Sequence[str | Path],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str = "",
    check: bool = True,
) -> Completed:
    """Run a program to its end and return what it printed.

    `timeout` is in seconds. `env` is the whole environment; None passes this process's own. With `check`, an exit
    status other than 0 raises. Errors: `ToolError` when the program is absent, fails, or runs past its limit; its last
    lines of output are in the error.
    """
    words = tuple(str(word) for word in arguments)
    try:
        done = subprocess.run(
            words,
            input=stdin,
            env=None if env is None else dict(env),
            cwd=cwd,
            capture_output=True,
            encoding="utf-8",  # whatever the locale: names in it go into images
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise ToolError(f"cannot run {words[0]}", str(error), f"install {Path(words[0]).name}") from error
    except PermissionError as error:
        raise ToolError(f"cannot run {words[0]}", str(error)) from error
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{Path(words[0]).name} did not finish within {timeout:g} s", shlex.join(words)) from error
    completed = Completed(words, done.returncode, done.stdout, done.stderr)
    if check and done.returncode != 0:
        raise failure(completed)
    return completed


def failure(completed: Completed) -> ToolError:
    """Return the error that shows a program's command line, exit status and last lines of output."""
    name = Path(completed.arguments[0]).name
    said = (completed.stderr.strip() or completed.stdout.strip()).splitlines()[-_TAIL_LINES:]
    ended = f"exit status {completed.status}" if completed.status >= 0 else f"signal {-completed.status}"
    return ToolError(f"{name} failed with {ended}", "\n".join([shlex.join(completed.arguments), *said]))


def base_environment(**extra: str) -> dict[str, str]:
    """Return this process's environment with `extra` on top and a locale that keeps output stable."""
    return {**os.environ, "LC_ALL": "C.UTF-8", **extra}
