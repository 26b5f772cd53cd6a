"""Rows become one file of Parquet that follows from them alone, and that others read as what they were."""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import os
import random
import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repro_env.data.tables.answer import Answer, write_answer
from repro_env.data.tables.changes import row_changes
from repro_env.data.tables.kinds import Json
from repro_env.data.tables.spool import Spool, row_key
from repro_env.errors import ConfigError, FetchError

Rows = Sequence[tuple[Any, ...]]

COLUMNS = [
    "i",
    "f",
    "t",
    "b",
    "dec",
    "day",
    "ts",
    "tsz",
    "tod",
    "id",
    "json",
    "list",
    "nothing",
    "flag",
    "flags",
    "words",
]


def everything(count: int = 50) -> list[tuple[Any, ...]]:
    """Rows of every kind, with and without nulls, empty lists and lists with nulls."""
    return [
        (
            i % 7,
            None if i % 3 == 0 else i * 1.5,
            f"t{i}ü",
            b"x" * i if i % 2 else None,
            Decimal(i) / 8,
            date(1969, 12, 1) + timedelta(i),
            datetime(1969, 12, 31, 23, 59, 59, 123456) + timedelta(seconds=i),  # noqa: DTZ001 - without a zone
            datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2))),
            time(1, 2, 3, i),
            UUID(int=i),
            {"b": i, "a": None},
            [1, None, i] if i % 4 else ([] if i % 8 else None),
            None,
            i % 2 == 0,
            [bool(i % 2)] * i,
            ["a"] * (i % 3),
        )
        for i in range(count)
    ]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def answer(cache: Path, names: Iterable[str], *batches: Rows, ordered: bool = True, **declared: str) -> Answer:
    return write_answer("raw", dict.fromkeys(names, "") | declared, batches, cache=cache, ordered=ordered)


def content(found: Answer) -> bytes:
    with found.stream as stream:
        return stream.read()


def table(found: Answer) -> Any:
    read = pq.ParquetFile(io.BytesIO(content(found))).read()
    read.validate(full=True)
    return read


def test_every_kind_is_read_as_what_it_was(cache: Path) -> None:
    rows = everything()
    read = table(answer(cache, COLUMNS, rows[:20], rows[20:], ordered=False))
    for number, (found, row) in enumerate(zip(read.to_pylist(), rows, strict=True)):
        expected = dict(zip(COLUMNS, row, strict=True))
        expected["json"] = f'{{"a":null,"b":{number}}}'
        found["id"] = UUID(str(found["id"]))
        assert found == expected
    assert [str(kind) for kind in read.schema.types[4:9]] == [
        "decimal128(38, 3)",
        "date32[day]",
        "timestamp[us]",
        "timestamp[us, tz=UTC]",
        "time64[us]",
    ]


def test_the_bytes_are_these_and_no_version_of_anything_moves_them(cache: Path) -> None:
    found = content(answer(cache, COLUMNS, everything()))
    assert hashlib.sha256(found).hexdigest() == "b2e82d787d89531650f5f66cb26f2e57f9421bca82faf4ae9d0d9b535962ee1b"
    assert b"arrow" not in found.lower()


def test_neither_the_order_of_rows_nor_of_batches_counts(cache: Path) -> None:
    rows = everything()
    shuffled = random.Random(7).sample(rows, len(rows))
    batches = [shuffled[start : start + 7] for start in range(0, len(rows), 7)]
    assert content(answer(cache, COLUMNS, rows)) == content(answer(cache, COLUMNS, *batches))
    kept = content(answer(cache, COLUMNS, rows, ordered=False))
    assert kept != content(answer(cache, COLUMNS, shuffled, ordered=False))


def test_the_order_is_by_value_then_nan_then_null(cache: Path) -> None:
    minus_nan = struct.unpack("<d", bytes.fromhex("010000000000f8ff"))[0]
    values = [None, math.nan, math.inf, 1.0, 0.0, -0.0, -math.inf, minus_nan]
    files = {content(answer(cache, ["x"], [(one,) for one in order])) for order in itertools.permutations(values[1:])}
    assert len(files) == 1, "every NaN is the same one, and zero has two signs in one order"
    read = table(answer(cache, ["x"], [(one,) for one in values])).column("x").to_pylist()
    assert str(read) == "[-inf, -0.0, 0.0, 1.0, inf, nan, nan, None]"
    texts = ["b", "ä", "B", "a", "", "😀", "\uffff"]
    read = table(answer(cache, ["x"], [(one,) for one in texts])).column("x").to_pylist()
    assert read == ["", "B", "a", "b", "ä", "\uffff", "😀"], "by code point, whatever the locale"


