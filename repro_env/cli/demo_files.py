"""Where the demo's project is: inside an installed wheel, or in the tree of an editable installation."""

from __future__ import annotations

import os
import shutil
import tempfile
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


def is_demo(directory: Path) -> bool:
    """Whether a directory holds the demo's project, so that a demo which was interrupted can go on in it."""
    project = directory / "repro.toml"
    return project.is_file() and project.read_bytes() == (demo_files() / "repro.toml").read_bytes()


def copy_demo(target: Path) -> None:
    """Write a fresh copy of the demo's project to `target`, whole or not at all; one that is there already is left.

    Errors: `StoreError`, also if `target` is something else.
    """
    with os_errors(f"write the demo to {target}"):
        if target.exists() and is_demo(target):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as beside:
            shutil.copytree(demo_files(), Path(beside, "demo"), ignore=_LEFT_BEHIND, copy_function=shutil.copyfile)
            os.rename(Path(beside, "demo"), target)
