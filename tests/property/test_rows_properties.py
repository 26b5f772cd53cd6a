"""Rows of any kind: the bytes depend on which they are and on nothing else, and readers find them all."""

from __future__ import annotations

import io
import tempfile
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.data.tables.answer import write_answer

MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))  # noqa: DTZ001 - a zone is given below
SCALARS = {
    "bool": st.booleans(),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(allow_nan=False),
    "string": st.text(st.characters(codec="utf-8")),
    "binary": st.binary(),
    "decimal": st.decimals(-(10**15), 10**15, places=6),
    "date": st.dates(date(1, 1, 1), date(9999, 12, 31)),
    "time": st.times(time(0), time(23, 59, 59, 999999)),
    "timestamp": MOMENTS,
    "timestamp[UTC]": MOMENTS.map(lambda moment: moment.replace(tzinfo=UTC)),
}


@st.composite
def tables(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    kinds = draw(st.lists(st.tuples(st.sampled_from(sorted(SCALARS)), st.booleans()), min_size=1, max_size=4))
    cells = [
        st.none() | (st.lists(st.none() | SCALARS[kind], max_size=4) if many else SCALARS[kind]) for kind, many in kinds
    ]
    return draw(st.lists(st.tuples(*cells), min_size=1, max_size=30))


def written(rows: list[tuple[Any, ...]], size: int, *, ordered: bool) -> bytes:
    names = {str(number): "" for number in range(len(rows[0]))}
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    with tempfile.TemporaryDirectory() as cache:
        answer = write_answer("raw", names, batches, cache=Path(cache), ordered=ordered)
        with answer.stream as stream:
            return stream.read()


@settings(deadline=None, max_examples=60)
@given(tables(), st.randoms(use_true_random=False), st.integers(1, 10))
def test_the_same_rows_are_the_same_bytes(rows: list[tuple[Any, ...]], chance: Any, size: int) -> None:
    shuffled = chance.sample(rows, len(rows))
    assert written(rows, len(rows), ordered=True) == written(shuffled, size, ordered=True)


@settings(deadline=None, max_examples=100)
@given(tables(), st.integers(1, 10))
def test_readers_find_every_value(rows: list[tuple[Any, ...]], size: int) -> None:
    table = pq.ParquetFile(io.BytesIO(written(rows, size, ordered=False))).read()
    table.validate(full=True)
    found = [tuple(row.values()) for row in table.to_pylist()]
    assert list(map(_comparable, found)) == list(map(_comparable, rows))


def _comparable(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_comparable(one) for one in value]
    return value.normalize() if isinstance(value, Decimal) else value