def test_rows_beyond_the_memory_go_to_files_without_names(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir()
    rows = everything(300) * 10
    plain = [tuple(tuple(one) if isinstance(one, list) else one for one in row) for row in rows]
    plain = [row[:10] + row[11:] for row in plain]
    monkeypatch.setattr(Spool, "memory", 200_000)
    spool = Spool(cache, ordered=True)
    for start in range(0, len(plain), 100):
        spool.add(plain[start : start + 100])
    assert list(cache.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) > 10
    assert list(spool.rows()) == sorted(plain, key=row_key)
    kept = Spool(cache, ordered=False)
    for start in range(0, len(plain), 100):
        kept.add(plain[start : start + 100])
    assert list(kept.rows()) == plain


def fill(spool: Spool) -> None:
    for number in range(1000):
        spool.add([(number,)])


def test_too_many_rows_are_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir()
    monkeypatch.setattr(Spool, "memory", 1)
    spool = Spool(cache, ordered=True)
    with pytest.raises(FetchError, match="too large"):
        fill(spool)


def test_row_groups_end_where_rows_and_bytes_say(cache: Path) -> None:
    few = pq.ParquetFile(io.BytesIO(content(answer(cache, ["x"], [(i,) for i in range(70_000)]))))
    assert [few.metadata.row_group(i).num_rows for i in range(few.num_row_groups)] == [65536, 4464]
    large = [(b"x" * (257 << 10),) for _ in range(300)]
    many = pq.ParquetFile(io.BytesIO(content(answer(cache, ["x"], large, ordered=False))))
    assert [many.metadata.row_group(i).num_rows for i in range(many.num_row_groups)] == [256, 44]
    larger = [(b"x" * (3 << 20),) for _ in range(40)]
    more = pq.ParquetFile(io.BytesIO(content(answer(cache, ["x"], larger, ordered=False))))
    assert [more.metadata.row_group(i).num_rows for i in range(more.num_row_groups)] == [32, 8]


@pytest.mark.parametrize(
    ("values", "declared", "kind"),
    [
        ([1, 2.5], "", "double"),
        ([[1, 2.5], [3]], "", "list<element: double>"),
        ([1, Decimal("2.50")], "", "decimal128(38, 2)"),
        ([2**63], "", "decimal128(38, 0)"),
        ([1], "int32", "int32"),
        ([2**31], "int32", "int64"),
        ([0.1], "float32", "float"),
        ([Decimal("1.5")], "decimal(10,2)", "decimal128(10, 2)"),
        ([Decimal("1E+3")], "", "decimal128(38, 0)"),
        ([None], "decimal", "null"),
        ([None], "timestamp[UTC]", "timestamp[us, tz=UTC]"),
        ([], "list<int32>", "list<element: int32>"),
        ([[]], "", "list<element: null>"),
        (["{}"], "json", "extension<arrow.json>"),
        ([Json("{}")], "", "extension<arrow.json>"),
        ([memoryview(b"a"), bytearray(b"b")], "", "binary"),
    ],
)
def test_types_of_columns(values: list[Any], declared: str, kind: str, cache: Path) -> None:
    found = table(answer(cache, ["x"], [(one,) for one in values], x=declared))
    assert str(found.schema.field("x").type) == kind
    assert found.num_rows == len(values)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([1, "1"], "more than one type: int64, string"),
        ([True, 1], "more than one type: bool, int64"),
        ([[1], 1], "more than one type: int64, list"),
        ([[1, "1"]], "more than one type: int64, string"),
        ([datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)], "more than one type: timestamp, timestamp[UTC]"),  # noqa: DTZ001 - on purpose
        ([2**53 + 1, 0.5], "cannot hold its whole numbers exactly"),
        ([Decimal("NaN")], "NaN is no decimal number"),
        ([Decimal("1E+38")], "more than 38 digits"),
        ([timedelta(1)], "datetime.timedelta have no place"),
        ([time(1, tzinfo=UTC)], "time of day with a zone"),
        ([[[1]]], "lists of lists"),
        ([3 + 4j], "complex have no place"),
    ],
)
def test_what_has_no_place_is_refused_by_the_columns_name(values: list[Any], why: str, cache: Path) -> None:
    with pytest.raises(ConfigError, match="column x of data raw cannot be written as Parquet") as error:
        answer(cache, ["x"], *([(one,)] for one in values))
    assert why in error.value.why


def test_text_that_is_no_unicode_is_refused(cache: Path) -> None:
    with pytest.raises(ConfigError, match="no Unicode"):
        answer(cache, ["x"], [("\ud800",)])


def test_no_rows_and_one_row_have_words_of_their_own(cache: Path) -> None:
    empty = answer(cache, ["a\nb", "c"], c="int32")
    assert empty.words == "0 rows: a\\nb null, c int32"
    assert table(empty).schema.types == [pa.null(), pa.int32()]
    one = answer(cache, ["a"], [([1],)])
    assert one.words == "1 row: a list<int64>"
    content(one)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (everything(40), everything(40)[3:], "0 rows are new, 3 rows are gone, 37 the same"),
        (everything(40), everything(41), "1 row is new, 0 rows are gone, 40 the same"),
        (everything(40) * 2, everything(40), "0 rows are new, 40 rows are gone, 40 the same"),
        (everything(9), everything(9)[::-1], "the same rows in another order"),
        (everything(0), [], "the same rows in another order"),
        (everything(9), [(*row[:-1], ["b"]) for row in everything(9)], "9 rows are new, 9 rows are gone, 0 the same"),
    ],
)
def test_rows_that_differ_are_counted(before: Rows, after: Rows, words: str, tmp_path: Path) -> None:
    (tmp_path / "before").write_bytes(content(answer(tmp_path, COLUMNS, before, ordered=False)))
    (tmp_path / "after").write_bytes(content(answer(tmp_path, COLUMNS, after, ordered=False)))
    assert row_changes(tmp_path / "before", tmp_path / "after") == words


def test_rows_of_other_columns_and_other_programs_are_not_counted(tmp_path: Path) -> None:
    (tmp_path / "own").write_bytes(content(answer(tmp_path, ["a"], [(1,)])))
    (tmp_path / "column").write_bytes(content(answer(tmp_path, ["b"], [(1,)])))
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_bytes(b"no Parquet")
    (tmp_path / "damaged").write_bytes(b"PAR1" + b"\xff" * 8 + b"PAR1")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "theirs")
    others = ["column", "empty", "text", "damaged", "theirs"]
    assert [row_changes(tmp_path / "own", tmp_path / other) for other in others] == [""] * 5
