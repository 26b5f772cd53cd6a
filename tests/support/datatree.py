"""A small directory of data with one of everything, and short words for measuring it."""

from __future__ import annotations

import time
from pathlib import Path

from repro_env.data.cache import StatCache
from repro_env.data.measure import Measured, measure
from repro_env.edges.report import Silent


def make_data(root: Path) -> Path:
    """Make two files, an executable one in a directory, and a link to that."""
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("one")
    (root / "a-b").write_text("two")
    (root / "sub" / "run.sh").write_text("three")
    (root / "sub" / "run.sh").chmod(0o755)
    (root / "latest").symlink_to("sub/run.sh")
    return root


def of(path: Path, cache: StatCache | None = None, *, trust: bool = True) -> Measured:
    return measure(path, reporter=Silent(), cache=cache, trust=trust)


def settle() -> None:
    """Wait until the clock that stamps files has moved on."""
    time.sleep(0.02)
