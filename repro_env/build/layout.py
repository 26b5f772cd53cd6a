"""Which wheels stand alone in a layer and which share one. Pure.

By threshold, not by rank, so that adding a package moves no other; and in the order of names, so that steps which share
wheels share layers from the bottom up.
"""

from __future__ import annotations

from collections.abc import Iterable

from repro_env.lock.model import ImageRoot, Root, Wheel

ALONE_FROM = 4 << 20
"""A wheel of this many bytes or more is a layer of its own."""

MOST_LAYERS = 100
"""Of a whole image: most runtimes stop at 127, and pushes slow down well before."""

_DEBIAN_LAYERS = 3  # what a base of Debian packages has at most
_OTHERS = 6  # an interpreter, the virtual environment, the bundle, people's own packages, the check, the code
_COMPILED = 4  # byte code of a base's layers or of an interpreter, and of what stands together


def most_alone(root: Root | None, *, bytecode: bool) -> int:
    """Return how many wheels may stand alone in an image on this base; with byte code each may come with a layer of it.

    Without a base, it is one of Debian packages.
    """
    beneath = len(root.layers) if isinstance(root, ImageRoot) else _DEBIAN_LAYERS
    left = MOST_LAYERS - beneath - _OTHERS
    return max((left - _COMPILED) // 2 if bytecode else left, 0)


def group_wheels(wheels: Iterable[Wheel], most: int) -> tuple[tuple[Wheel, ...], tuple[Wheel, ...]]:
    """Return the wheels that stand alone, by name, and those that share the bundle.

    Where more than `most` would stand alone, the threshold doubles until they fit.
    """
    ordered = tuple(sorted(wheels))
    threshold = ALONE_FROM
    while True:
        alone = tuple(wheel for wheel in ordered if wheel.size >= threshold)
        if len(alone) <= most:
            return alone, tuple(wheel for wheel in ordered if wheel.size < threshold)
        threshold *= 2
