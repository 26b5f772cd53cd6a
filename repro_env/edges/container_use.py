"""What the processes of a container use, seen from outside while they live: their parent is the engine and not we.

Source: proc(5), `/proc/pid/stat`, `/proc/pid/status`, `/proc/pid/task/tid/children`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from repro_env.edges.host import read_text

_SHARE = 20
"""The time between two looks is this part of the time since the first one, so that what the last look misses is at
most as large a part of what is told."""

_SHORTEST, _LONGEST = 0.02, 5.0  # seconds between two looks
_TICKS = os.sysconf("SC_CLK_TCK")
_TIMES = slice(11, 15)  # utime, stime, cutime and cstime, counted from the field after the program's name


class ContainerUse:
    """Looks at a container's processes for as long as the block lasts.

    `peak_memory` is the largest resident set of any of them, in bytes, and `cpu_seconds` what they used together up to
    the last look; None for a container that ended before it was looked at, or whose processes cannot be seen from here.
    """

    def __init__(self, find: Callable[[], tuple[int, str] | None], proc: Path = Path("/proc")) -> None:
        """`find` returns the number of the container's first process and the container's id, once there are these."""
        self.peak_memory: int | None = None
        self.cpu_seconds: float | None = None
        self._find, self._proc = find, proc
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        began, found = time.monotonic(), None
        while not self._ended.wait(min(max((time.monotonic() - began) / _SHARE, _SHORTEST), _LONGEST)):
            found = found or self._find()
            # An engine on another machine has other numbers: that process would be anyone's.
            if found and found[1] in read_text(self._proc / f"{found[0]}/cgroup"):
                self._look(found[0])

    def _look(self, first: int) -> None:
        seen = [(_peak(self._proc, pid), _cpu(self._proc, pid)) for pid in _tree(self._proc, first)]
        peaks = [peak for peak, _cpu_seconds in seen if peak is not None]
        self.peak_memory = max([*peaks, self.peak_memory or 0]) or None
        cpu = sum(seconds for _peak_size, seconds in seen)
        self.cpu_seconds = max(cpu, self.cpu_seconds or 0.0)


def _tree(proc: Path, first: int) -> Iterator[int]:
    """Yield a process and all below it. What loses its parent becomes a child of the container's first one."""
    waiting = [first]
    while waiting:
        pid = waiting.pop()
        yield pid
        for task in (proc / f"{pid}/task").glob("*/children"):
            waiting += map(int, read_text(task).split())


def _peak(proc: Path, pid: int) -> int | None:
    lines = read_text(proc / f"{pid}/status").splitlines()
    sizes = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return next((int(size) * 1024 for size in sizes), None)


def _cpu(proc: Path, pid: int) -> float:
    """Return what a process and those of its children that ended used, in seconds."""
    fields = read_text(proc / f"{pid}/stat").rpartition(")")[2].split()
    return sum(map(int, fields[_TIMES])) / _TICKS
