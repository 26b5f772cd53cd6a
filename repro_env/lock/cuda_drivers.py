"""Which driver serves which CUDA version.

Sources: the CUDA toolkit's release notes, table "CUDA Toolkit and Corresponding Driver Versions", and the guide "CUDA
Compatibility", https://docs.nvidia.com/deploy/cuda-compatibility/.
"""

from __future__ import annotations

from enum import Enum

from repro_env.config.versions import version

FLOORS = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
"""The oldest driver that runs programs of each major version, by minor-version compatibility."""

SHIPPED = {
    "11.0": "450.51.05",
    "11.1": "455.23",
    "11.2": "460.27.03",
    "11.3": "465.19.01",
    "11.4": "470.42.01",
    "11.5": "495.29.05",
    "11.6": "510.39.01",
    "11.7": "515.43.04",
    "11.8": "520.61.05",
    "12.0": "525.60.13",
    "12.1": "530.30.02",
    "12.2": "535.54.03",
    "12.3": "545.23.06",
    "12.4": "550.54.14",
    "12.5": "555.42.02",
    "12.6": "560.28.03",
    "12.8": "570.26",
    "12.9": "575.51.03",
    "13.0": "580.65.06",
    "13.1": "590.44.01",
    "13.2": "595.45.04",
    "13.3": "610.43.02",
}
"""The driver that each toolkit first came with: it has everything that the toolkit's programs may use."""

PTX = {
    "6.0": "9.0",
    "6.1": "9.1",
    "6.2": "9.2",
    "6.3": "10.0",
    "6.4": "10.1",
    "6.5": "10.2",
    **{f"7.{minor}": f"11.{minor}" for minor in range(9)},
    **{f"8.{minor}": f"12.{minor}" for minor in range(6)},
    "8.6": "12.7",
    "8.7": "12.8",
    "8.8": "12.9",
    **{f"9.{minor}": f"13.{minor}" for minor in range(6)},
}
"""The CUDA version that brought each version of the PTX language: drivers of before cannot translate it.

Source: PTX ISA, "Release Notes", and what NVRTC 12.4, 12.5, 12.6, 12.8, 12.9, 13.0, 13.1 and 13.5 write."""


class Service(Enum):
    """How far a driver serves a CUDA version."""

    WHOLE = "all of it"
    MINOR = "what is compiled for the device, by minor-version compatibility"
    NONE = "none of it"
    UNKNOWN = "not known"


def serves(cuda: str, *, driver: str, newest: str = "") -> Service:
    """Return how far a driver serves programs of a CUDA version.

    `newest` is the newest CUDA version that the driver itself says it serves, and goes before the tables. A major
    version that the tables do not have is not known, unless the driver says that it serves it.
    """
    wanted = version(cuda)[:2]
    if newest and version(newest)[:2] >= wanted:
        return Service.WHOLE
    major = wanted[0] if wanted else 0
    if major not in FLOORS or not driver:
        return Service.UNKNOWN
    if version(driver) < version(_floor(cuda)):
        return Service.NONE
    shipped = shipped_with(cuda)
    if not newest and shipped and version(driver) >= version(shipped):
        return Service.WHOLE
    return Service.MINOR


def _floor(cuda: str) -> str:
    """Return the floor of a CUDA version. That of 11.0 itself is the driver it came with."""
    return SHIPPED["11.0"] if short(cuda) == "11.0" else FLOORS[version(cuda)[0]]


def floor_of(cuda: str) -> str:
    """Return the oldest driver that runs programs of this CUDA version, or nothing where the tables have none."""
    numbers = version(cuda)
    return _floor(cuda) if numbers and numbers[0] in FLOORS else ""


def shipped_with(cuda: str) -> str:
    """Return the driver that a CUDA version first came with, or nothing where the table has none."""
    return SHIPPED.get(short(cuda), "")


def translates(ptx: str, *, driver: str, newest: str = "") -> bool | None:
    """Return whether a driver translates a version of the PTX language for its device; None where that is not known.

    `newest` is as for `serves`. A version that the tables do not have is not known to a driver that they have.
    """
    if version(ptx) < (6,):
        return True  # older than every driver that these tables have
    wanted = PTX.get(short(ptx), "")
    if not wanted:
        is_newer = bool(newest) and version(newest) > max(map(version, PTX.values()))
        return None if is_newer or not newest else False
    if newest:
        return version(newest) >= version(wanted)
    shipped = shipped_with(wanted)
    return version(driver) >= version(shipped) if driver and shipped else None


def served(driver: str, newest: str = "") -> str:
    """Return the newest CUDA version that a driver serves whole, or nothing where that is not known."""
    known = [cuda for cuda, first in SHIPPED.items() if driver and version(first) <= version(driver)]
    return newest or max(known, key=version, default="")


def short(cuda: str) -> str:
    """Return major and minor version: `12.8` for `12.8.93`."""
    numbers = (*version(cuda), 0, 0)
    return f"{numbers[0]}.{numbers[1]}"
