"""Where the demo's project is: inside an installed wheel, or in the tree of an editable installation."""

from __future__ import annotations

import shutil
from pathlib import Path

from repro_env.edges.files import os_errors
from repro_env.errors import StoreError

_LEFT_BEHIND = shutil.ignore_patterns("__pycache__", "build", ".repro", "repro.lock")


def demo_files() -> Path:
    """Return the demo's directory, which is only to be read. Errors: `StoreError` if this installation has none."""
    package = Path(__file__).resolve().parents[1]
    for place in (package / "_demo", package.parent / "fixtures" / "demo"):
        if (place / "repro.toml").is_file():
            return place
    raise StoreError("this installation has no demo", str(package / "_demo"), "install repro-env again")


def copy_demo(target: Path) -> None:
    """Write a fresh copy of the demo's project to `target`, which must not exist yet.

    Errors: `StoreError`, also if `target` exists.
    """
    with os_errors(f"write the demo to {target}"):
        shutil.copytree(demo_files(), target, ignore=_LEFT_BEHIND, copy_function=shutil.copyfile)
