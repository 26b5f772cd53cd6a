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
        _visit(name, upstream, ordered, [])
    return tuple(ordered)


def _visit(name: str, upstream: Mapping[str, Iterable[str]], ordered: dict[str, None], above: list[str]) -> None:
    """Add `name` after what it depends on. `above` are the names that wait for it, nearest last."""
    if name in ordered or name not in upstream:
        return
    if name in above:
        raise CycleError((*above[above.index(name) :], name))
    above.append(name)
    for other in upstream[name]:
        _visit(other, upstream, ordered, above)
    above.pop()
    ordered[name] = None
