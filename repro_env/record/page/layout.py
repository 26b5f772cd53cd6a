"""Placing the nodes of a directed graph in layers, so that every edge goes one way and few cross.

The usual four steps, kept simple (Sugiyama, Tagawa and Toda, 1981): layers by the longest path, bends where an edge
passes a layer, an order within each by the mean of the neighbours, and places as near to them as there is room.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise

from repro_env.frozen import dataclass

_SWEEPS = 8
_BEND = 0.15  # what an edge takes of the room of a node

Edge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Bend:
    """Where an edge passes a layer."""

    edge: Edge
    layer: int


Place = str | Bend
Neighbours = Mapping[Place, Sequence[Place]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where everything is, in units of one layer along, and of one node with its gap across.

    `nodes` maps a node to its layer and its middle across, which is from 0 to `across`; `edges` maps an edge to the
    points that it goes through, both ends included.
    """

    layers: int
    across: float
    nodes: Mapping[str, tuple[int, float]]
    edges: Mapping[Edge, Sequence[tuple[int, float]]]


def arrange(nodes: Sequence[str], edges: Iterable[Edge]) -> Layout:
    """Place the nodes of a graph without circles. The same graph in the same order is always placed the same."""
    pairs = list(dict.fromkeys(edges))
    layer_of = _layers(nodes, pairs)
    ways = {edge: _way(edge, layer_of) for edge in pairs}
    layers = _filled(nodes, ways, layer_of)
    above, below = _neighbours(ways)
    layers = _ordered(layers, above, below)
    places = _placed(layers, above, below)
    return Layout(
        layers=len(layers),
        across=max(places.values(), default=0.0),
        nodes={node: (layer_of[node], places[node]) for node in nodes},
        edges={
            edge: [(layer_of[edge[0]] + step, places[place]) for step, place in enumerate(way)]
            for edge, way in ways.items()
        },
    )


def _layers(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Return each node's layer: the longest path to it; of what has nothing before it, the one above its first use."""
    before: dict[str, list[str]] = {node: [] for node in nodes}
    after: dict[str, list[str]] = {node: [] for node in nodes}
    for source, target in edges:
        before[target].append(source)
        after[source].append(target)
    waiting = {node: len(before[node]) for node in nodes}
    ready = [node for node in nodes if not waiting[node]]
    layer = dict.fromkeys(nodes, 0)
    for node in ready:  # grows meanwhile
        for target in after[node]:
            layer[target] = max(layer[target], layer[node] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    assert len(ready) == len(nodes), "there is a circle"
    return {
        node: min(layer[target] for target in after[node]) - 1 if after[node] and not before[node] else layer[node]
        for node in nodes
    }


def _way(edge: Edge, layer_of: Mapping[str, int]) -> list[Place]:
    """Return an edge with its bends."""
    source, target = edge
    return [source, *(Bend(edge, layer) for layer in range(layer_of[source] + 1, layer_of[target])), target]


def _filled(
    nodes: Sequence[str], ways: Mapping[Edge, Sequence[Place]], layer_of: Mapping[str, int]
) -> list[list[Place]]:
    layers: list[list[Place]] = [[] for _ in range(max(layer_of.values(), default=-1) + 1)]
    for node in nodes:
        layers[layer_of[node]].append(node)
    for way in ways.values():
        for bend in way[1:-1]:
            assert isinstance(bend, Bend)
            layers[bend.layer].append(bend)
    return layers


def _neighbours(ways: Mapping[Edge, Sequence[Place]]) -> tuple[Neighbours, Neighbours]:
    above: dict[Place, list[Place]] = {}
    below: dict[Place, list[Place]] = {}
    for way in ways.values():
        for upper, lower in pairwise(way):
            above.setdefault(lower, []).append(upper)
            below.setdefault(upper, []).append(lower)
    return above, below


def _ordered(layers: list[list[Place]], above: Neighbours, below: Neighbours) -> list[list[Place]]:
    """Return the layers in the order with the fewest crossings that sweeping down and up comes by."""
    best, fewest = layers, _crossings(layers, below)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        layers = _swept(layers, above) if sweep % 2 == 0 else _swept(layers[::-1], below)[::-1]
        crossings = _crossings(layers, below)
        if crossings < fewest:
            best, fewest = layers, crossings
    return best


def _swept(layers: Sequence[Sequence[Place]], neighbours: Neighbours) -> list[list[Place]]:
    """Return the layers, each sorted by the mean place of its neighbours in the one before."""
    swept: list[list[Place]] = [list(layers[0])]
    for layer in layers[1:]:
        place = {key: index for index, key in enumerate(swept[-1])}
        own = {key: float(index) for index, key in enumerate(layer)}
        means = {key: _mean([place[other] for other in neighbours.get(key, ())], own[key]) for key in layer}
        swept.append(sorted(layer, key=means.__getitem__))
    return swept


def _crossings(layers: Sequence[Sequence[Place]], below: Neighbours) -> int:
    """Return how many pairs of edges cross: the inversions in the order of their lower ends."""
    count = 0
    for upper, lower in pairwise(layers):
        place = {key: index for index, key in enumerate(lower)}
        seen: list[int] = []
        for key in upper:
            ends = sorted(place[other] for other in below.get(key, ()))
            count += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return count


def _placed(layers: Sequence[Sequence[Place]], above: Neighbours, below: Neighbours) -> dict[Place, float]:
    """Return each place across: near the mean of its neighbours, in order, and with room for all."""
    offsets = [_offsets(layer) for layer in layers]
    places = {
        key: offset for layer, own in zip(layers, offsets, strict=True) for key, offset in zip(layer, own, strict=True)
    }
    rows = list(zip(layers, offsets, strict=True))
    for sweep in range(_SWEEPS):
        neighbours, ordered = (above, rows) if sweep % 2 == 0 else (below, rows[::-1])
        for layer, own in ordered:
            wishes = [_mean([places[other] for other in neighbours.get(key, ())], places[key]) for key in layer]
            places |= zip(layer, _nearest(wishes, own), strict=True)
    first = min(places.values(), default=0.0)
    return {key: place - first for key, place in places.items()}


def _offsets(layer: Sequence[Place]) -> list[float]:
    """Return where the places of a layer are when they stand as close as they may."""
    widths = [_BEND if isinstance(key, Bend) else 1.0 for key in layer]
    return list(accumulate(((left + right) / 2 for left, right in pairwise(widths)), initial=0.0))[: len(layer)]


def _nearest(wishes: Sequence[float], offsets: Sequence[float]) -> list[float]:
    """Return the places nearest to what is wished, by least squares, that are no closer than the offsets are.

    That is isotonic regression of the wishes less the offsets, by pooling adjacent violators.
    """
    pools: list[tuple[float, int]] = []  # the sum of a pool's values, and how many they are
    for wish, offset in zip(wishes, offsets, strict=True):
        total, count = wish - offset, 1
        while pools and pools[-1][0] * count >= total * pools[-1][1]:
            total, count = total + pools[-1][0], count + pools[-1][1]
            pools.pop()
        pools.append((total, count))
    levels = [total / count for total, count in pools for _ in range(count)]
    return [level + offset for level, offset in zip(levels, offsets, strict=True)]


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
