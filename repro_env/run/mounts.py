"""What of this machine a step sees."""

from __future__ import annotations

from pathlib import Path

from repro_env.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file or directory of this machine at a place the step sees."""

    source: Path
    target: str
    read_only: bool = True
