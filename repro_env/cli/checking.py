"""What verifies a machine where a step runs, in the container that `repro exec` starts, and what it found there."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from repro_env.edges.files import os_errors, write_atomically
from repro_env.image.store import canonical_json
from repro_env.lock.model import Lock, LockedStep
from repro_env.lock.places import ENVIRONMENT, VERIFY
from repro_env.run.mounts import Mount
from repro_env.run.plan import Check
from repro_env.values import Platform, PythonVersion
from repro_env.verify.entry import ALLOW, FINDINGS
from repro_env.verify.program import OLDEST, interpreter_arguments, program_files
from repro_env.verify.report import Verification
from repro_env.verify.slice import needs_of

FILE = "verify.json"
"""The name, in a run's directory, of the findings."""

_TOOLKITS = frozenset({"compute-capability", "cuda", "driver", "require"})
"""Checks that NVIDIA's container toolkit may make as well, by `NVIDIA_REQUIRE_CUDA`, before a container starts."""

_DIRECTORY = "check"
_FOUND = f"/run/repro/{FILE}"
_PROGRAM = "/run/repro/check"  # `/run` is a fresh file system in every runtime that isolates


def can_check(python: PythonVersion) -> bool:
    """Whether a step's own interpreter runs the program that checks."""
    return python.minor >= OLDEST


def check_in_image(run: Path, allowed: Collection[str]) -> Check:
    """Return how the program in a step image is told where to write, in the run's directory, and what may fail."""
    return _check(run, VERIFY, allowed, ())


def check_beside_image(run: Path, lock: Lock, step: LockedStep, platform: Platform, allowed: Collection[str]) -> Check:
    """Write the program and what the step needs to the run's directory, and return how an environment image has them.

    The environment was built, and the lock says what its packages carry for GPUs.
    Errors: `BuildError`, `StoreError`.
    """
    directory = run / _DIRECTORY
    files = {f"verify/{name}": content for name, content in program_files().items()}
    files["needs.json"] = canonical_json(needs_of(lock, step, platform, built=True).to_dict())
    with os_errors(f"write to {directory}"):
        for name, content in files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
    return _check(run, f"{_PROGRAM}/verify", allowed, (Mount(source=directory, target=_PROGRAM),))


def _check(run: Path, program: str, allowed: Collection[str], mounts: tuple[Mount, ...]) -> Check:
    found = run / FILE
    with os_errors(f"write {found}"):
        found.touch()
    allow = {ALLOW: ",".join(sorted(allowed))} if allowed else {}
    if _TOOLKITS.intersection(allowed):
        allow["NVIDIA_DISABLE_REQUIRE"] = "1"
    return Check(
        command=interpreter_arguments(f"{ENVIRONMENT}/bin/python", program),
        variables={**allow, FINDINGS: _FOUND},
        mounts=(*mounts, Mount(source=found, target=_FOUND, read_only=False)),
    )


def write_verification(run: Path, verification: Verification) -> None:
    """Write what was found without a container, as the program does in one. Errors: `StoreError`."""
    text = json.dumps(verification.to_dict(started=verification.starts), indent=2)
    write_atomically(run / FILE, f"{text}\n".encode())


def read_verification(run: Path) -> Mapping[str, Any] | None:
    """Return the document that was written in a run, or None where nothing was: the check was never reached.

    A step that wrote over it has none either. Errors: `StoreError`.
    """
    path = run / FILE
    with os_errors(f"read {path}"):
        text = path.read_bytes() if path.exists() else b""
        if not text:
            path.unlink(missing_ok=True)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and isinstance(document.get("started"), bool) else None
