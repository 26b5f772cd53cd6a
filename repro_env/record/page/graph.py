"""A lineage as a graph: data, runs and what they made are nodes; who used what are edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from repro_env.frozen import dataclass
from repro_env.record.lineage import Lineage
from repro_env.record.model import RecordedInput, RecordedOutput, RunRecord
from repro_env.record.words import content, duration, ended, seconds_of

_MOST = 12  # outputs of the run itself that are drawn; a page's table has them all


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node: `kind` is `data`, `output`, `run` or `missing` (a run without a record).

    `detail` is its second line, `told` all that there is to say of it. `status` is a run's, and `run` the id of the
    run that it is or that made it. `key` tells it from all others, whatever ids and names records hold.
    """

    key: str
    kind: str
    title: str
    detail: str
    told: str
    status: str = ""
    run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Nodes, and edges from what was used or ran to what used it or was made."""

    nodes: Sequence[Node]
    edges: Sequence[tuple[str, str]]


def graph(found: Lineage) -> Graph:
    """Return a lineage as a graph without circles: of each run what others took, of the run itself what it made."""
    nodes: dict[str, Node] = {}
    edges: dict[tuple[str, str], None] = {}
    for record in found.runs.values():
        for used in record.inputs:
            for node in _origin(found, record.id, used):
                nodes.setdefault(node.key, node)
            keys = [node.key for node in _origin(found, record.id, used)]
            edges |= dict.fromkeys(pairwise((*keys, _run_key(record.id))))
        node = _run(record)
        nodes[node.key] = node
    for node in _made(found.run):
        nodes.setdefault(node.key, node)
        edges[_run_key(found.run.id), node.key] = None
    return Graph(nodes=tuple(nodes.values()), edges=tuple(edges))


def _made(record: RunRecord) -> Iterator[Node]:
    """Yield what the run itself made, or the first of it and how much more there is."""
    whole = len(record.outputs) <= _MOST
    yield from (_output(made, record.id) for made in record.outputs[: None if whole else _MOST - 1])
    if not whole:
        title = f"{len(record.outputs) - _MOST + 1} more"
        yield Node(key="more", kind="output", title=title, detail="outputs", told="all are in the table", run=record.id)


def _origin(found: Lineage, run: str, used: RecordedInput) -> tuple[Node, ...]:
    """Return the nodes that lead to an input: the data alone, or its maker and what that made."""
    if used.run is None:
        return (_data(used),)
    if (run, used.name) in found.cyclic:
        return (_output(used, used.run, of=f"in a circle with {run}"),)
    maker = found.runs.get(used.run)
    return (_run(maker) if maker else _missing(used.run), _output(used, used.run))


def _run_key(run: str) -> str:
    return repr(("run", run))


def _data(used: RecordedInput) -> Node:
    told = f"data {used.name}: {content(used)}, {used.digest}" + (f", from {used.uri}" if used.uri else "")
    key = repr(("data", used.name, used.digest.hex))
    return Node(key=key, kind="data", title=used.name, detail=used.digest.short, told=told)


def _output(made: RecordedInput | RecordedOutput, run: str, of: str = "") -> Node:
    name = made.name.rpartition(".")[2]
    key = repr(("output", run, name, made.digest.hex, of))
    told = f"{name} of run {run}: {content(made)}, {made.digest}"
    return Node(key=key, kind="output", title=name, detail=made.digest.short, told=told, run=run)


def _run(record: RunRecord) -> Node:
    seconds = seconds_of(record)
    return Node(
        key=_run_key(record.id),
        kind="run",
        title=record.step,
        detail=record.id.rpartition("-")[2] + (f", {duration(seconds)}" if seconds is not None else ""),
        told=f"run {record.id}: {ended(record)}",
        status=record.status,
        run=record.id,
    )


def _missing(run: str) -> Node:
    told = f"run {run}: its record is not here"
    title = run.partition("-")[2] or run  # without its time
    return Node(key=_run_key(run), kind="missing", title=title, detail="no record here", told=told, run=run)
