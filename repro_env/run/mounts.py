"""What of this machine a step sees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file or directory of this machine at a place the step sees."""

    source: Path
    target: str
    read_only: bool = True
