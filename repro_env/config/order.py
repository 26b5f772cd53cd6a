"""The order that steps depend on each other in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class CycleError(ValueError):
    """Steps wait for each other. `cycle` names them in order, the first one again at the end."""

    def __init__(self, cycle: tuple[str, ...]) -> None:
        super().__init__(" -> ".join(cycle))
        self.cycle = cycle


def dependency_order(upstream: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Return the names so that each comes after those it depends on, and otherwise in the order given.

    Names that are only depended on are passed over. Errors: `CycleError`.
    """
    ordered: dict[str, None] = {}
    for name in upstream:
        waiting = {} if name in ordered else {name: iter(upstream[name])}  # each for the one after it
        while waiting:
            last = next(reversed(waiting))
            other = next(waiting[last], None)
            if other is None:
                ordered[last] = None
                del waiting[last]
            elif other in waiting:
                names = list(waiting)
                raise CycleError((*names[names.index(other) :], other))
            elif other in upstream and other not in ordered:
                waiting[other] = iter(upstream[other])
    return tuple(ordered)
