"""Which wheels stand alone in a layer and which share one. Pure.

By threshold, not by rank, so that adding a package moves no other; and in the order of names, so that steps which share
wheels share layers from the bottom up.
"""

from __future__ import annotations

from collections.abc import Iterable

from repro_env.lock.model import Wheel

ALONE_FROM = 4 << 20
"""A wheel of this many bytes or more is a layer of its own."""

MOST_LAYERS = 100
"""Of a whole image: most runtimes stop at 127, and pushes slow down well before."""

_OTHERS = 8  # base, interpreter, bundle and code layers, with room to spare


def group_wheels(wheels: Iterable[Wheel]) -> tuple[tuple[Wheel, ...], tuple[Wheel, ...]]:
    """Return the wheels that stand alone, by name, and those that share the bundle.

    Where more stand alone than an image may hold, the threshold doubles until they fit.
    """
    ordered = tuple(sorted(wheels))
    threshold = ALONE_FROM
    while True:
        alone = tuple(wheel for wheel in ordered if wheel.size >= threshold)
        if len(alone) <= MOST_LAYERS - _OTHERS:
            return alone, tuple(wheel for wheel in ordered if wheel.size < threshold)
        threshold *= 2
