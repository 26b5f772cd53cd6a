"""From a base's C library and a step's interpreter to uv's platform, and to the wheel tags that fit."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from packaging.tags import Tag, compatible_tags, cpython_tags

from repro_env.errors import ResolutionError
from repro_env.resolve.python.request import StepRequest
from repro_env.values import Platform, PythonVersion

_UV_MANYLINUX = (17, 28, *range(31, 41))
"""The glibc 2.N of the manylinux platforms that every supported uv knows, ascending.
Source: `uv pip compile --help`, --python-platform."""
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}  # PEP 600, "Legacy manylinux tags"
_OLDEST = {"x86_64": 5, "aarch64": 17}  # PEP 571 and 513 have no aarch64
_GLIBC = re.compile(r"2\.(\d+)(?:\D|\Z)")


def uv_platform(request: StepRequest) -> str:
    """Return uv's name of the platform: the newest manylinux that the base's glibc can run.

    Errors: `ResolutionError` for a base older than manylinux2014.
    """
    minor = glibc_minor(request)
    known = [number for number in _UV_MANYLINUX if number <= minor]
    if not known:
        raise ResolutionError(
            f"step {request.step}: no wheel can be chosen for {request.where}",
            f"the oldest glibc that wheels can be resolved for is 2.{_UV_MANYLINUX[0]}",
            "choose a newer base",
        )
    return f"{request.platform.machine}-manylinux_2_{known[-1]}"


def glibc_minor(request: StepRequest) -> int:
    """Return N of the base's glibc 2.N. Errors: `ResolutionError` where it is something else."""
    match = _GLIBC.match(request.glibc)
    if not match:
        raise ResolutionError(f"step {request.step}: {request.glibc!r} is not a glibc version such as 2.36")
    return int(match[1])


@functools.cache
def ranked_tags(python: PythonVersion, platform: Platform, minor: int) -> dict[Tag, int]:
    """Return the wheel tags that CPython and glibc 2.`minor` can use, each with its rank, 0 the best (PEP 425, 600)."""
    platforms = list(_platform_tags(platform.machine, minor))
    version = (3, python.minor)
    tags = [
        *cpython_tags(version, platforms=platforms),
        *compatible_tags(version, interpreter=python.tag, platforms=platforms),
    ]
    return {tag: rank for rank, tag in reversed(list(enumerate(tags)))}


def _platform_tags(machine: str, minor: int) -> Iterator[str]:
    for number in range(minor, _OLDEST[machine] - 1, -1):
        yield f"manylinux_2_{number}_{machine}"
        if number in _LEGACY:
            yield f"{_LEGACY[number]}_{machine}"
    yield f"linux_{machine}"
