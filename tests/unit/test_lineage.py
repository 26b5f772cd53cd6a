"""Where a run's inputs come from."""

from __future__ import annotations

from dataclasses import replace

from histories import chain, output, pipeline, ran, taken
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.record.lineage import branches, lineage
from repro_env.record.model import RecordedInput, RunRecord
from repro_env.values import Digest


def told(run: RunRecord, records: tuple[RunRecord, ...]) -> list[str]:
    return [
        f"{line.indent}{line.used.name} <- {line.maker.step if line.maker else 'data'} {line.note}".rstrip()
        for line in branches(lineage(run, records))
    ]


def test_makers_come_before_those_that_use_them() -> None:
    clean, train, report = pipeline()
    found = lineage(report, (report, train, clean, ran("other")))
    assert list(found.runs) == [clean.id, train.id, report.id]
    assert found.run == report
    assert (found.missing, found.cyclic) == ((), frozenset())


def test_a_run_from_data_alone_is_its_own_lineage() -> None:
    [run] = chain(1)
    assert list(lineage(run, ()).runs) == [run.id]


def test_a_missing_record_is_named_and_ends_the_branch() -> None:
    clean, train, _report = pipeline()
    found = lineage(train, (train,))
    assert found.missing == (clean.id,)
    assert list(found.runs) == [train.id]
    assert told(train, (train,)) == ["└─ clean.table <- data missing"]


def test_the_tree_tells_each_run_once() -> None:
    clean, train, report = pipeline()
    assert told(report, (clean, train)) == [
        "├─ train.metrics <- train",
        "│  └─ clean.table <- clean",
        "│     └─ raw <- data",
        "└─ clean.table <- clean above",
    ]


def test_a_circle_is_followed_once() -> None:
    first, second = chain(2)
    first = replace(first, inputs=(taken(second),))
    found = lineage(second, (first, second))
    assert list(found.runs) == [first.id, second.id]
    assert found.cyclic == {(first.id, "s1.o1")}
    assert told(second, (first,)) == ["└─ s0.o0 <- s0", "   └─ s1.o1 <- data circle"]


def test_a_run_that_reads_itself_is_a_circle() -> None:
    run = ran("a", outputs=(output("x"),))
    run = replace(run, inputs=(taken(run),))
    assert told(run, ()) == ["└─ a.x <- data circle"]


def test_a_chain_longer_than_the_stack() -> None:
    runs = chain(5000)
    assert len(lineage(runs[-1], runs).runs) == 5000
    assert len(branches(lineage(runs[-1], runs))) == 5000


@given(
    st.lists(st.lists(st.integers(0, 11), max_size=4), min_size=1, max_size=10)  # whom each run reads, even itself
)
@settings(deadline=None)
def test_any_records_have_a_lineage(readers: list[list[int]]) -> None:
    def used(number: int, position: int) -> RecordedInput:
        return RecordedInput(
            name=f"i{position}", kind="file", digest=Digest.of(b""), files=1, size=0, run=f"run{number}"
        )

    records = [
        ran("x", id=f"run{number}", inputs=tuple(used(other, place) for place, other in enumerate(others)))
        for number, others in enumerate(readers)
    ]
    found = lineage(records[0], records)
    assert found.run == records[0]
    places = {run: place for place, run in enumerate(found.runs)}
    for run in found.runs.values():
        for one in run.inputs:
            assert one.run in places or one.run in found.missing
            if one.run in places and (run.id, one.name) not in found.cyclic:
                assert places[one.run] < places[run.id]
    told = branches(found)
    assert {line.maker.id for line in told if line.maker} | {records[0].id} == set(found.runs)
