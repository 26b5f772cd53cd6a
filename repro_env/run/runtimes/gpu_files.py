"""GPUs for a runtime that is handed device nodes and the driver's files."""

from __future__ import annotations

from pathlib import Path

from repro_env.run.gpus import GpuGrant, Passing
from repro_env.run.runtimes.base import Unavailable


def pass_files(grant: GpuGrant, root: Path, hint: str = "") -> Passing | Unavailable:
    """Return how a step gets these GPUs from a driver that is installed below `root`, or why it cannot."""
    from repro_env.run.driver import passing  # noqa: PLC0415 - a step without GPUs does without
    from repro_env.run.find_driver import find_driver  # noqa: PLC0415 - same

    files = find_driver(grant, root=root)
    if files.lacking:
        return Unavailable(f"it cannot give the step its GPUs: {files.lacking}", hint)
    return passing(grant, files)
