"""Placing a lineage: layers one way, room for all, few crossings."""

from __future__ import annotations

from itertools import pairwise

import pytest
from histories import chain, output, pipeline, ran, shards
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.record.lineage import lineage
from repro_env.record.model import RecordedInput
from repro_env.record.page.graph import graph
from repro_env.record.page.layout import _nearest, arrange
from repro_env.values import Digest


def test_a_chain_is_a_straight_line() -> None:
    layout = arrange(["a", "b", "c"], [("a", "b"), ("b", "c")])
    assert layout.nodes == {"a": (0, 0.0), "b": (1, 0.0), "c": (2, 0.0)}
    assert layout.edges["a", "b"] == [(0, 0.0), (1, 0.0)]


def test_what_has_nothing_before_it_stands_by_its_first_use() -> None:
    layout = arrange(["a", "b", "c", "late"], [("a", "b"), ("b", "c"), ("late", "c")])
    assert layout.nodes["late"][0] == 1


def test_an_edge_that_passes_a_layer_bends_around_its_nodes() -> None:
    layout = arrange(["a", "b", "c"], [("a", "b"), ("b", "c"), ("a", "c")])
    [_start, (layer, across), _end] = layout.edges["a", "c"]
    assert layer == 1
    assert abs(across - layout.nodes["b"][1]) >= 0.5


def test_edges_are_uncrossed_where_that_is_possible() -> None:
    nodes = ["a", "b", "c", "d"]
    layout = arrange(nodes, [("a", "d"), ("b", "c")])
    across = {node: layout.nodes[node][1] for node in nodes}
    assert (across["a"] < across["b"]) == (across["d"] < across["c"])


def test_an_empty_graph_has_no_layers() -> None:
    assert arrange([], []).layers == 0


def test_a_circle_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(AssertionError):
        arrange(["a", "b"], [("a", "b"), ("b", "a")])


@given(
    st.integers(1, 14).flatmap(
        lambda count: st.tuples(st.just(count), st.sets(st.tuples(st.integers(0, 13), st.integers(0, 13))))
    )
)
@settings(deadline=None)
def test_any_graph_without_circles_is_placed(drawn: tuple[int, set[tuple[int, int]]]) -> None:
    count, pairs = drawn
    nodes = [str(number) for number in range(count)]
    edges = sorted((str(a % count), str(b % count)) for a, b in pairs if a % count < b % count)
    layout = arrange(nodes, edges)
    assert layout == arrange(nodes, edges)
    assert set(layout.nodes) == set(nodes)
    assert set(layout.edges) == set(edges)
    for source, target in edges:
        layers = [layer for layer, _across in layout.edges[source, target]]
        assert layers == list(range(layout.nodes[source][0], layout.nodes[target][0] + 1))
    for layer in range(layout.layers):
        across = sorted(place for at, place in layout.nodes.values() if at == layer)
        assert all(right - left >= 1 - 1e-6 for left, right in pairwise(across))
        assert all(-1e-6 <= place <= layout.across + 1e-6 for place in across)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=12))
@settings(deadline=None)
def test_the_nearest_places_are_in_order_and_no_worse_than_shifted_ones(wishes: list[float]) -> None:
    offsets = [float(index) for index in range(len(wishes))]
    places = _nearest(wishes, offsets)
    assert all(right - left >= 1 - 1e-6 for left, right in pairwise(places))

    def cost(candidate: list[float]) -> float:
        return sum((place - wish) ** 2 for place, wish in zip(candidate, wishes, strict=True))

    for shift in (-0.5, 0.25, 3):
        assert cost(places) <= cost([place + shift for place in places]) + 1e-6
        assert cost(places) <= cost([offset + shift for offset in offsets]) + 1e-6


# Lineages as graphs


def test_data_runs_and_what_they_made_are_nodes() -> None:
    clean, train, report = pipeline()
    drawn = graph(lineage(report, (clean, train)))
    titles = {node.key: f"{node.kind} {node.title}" for node in drawn.nodes}
    assert [titles[source] + " > " + titles[target] for source, target in drawn.edges] == [
        "data raw > run clean",
        "run clean > output table",
        "output table > run train",
        "run train > output metrics",
        "output metrics > run report",
        "output table > run report",
        "run report > output page",
    ]


def test_many_outputs_are_counted() -> None:
    split, *_rest = shards(40)
    drawn = graph(lineage(split, ()))
    assert [node.title for node in drawn.nodes if node.kind == "output"][-1] == "29 more"
    assert len(drawn.nodes) == 2 + 1 + 12


def test_a_missing_run_is_a_node() -> None:
    runs = chain(2)
    kinds = [node.kind for node in graph(lineage(runs[1], ())).nodes]
    assert kinds == ["missing", "output", "run", "output"]


@given(st.lists(st.lists(st.integers(0, 8), max_size=3), min_size=1, max_size=8), st.sampled_from(["", "run ", "more"]))
@settings(deadline=None)
def test_whatever_records_say_can_be_drawn(readers: list[list[int]], prefix: str) -> None:
    def used(other: int, place: int) -> RecordedInput:
        return RecordedInput(
            name=f"s.o{place}", kind="file", digest=Digest.of(b"o"), files=1, size=1, run=f"{prefix}{other}"
        )

    records = [
        ran(
            "s",
            id=f"{prefix}{number}",
            inputs=tuple(used(other, place) for place, other in enumerate(others)),
            outputs=(output("o0", "o"),),
        )
        for number, others in enumerate(readers)
    ]
    drawn = graph(lineage(records[0], records))
    arrange([node.key for node in drawn.nodes], drawn.edges)
