"""Where a run's inputs come from: the runs that made them, up to the raw data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from repro_env.frozen import dataclass
from repro_env.record.model import RecordedInput, RunRecord

MISSING = "missing"
"""How a run is marked that an input names and whose record is not among the project's."""

_PARENT = {"├─ ": "│  ", "└─ ": "   "}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """A run with everything upstream of it.

    `runs` are by id, each after those it takes something from, so that the run itself is the last one. `missing` are
    the ids that inputs name and no record was found for. `cyclic` are inputs, as (run, input), whose maker is
    downstream of them, which no honest record says; they are not followed.
    """

    runs: Mapping[str, RunRecord]
    missing: tuple[str, ...]
    cyclic: frozenset[tuple[str, str]] = frozenset()

    @property
    def run(self) -> RunRecord:
        """The run whose lineage it is."""
        return [*self.runs.values()][-1]

    def maker(self, run: str, used: RecordedInput) -> RunRecord | None:
        """Return the run that made an input of `run`; None for data, and for what is missing or cyclic."""
        return None if used.run is None or (run, used.name) in self.cyclic else self.runs.get(used.run)


def lineage(run: RunRecord, records: Iterable[RunRecord]) -> Lineage:
    """Return the lineage of a run among these records. A run that stands in a circle is followed once."""
    known = {record.id: record for record in records} | {run.id: run}
    ordered: dict[str, RunRecord] = {}
    missing: dict[str, None] = {}
    cyclic: set[tuple[str, str]] = set()
    entered = {run.id}
    path = [(run, iter(run.inputs))]  # not by recursion: a chain may be longer than the interpreter's stack
    while path:
        record, inputs = path[-1]
        used = next(inputs, None)
        if used is None:
            ordered[record.id] = record
            path.pop()
        elif used.run is None or used.run in ordered:
            continue
        elif used.run not in known:
            missing[used.run] = None
        elif used.run in entered:
            cyclic.add((record.id, used.name))
        else:
            entered.add(used.run)
            path.append((known[used.run], iter(known[used.run].inputs)))
    return Lineage(runs=ordered, missing=tuple(missing), cyclic=frozenset(cyclic))


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One line of a lineage as a tree: an input, with the run that made it.

    `indent` is drawn before it. `maker` is None for raw data, and where `note` says why it is not followed: `missing`,
    `above` for a run whose own inputs have been told, `circle`.
    """

    indent: str
    used: RecordedInput
    maker: RunRecord | None
    note: str = ""


def branches(found: Lineage) -> tuple[Branch, ...]:
    """Return a lineage as the lines of a tree, from the run's inputs to the raw data."""
    lines: list[Branch] = []
    told: set[str] = set()
    waiting = _children(found.run, "")
    while waiting:
        run, used, indent, stem = waiting.pop()
        maker = found.maker(run, used)
        note = "above" if maker and maker.id in told and maker.inputs else _note(found, run, used)
        lines.append(Branch(indent=indent + stem, used=used, maker=maker, note=note))
        if maker and not note:
            told.add(maker.id)
            waiting += _children(maker, indent + _PARENT[stem])
    return tuple(lines)


def _children(record: RunRecord, indent: str) -> list[tuple[str, RecordedInput, str, str]]:
    """Return a run's inputs, the first one last, as a stack takes them."""
    last = len(record.inputs) - 1
    stems = ("└─ " if index == last else "├─ " for index in range(last + 1))
    return [(record.id, used, indent, stem) for used, stem in zip(record.inputs, stems, strict=True)][::-1]


def _note(found: Lineage, run: str, used: RecordedInput) -> str:
    if (run, used.name) in found.cyclic:
        return "circle"
    return MISSING if used.run is not None and used.run not in found.runs else ""
