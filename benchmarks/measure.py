"""Timing whole commands: the median of several runs, each a fresh process."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of several runs of one command."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def timed(
    arguments: Sequence[str | Path],
    *,
    runs: int,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    before: Callable[[], object] = lambda: None,
) -> Timing:
    """Run a command `runs` times, with `before` (not timed) ahead of each; a failing command ends the benchmark."""
    seconds = []
    for _ in range(runs):
        before()
        started = time.perf_counter()
        once(arguments, cwd=cwd, env=env)
        seconds.append(time.perf_counter() - started)
    return Timing(tuple(seconds))


def once(arguments: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return its standard output."""
    words = [str(word) for word in arguments]
    done = subprocess.run(words, cwd=cwd, env=_environment(env), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    """Return the process's environment as a person has it: with byte code kept, whatever this machine is set to."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **(env or {})}
