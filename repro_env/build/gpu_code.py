"""What a build finds of its wheels' GPU code, and what of it the lock takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from repro_env.lock.gpu_code import GpuCode, gpu_code_of
from repro_env.lock.model import Environment, Lock, Wheel
from repro_env.values import Digest

CarriedCode = tuple[tuple[Wheel, tuple[GpuCode, ...]], ...]
"""The wheels that carry code for GPUs, in the order of their names, each with the libraries that do."""


def with_gpu_code(
    lock: Lock, environment: Environment, found: Mapping[Digest, tuple[GpuCode, ...]], *, update: bool
) -> Lock:
    """Return the lock with what was found of an environment's wheels.

    What the lock says already stands, unless `update`: that a wheel carries nothing, too. So every machine makes the
    same of one lock, whatever its version of this program can read.
    """
    known = set() if update else _known(lock)
    fresh = {wheel.sha256 for wheel in environment.installed} - known
    kept = {wheel: code for wheel, code in lock.gpu_code.items() if wheel not in fresh}
    return replace(lock, gpu_code={**kept, **gpu_code_of(found, fresh)})


def recorded_gpu_code(lock: Lock, environment: Environment) -> CarriedCode:
    """Return what the lock says of the wheels of an environment that was built: those that carry code for GPUs."""
    found = lock.gpu_code
    return tuple((wheel, found[wheel.sha256]) for wheel in environment.installed if wheel.sha256 in found)


def gpu_code_document(code: CarriedCode) -> list[dict[str, Any]]:
    """Return the same for programs, a document for each wheel."""
    return [
        {
            "package": wheel.name,
            "version": wheel.version,
            "sha256": wheel.sha256.hex,
            "libraries": [_library(one) for one in libraries],
        }
        for wheel, libraries in code
    ]


def _library(code: GpuCode) -> dict[str, Any]:
    lists = {"sass": list(code.sass), "ptx": list(code.ptx), "amd": list(code.amd)}
    return {"path": code.path, **lists, **({"unknown": code.unknown} if code.unknown else {})}


def _known(lock: Lock) -> set[Digest]:
    """Return the wheels whose GPU code the lock says: those with an entry, and all of environments that were built."""
    environments = (one for step in lock.steps.values() for one in step.environments.values() if one.image)
    return {wheel.sha256 for environment in environments for wheel in environment.installed} | lock.gpu_code.keys()
