"""What comparing outputs must hold for any values: against itself, against an oracle, in any order."""

from __future__ import annotations

import functools
import json
import math
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy", reason="numpy is not installed")

from repro_env.config.comparison import Comparison  # noqa: E402 - after what it takes
from repro_env.record.comparison.base import Verdict  # noqa: E402
from repro_env.record.comparison.compare import compare  # noqa: E402
from repro_env.record.comparison.documents import compare_values  # noqa: E402
from repro_env.record.comparison.tally import Tally  # noqa: E402

SETTINGS = settings(max_examples=60, deadline=None)

floats = st.floats() | st.sampled_from([0.0, -0.0, 1.0, 1.0 + 1e-7, math.nan, math.inf, -math.inf])
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def no_command(_words: Sequence[str], _then: Path, _now: Path) -> tuple[int, str]:
    raise AssertionError


def near(then: float, now: float, rtol: float) -> bool:
    """The definition, in the plainest words."""
    if math.isnan(then) or math.isnan(now):
        return math.isnan(then) and math.isnan(now)
    if math.isinf(then) or math.isinf(now):
        return then == now
    return abs(then - now) <= rtol * abs(then)


@SETTINGS
@given(pairs=st.lists(st.tuples(floats, floats), max_size=20), rtol=st.sampled_from([0.0, 1e-6, 0.5]))
def test_arrays_differ_where_the_definition_says(pairs: list[tuple[float, float]], rtol: float) -> None:
    tally = Tally(Comparison(method="numeric", rtol=rtol))
    then, now = (np.array(side, dtype=float) for side in (zip(*pairs, strict=True) if pairs else ([], [])))
    tally.array(then, now, str)
    wrong = [index for index, pair in enumerate(pairs) if not near(*pair, rtol)]
    verdict = tally.verdict()
    assert (verdict.equal, verdict.count, verdict.total) == (not wrong, len(wrong), len(pairs))
    assert verdict.where == (str(wrong[0]) if wrong else "")


@SETTINGS
@given(values=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8), step=st.integers(1, 3))
def test_integers_are_told_apart_exactly(values: list[int], step: int) -> None:
    kept = [value for value in values if value + step < 2**63] or [0]
    then = np.array(kept, dtype="i8")
    tally = Tally(Comparison(method="numeric", atol=float(step - 1)))
    tally.array(then, then + step, str)
    assert tally.verdict().count == len(kept)
    assert tally.verdict().absolute == step


def shuffled(value: Any, order: random.Random) -> Any:
    """Return a document with the keys of every object in another order."""
    if isinstance(value, dict):
        items = [(key, shuffled(inner, order)) for key, inner in value.items()]
        order.shuffle(items)
        return dict(items)
    return [shuffled(inner, order) for inner in value] if isinstance(value, list) else value


@SETTINGS
@given(document=documents, seed=st.integers(0, 9))
def test_a_document_equals_itself_in_any_order_of_keys(document: Any, seed: int) -> None:
    again = json.loads(json.dumps(shuffled(document, random.Random(seed))))
    tally = Tally(Comparison(method="json"))
    compare_values(tally, document, again)
    assert tally.verdict().equal


@SETTINGS
@given(then=documents, now=documents)
def test_documents_that_are_written_alike_are_the_equal_ones(then: Any, now: Any) -> None:
    tally = Tally(Comparison(method="json"))
    compare_values(tally, then, now)
    if json.dumps(then, sort_keys=True) == json.dumps(now, sort_keys=True):
        assert tally.verdict().equal
    elif not _holds_numbers(then):
        assert not tally.verdict().equal


def _holds_numbers(value: Any) -> bool:
    """Whether 1 and 1.0, or 0.0 and -0.0, may stand in a document: written differently, and equal."""
    if isinstance(value, dict | list):
        return any(map(_holds_numbers, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int | float) and not isinstance(value, bool)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.none() | st.integers(-5, 5), st.none() | st.floats(allow_nan=False, width=32), st.text(max_size=2)
        ),
        max_size=12,
    ),
    seed=st.integers(0, 9),
)
def test_rows_in_any_order_are_equal(rows: list[tuple[Any, ...]], seed: int) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    kinds = [("a", arrow.int32()), ("b", arrow.float64()), ("c", arrow.string())]
    other = random.Random(seed).sample(rows, len(rows))
    with tempfile.TemporaryDirectory() as name:
        places = Path(name) / "then.parquet", Path(name) / "now.parquet"
        for place, listed in zip(places, (rows, other), strict=True):
            columns = [arrow.array([row[index] for row in listed], kind) for index, (_, kind) in enumerate(kinds)]
            parquet.write_table(arrow.table(columns, names=[title for title, _ in kinds]), place, row_group_size=5)

        def held(text: str) -> Verdict:
            return compare(*places, Comparison.parse(text), run_command=no_command)

        assert held("parquet: order=any").equal
        assert held("parquet").equal == (rows == other)


WAYS = {
    "a.npy": "numeric",
    "a.npz": "numeric",
    "a.safetensors": "numeric",
    "a.csv": "numeric",
    "a.json": "json",
    "a.parquet": "parquet",
    "any.parquet": "parquet: order=any",
    "a.png": "image: ssim>=0.9",
    "a.jpg": "image: ssim>=0.9",
    "a.tif": "image: ssim>=0.9",
    "a.gif": "image: ssim>=0.9",
    "a.webp": "image: ssim>=0.9",
    "a.bmp": "image: ssim>=0.9",
}
"""A file of each kind that some comparison reads, and that comparison."""


@functools.cache
def whole(name: str) -> bytes:
    """Return such a file as it is meant to be."""
    values = np.arange(300, dtype=np.float32).reshape(20, 15)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / name
        match path.suffix:
            case ".npy":
                np.save(path, values)
            case ".npz":
                np.savez_compressed(path, a=values, b=np.arange(3))
            case ".safetensors":
                header = json.dumps({"w": {"dtype": "F32", "shape": [20, 15], "data_offsets": [0, 1200]}}).encode()
                path.write_bytes(len(header).to_bytes(8, "little") + header + values.tobytes())
            case ".csv":
                np.savetxt(path, values, delimiter=",")
            case ".json":
                path.write_text(json.dumps({"a": values.tolist(), "b": {"c": "text"}}))
            case ".parquet":
                arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
                parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
                table = {"x": values[0], "name": [f"n{number}" for number in range(15)]}
                table |= {} if "order" in WAYS[name] else {"list": [[1.0]] * 15}  # which have no order
                parquet.write_table(arrow.table(table), path)
            case _:
                pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
                pillow.fromarray(values.astype(np.uint8)).convert("RGB").save(path)
        return path.read_bytes()


@pytest.mark.parametrize("name", WAYS)
@settings(max_examples=80, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    length=st.none() | st.integers(0, 10**6),
)
def test_what_is_damaged_is_a_difference_and_no_failure(
    name: str, changes: list[tuple[int, int]], length: int | None
) -> None:
    good = whole(name)
    bad = bytearray(good[: None if length is None else length % (len(good) + 1)])
    for offset, byte in changes:
        if bad:
            bad[offset % len(bad)] = byte
    with tempfile.TemporaryDirectory() as directory:
        places = [Path(directory) / side / name for side in ("then", "now")]
        for place, content in zip(places, (good, bytes(bad)), strict=True):
            place.parent.mkdir()
            place.write_bytes(content)
        verdict = compare(places[0], places[1], Comparison.parse(WAYS[name]), run_command=no_command)
    assert verdict.equal or str(verdict)
    assert verdict.equal or bytes(bad) != good
