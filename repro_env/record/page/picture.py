"""A lineage as a picture: SVG that needs nothing but the page's style.

Each kind of node and each status has a shape of its own beside its colour.
Source: https://www.w3.org/TR/SVG2/
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from repro_env.frozen import dataclass
from repro_env.record.lineage import Lineage
from repro_env.record.page.graph import Graph, Node, graph
from repro_env.record.page.layout import Layout, arrange
from repro_env.record.page.markup import Markup, element, joined

_WIDTH, _HEIGHT = 168.0, 46.0  # of a node
_ROOM = 1060.0  # what a page is wide
_MARGIN = 8.0
_LETTERS = 17  # that a node's line has room for, as most are wide
_SMALLEST = 0.72  # to which a picture shrinks before it scrolls

STATUS_PATHS = {
    "succeeded": "M-7 0A7 7 0 1 1 7 0A7 7 0 1 1 -7 0ZM-3.2 .2L-1 2.6L3.4 -2.4",
    "failed": "M0 -8L8 0L0 8L-8 0ZM-2.4 -2.4L2.4 2.4M-2.4 2.4L2.4 -2.4",
    "interrupted": "M0 -7.5L8 6.5L-8 6.5ZM0 -3L0 1.5M0 4L0 4.2",
    "started": "M-6.5 -6.5L6.5 -6.5L6.5 6.5L-6.5 6.5ZM-2 -3.4L3.2 0L-2 3.4Z",
    "missing": "M-7 -7L7 -7L7 7L-7 7ZM-2 -2A2.1 2.1 0 1 1 0 1L0 1.6M0 4L0 4.2",
}
"""The outline of each status's mark, and the sign in it, around 0, 0."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """How a layout becomes a picture: layers go `down` the page, or to the right; sizes in pixels."""

    down: bool

    @property
    def gaps(self) -> tuple[float, float]:
        """What is left free between two layers, and between two nodes of one."""
        return (34.0, 20.0) if self.down else (40.0, 12.0)

    def point(self, layer: float, across: float) -> tuple[float, float]:
        """Return the middle of a place."""
        between, beside = self.gaps
        if self.down:
            x, y = across * (_WIDTH + beside), layer * (_HEIGHT + between)
        else:
            x, y = layer * (_WIDTH + between), across * (_HEIGHT + beside)
        return x + _WIDTH / 2 + _MARGIN, y + _HEIGHT / 2 + _MARGIN

    def ends(self, middle: tuple[float, float]) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return where edges come into a place and where they leave it."""
        x, y = middle
        if self.down:
            return (x, y - _HEIGHT / 2), (x, y + _HEIGHT / 2)
        return (x - _WIDTH / 2, y), (x + _WIDTH / 2, y)

    def size(self, layout: Layout) -> tuple[float, float]:
        """Return how wide and high the whole is."""
        x, y = self.point(max(layout.layers - 1, 0), layout.across)
        return x + _WIDTH / 2 + _MARGIN, y + _HEIGHT / 2 + _MARGIN


def picture(found: Lineage, anchors: Mapping[str, str]) -> Markup:
    """Return a lineage as SVG. `anchors` are the places in the page that runs are described at, by id."""
    drawn = graph(found)
    layout = arrange([node.key for node in drawn.nodes], drawn.edges)
    frame = min(_Frame(True), _Frame(False), key=lambda frame: _unfit(frame, layout))
    width, height = frame.size(layout)
    return element(
        "svg",
        element("title", f"What run {found.run.id} comes from"),
        *_edges(drawn, layout, frame),
        *(_node(node, frame.point(*layout.nodes[node.key]), anchors, found.run.id) for node in drawn.nodes),
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        style=f"max-width:{width:.0f}px;min-width:{width * _SMALLEST:.0f}px",
        role="group",
        class_="lineage",
    )


def _unfit(frame: _Frame, layout: Layout) -> float:
    """Return how much wider than a page a picture is; down is what a page has room for."""
    return max(frame.size(layout)[0] - _ROOM, 0.0)


def _edges(drawn: Graph, layout: Layout, frame: _Frame) -> list[Markup]:
    """Return the edges with their heads, from one node's border to another's."""
    lines = []
    for edge in drawn.edges:
        ends = [end for place in layout.edges[edge] for end in frame.ends(frame.point(*place))][1:-1]
        lines += [element("path", d=_curve(ends, frame), class_="edge"), _head(ends[-1], frame)]
    return lines


def _curve(points: list[tuple[float, float]], frame: _Frame) -> str:
    """Return a line that is curved from layer to layer, and straight where it passes one."""
    words = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for index, ((x, y), (to_x, to_y)) in enumerate(pairwise(points)):
        if index % 2:
            words.append(f"L{to_x:.1f} {to_y:.1f}")
            continue
        middle = (
            ((x, (y + to_y) / 2), (to_x, (y + to_y) / 2))
            if frame.down
            else (((x + to_x) / 2, y), ((x + to_x) / 2, to_y))
        )
        words.append("C" + " ".join(f"{a:.1f} {b:.1f}" for a, b in (*middle, (to_x, to_y))))
    return "".join(words)


def _head(tip: tuple[float, float], frame: _Frame) -> Markup:
    x, y = tip
    sides = ((-4, -7), (4, -7)) if frame.down else ((-7, -4), (-7, 4))
    return element(
        "path", d=f"M{x:.1f} {y:.1f}" + "".join(f"L{x + a:.1f} {y + b:.1f}" for a, b in sides) + "Z", class_="head"
    )


def _node(node: Node, middle: tuple[float, float], anchors: Mapping[str, str], chosen: str) -> Markup:
    left, top = middle[0] - _WIDTH / 2, middle[1] - _HEIGHT / 2
    is_run = node.kind in {"run", "missing"}
    is_chosen = node.kind == "run" and node.run == chosen
    indent, lower = 32 if is_run else 14, 3 if node.kind == "data" else 0  # below the rim of the drum
    lines = (
        element("text", _cut(node.title), y=20 + lower, class_="name"),
        element("text", _cut(node.detail), y=36 + lower, class_="detail"),
    )
    parts = joined(
        element("title", node.told),
        element("path", d=_outline(node.kind), class_="shape"),
        _mark(node) if is_run else "",
        element("svg", *lines, x=indent, width=_WIDTH - indent - 4, height=_HEIGHT),  # which clips what is too wide
    )
    anchor = anchors.get(node.run)
    return element(
        "g",
        element("a", parts, href=f"#{anchor}") if anchor else parts,
        transform=f"translate({left:.1f} {top:.1f})",
        class_=" ".join(filter(None, ("node", node.kind, node.status, "chosen" if is_chosen else ""))),
    )


def _outline(kind: str) -> str:
    """Return the border: data in a drum, what was made on a sheet with a corner turned down, runs in a box."""
    w, h = _WIDTH, _HEIGHT
    if kind == "data":
        return f"M0 4A{w / 2} 4 0 0 1 {w} 4V{h - 4}A{w / 2} 4 0 0 1 0 {h - 4}ZM0 4A{w / 2} 4 0 0 0 {w} 4"
    if kind == "output":
        return f"M0 0H{w - 12}L{w} 12V{h}H0ZM{w - 12} 0V12H{w}"
    return f"M8 0H{w - 8}A8 8 0 0 1 {w} 8V{h - 8}A8 8 0 0 1 {w - 8} {h}H8A8 8 0 0 1 0 {h - 8}V8A8 8 0 0 1 8 0Z"


def _mark(node: Node) -> Markup:
    return element(
        "path",
        d=STATUS_PATHS["missing" if node.kind == "missing" else node.status],
        transform=f"translate(17 {_HEIGHT / 2:.0f})",
        class_="mark",
    )


def status_mark(status: str) -> Markup:
    """Return the mark of a status alone, as it stands in a line of text."""
    mark = element("path", d=STATUS_PATHS[status], class_="mark")
    return element("svg", mark, viewBox="-9 -9 18 18", width=16, height=16, class_=f"sign {status}", aria_hidden="true")


def legend(found: Lineage) -> list[Markup]:
    """Return what each shape in a lineage's picture means."""
    drawn = graph(found)
    kinds = [kind for kind in ("data", "output") if any(node.kind == kind for node in drawn.nodes)]
    states = [status for status in STATUS_PATHS if any(status in {node.status, node.kind} for node in drawn.nodes)]
    words = {"output": "made by a run", "started": "running", "missing": "no record here"}
    return [
        element("span", _small(kind) if kind in kinds else status_mark(kind), words.get(kind, kind))
        for kind in (*kinds, *states)
    ]


def _small(kind: str) -> Markup:
    shape = element("path", d=_outline(kind), class_="shape", vector_effect="non-scaling-stroke")
    box = f"0 0 {_WIDTH} {_HEIGHT}"
    return element("svg", shape, viewBox=box, width=36, height=10, class_=kind, aria_hidden="true")


def _cut(text: str) -> str:
    """Return a text that is too long with its middle left out."""
    if len(text) <= _LETTERS:
        return text
    head = (_LETTERS - 1) * 2 // 3
    return f"{text[:head]}…{text[head + 1 - _LETTERS :]}"
