"""Timing whole commands: the median of several runs, each a fresh process."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
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


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: what was done, by whom, how long it took, and what it is measured against."""

    what: str
    ours: Timing
    against: str = ""
    theirs: Timing | None = None
    wanted: str = ""

    @property
    def ratio(self) -> str:
        """How the two compare, in words."""
        if self.theirs is None:
            return ""
        ours, theirs = self.ours.median, self.theirs.median
        return f"{theirs / ours:.1f} times faster" if ours <= theirs else f"{ours / theirs:.2f} times as long"


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


def peak_memory(arguments: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str]) -> int:
    """Run a command and return the largest resident size, in bytes, that it or a process of its had."""
    words = [sys.executable, "-c", _PEAK, *map(str, arguments)]
    return int(once(words, cwd=cwd, env=env).splitlines()[-1])


_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""
