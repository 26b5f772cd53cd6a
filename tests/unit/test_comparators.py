from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

np = pytest.importorskip("numpy", reason="numpy is not installed")

from repro_env.config.comparison import Comparison  # noqa: E402 - after what it takes
from repro_env.record.comparison.base import ComparisonError, Verdict  # noqa: E402
from repro_env.record.comparison.compare import check_available, compare  # noqa: E402
from repro_env.record.comparison.pictures import structural_similarity  # noqa: E402
from repro_env.record.comparison.tally import Tally  # noqa: E402


def no_command(_words: Sequence[str], _then: Path, _now: Path) -> tuple[int, str]:
    raise AssertionError


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "then").mkdir()
    (tmp_path / "now").mkdir()
    return tmp_path / "then", tmp_path / "now"


def held(sides: tuple[Path, Path], name: str, comparison: str = "exact") -> Verdict:
    return compare(sides[0] / name, sides[1] / name, Comparison.parse(comparison), run_command=no_command)


def arrays(sides: tuple[Path, Path], then: Any, now: Any, comparison: str = "numeric") -> Verdict:
    np.save(sides[0] / "a.npy", then)
    np.save(sides[1] / "a.npy", now)
    return held(sides, "a.npy", comparison)


class TestExact:
    def test_text_is_told_by_its_line(self, sides: tuple[Path, Path]) -> None:
        (sides[0] / "log").write_text("one\ntwo\nthree\n")
        (sides[1] / "log").write_text("one\n2\nthree\n")
        assert str(held(sides, "log")) == "line 2: 'two' then, '2' now; 14 bytes then, 12 now"

    def test_bytes_are_told_by_their_offset(self, sides: tuple[Path, Path]) -> None:
        data = bytes(range(256)) * 8192
        (sides[0] / "blob").write_bytes(data)
        (sides[1] / "blob").write_bytes(data[:1_500_000] + b"\xff" + data[1_500_001:])
        assert str(held(sides, "blob")) == "byte 1,500,000: the first byte that differs"

    def test_one_that_ends_sooner(self, sides: tuple[Path, Path]) -> None:
        (sides[0] / "blob").write_bytes(b"\0\1\2")
        (sides[1] / "blob").write_bytes(b"\0\1")
        assert str(held(sides, "blob")) == "byte 2: one of them ends here; 3 bytes then, 2 now"

    def test_a_long_line_is_shown_around_its_difference(self, sides: tuple[Path, Path]) -> None:
        (sides[0] / "line").write_text("x" * 1000 + "a" + "x" * 1000)
        (sides[1] / "line").write_text("x" * 1000 + "b" + "x" * 1000)
        verdict = held(sides, "line")
        assert "xax" in verdict.difference
        assert "xbx" in verdict.difference
        assert len(verdict.difference) < 250

    def test_empty_files_are_equal(self, sides: tuple[Path, Path]) -> None:
        for side in sides:
            (side / "empty").touch()
        assert held(sides, "empty") == Verdict(equal=True)
        (sides[1] / "empty").write_text("x")
        assert str(held(sides, "empty")) == "line 1: '' then, 'x' now; 0 bytes then, 1 now"

    def test_a_directory_is_compared_file_by_file(self, sides: tuple[Path, Path]) -> None:
        for side, word in zip(sides, ("one", "two"), strict=True):
            (side / "d/sub").mkdir(parents=True)
            (side / "d/a").write_text("same")
            (side / "d/sub/b").write_text(word)
            (side / "d/sub/c").write_text(word)
            (side / "d/link").symlink_to("a")
        assert str(held(sides, "d")) == "sub/b, line 1: 'one' then, 'two' now; 2 of 4 files differ"

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda now: (now / "a").unlink(), "a: is missing; 1 of 1 files differ"),
            (lambda now: (now / "b").touch(), "b: is new; 1 of 2 files differ"),
            (lambda now: (now / "a").chmod(0o755), "a: is not executable then, executable now; 1 of 1 files differ"),
        ],
    )
    def test_what_comes_goes_or_changes_its_mode(self, sides: tuple[Path, Path], change: Any, expected: str) -> None:
        for side in sides:
            (side / "d").mkdir()
            (side / "d/a").touch(mode=0o644)
        change(sides[1] / "d")
        assert str(held(sides, "d")) == expected

    def test_a_file_that_became_a_directory(self, sides: tuple[Path, Path]) -> None:
        (sides[0] / "x").touch()
        (sides[1] / "x").mkdir()
        assert str(held(sides, "x")) == "is a file then, a directory now"


class TestNumeric:
    def test_the_first_difference_is_named_and_the_others_counted(self, sides: tuple[Path, Path]) -> None:
        then = np.arange(1, 13, dtype=float).reshape(3, 4)
        now = then.copy()
        now[1, 2] += 0.007
        now[2, 3] += 0.012
        assert str(arrays(sides, then, now)) == (
            "value [1, 2]: 7.0 then, 7.007 now (0.007 absolutely, 0.001 relatively); "
            "2 of 12 values differ, by at most 0.012 absolutely, 0.001 relatively"
        )
        verdict = arrays(sides, then, now, "numeric: rtol=0.01")
        assert verdict.equal
        assert str(verdict) == "equal within the tolerance: at most 0.012 absolutely, 0.001 relatively"

    @pytest.mark.parametrize(
        ("then", "now", "equal"),
        [
            (np.nan, np.nan, True),
            (np.inf, np.inf, True),
            (np.inf, -np.inf, False),
            (np.inf, 1e308, False),
            (np.nan, 1.0, False),
            (1.0, np.nan, False),
            (0.0, -0.0, True),
            (0.0, 1e-300, False),
        ],
    )
    def test_what_is_no_ordinary_number(self, sides: tuple[Path, Path], then: float, now: float, equal: bool) -> None:
        assert arrays(sides, np.array([then]), np.array([now]), "numeric: rtol=0.5").equal is equal

    def test_types_and_shapes(self, sides: tuple[Path, Path]) -> None:
        ones = np.ones(2, "f4")
        assert str(arrays(sides, ones, ones.astype("f8"))) == "the array: of type float32 then, float64 now"
        assert str(arrays(sides, ones, ones[None])) == "the array: of shape (2,) then, (1, 2) now"
        assert arrays(sides, ones, ones.astype(">f4")).equal, "byte order is no difference"
        grid = np.arange(6.0).reshape(2, 3)
        assert arrays(sides, grid, np.asfortranarray(grid)).equal, "nor is the layout"

    def test_arrays_without_values(self, sides: tuple[Path, Path]) -> None:
        assert arrays(sides, np.ones((0, 3)), np.ones((0, 3))).equal
        assert arrays(sides, np.float64(3), np.float64(3)).equal
        assert str(arrays(sides, np.int8(3), np.int8(4))).startswith("the value: 3 then, 4 now (1 absolutely")

    def test_integers_are_told_apart_beyond_what_a_float_holds(self, sides: tuple[Path, Path]) -> None:
        then = np.array([2**53, -(2**63)], "i8")
        verdict = arrays(sides, then, then + 1)
        assert verdict.count == 2
        assert "9007199254740992 then, 9007199254740993 now (1 absolutely" in str(verdict)
        assert arrays(sides, then, then + 1, "numeric: atol=1").equal

    def test_a_truth_value_has_no_tolerance(self, sides: tuple[Path, Path]) -> None:
        verdict = arrays(sides, np.array([True, False]), np.array([True, True]), "numeric: atol=1")
        assert str(verdict) == "value [1]: False then, True now; 1 of 2 values differ"

    def test_text_times_and_records(self, sides: tuple[Path, Path]) -> None:
        assert "'b' then, 'c' now" in str(arrays(sides, np.array(["a", "b"]), np.array(["a", "c"])))
        never = np.array(["NaT", "2026-01-01"], "M8[s]")
        assert arrays(sides, never, never).equal
        record = np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")])
        other = record.copy()
        other["b"] = 3
        assert str(arrays(sides, record, other)).startswith("b[0]: 2.0 then, 3.0 now")

    def test_objects_are_refused_rather_than_unpickled(self, sides: tuple[Path, Path]) -> None:
        for side, value in zip(sides, ("a", "b"), strict=True):
            np.save(side / "a.npy", np.array([value], object), allow_pickle=True)
        verdict = held(sides, "a.npy", "numeric")
        assert not verdict.equal
        assert "what was made then cannot be read: Object arrays cannot be loaded" in str(verdict)

    def test_archives(self, sides: tuple[Path, Path]) -> None:
        np.savez(sides[0] / "m.npz", w=np.ones(3), b=np.zeros(1))
        np.savez_compressed(sides[1] / "m.npz", b=np.zeros(1), w=np.ones(3))
        assert held(sides, "m.npz", "numeric").equal
        np.savez(sides[1] / "m.npz", w=np.ones(3), c=np.zeros(1))
        assert str(held(sides, "m.npz", "numeric")) == "array b: is missing"

    def test_safetensors(self, sides: tuple[Path, Path]) -> None:
        def write(path: Path, value: float, note: str) -> None:
            half = struct.unpack("<I", struct.pack("<f", value))[0] >> 16
            header = {
                "__metadata__": {"note": note},
                "w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
                "e": {"dtype": "F32", "shape": [0], "data_offsets": [4, 4]},
            }
            text = json.dumps(header).encode()
            path.write_bytes(len(text).to_bytes(8, "little") + text + struct.pack("<HH", 0x3F80, half))

        write(sides[0] / "m.safetensors", 2.0, "a")
        write(sides[1] / "m.safetensors", 2.0, "b")
        assert held(sides, "m.safetensors", "numeric").equal
        write(sides[1] / "m.safetensors", 2.5, "b")
        assert "w[1]: 2.0 then, 2.5 now (0.5 absolutely, 0.25 relatively)" in str(
            held(sides, "m.safetensors", "numeric")
        )

    @pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.safetensors", "a.parquet", "a.json", "a.png"])
    def test_what_cannot_be_read_is_a_difference(self, sides: tuple[Path, Path], name: str) -> None:
        for side in sides:
            (side / name).write_bytes(b"\xff\xff\xff\xff\xff\xff\xff\xff nonsense")
        verdict = held(sides, name, "image: ssim>=0.9" if name.endswith("png") else "numeric")
        assert "what was made then cannot be read" in str(verdict)

    def test_tables_as_text(self, sides: tuple[Path, Path]) -> None:
        (sides[0] / "t.csv").write_text("name,price\na,1.0\nb,2.50\n")
        (sides[1] / "t.csv").write_text("name,price\na,1\nb,2.51\n")
        assert str(held(sides, "t.csv", "numeric")) == (
            "row 3, column price: 2.5 then, 2.51 now (0.01 absolutely, 0.004 relatively); "
            "1 of 6 values differ, by at most 0.01 absolutely, 0.004 relatively"
        )
        assert held(sides, "t.csv", "numeric: atol=0.011").equal
        (sides[1] / "t.csv").write_text("name,price\na,1\n")
        assert str(held(sides, "t.csv", "numeric")) == "row 3: is missing"
        (sides[1] / "t.csv").write_text("name,price\na,1\nc,2.5\n")
        for then, now in (("2024_01", "202401"), ("9" * 5000, "8" * 5000), ("1e400", "2e400")):
            (sides[0] / "ids.csv").write_text(f"id\n{then}\n")
            (sides[1] / "ids.csv").write_text(f"id\n{now}\n")
            assert not held(sides, "ids.csv", "numeric: rtol=0.1").equal, "only Python calls them equal numbers"
        (sides[0] / "long.csv").write_text("x" * 200_000)
        (sides[1] / "long.csv").write_text("x" * 200_000)
        assert held(sides, "long.csv", "numeric").equal
        assert "column name: 'b' then, 'c' now" in str(held(sides, "t.csv", "numeric"))

    def test_a_directory_with_a_tolerance(self, sides: tuple[Path, Path]) -> None:
        for side, shift in zip(sides, (0.0, 1e-9), strict=True):
            (side / "d").mkdir()
            np.save(side / "d/w.npy", np.ones(2) + shift)
            (side / "d/readme").write_text("same")
        assert held(sides, "d", "numeric: rtol=1e-6").equal
        (sides[1] / "d/readme").write_text("other")
        assert str(held(sides, "d", "numeric: rtol=1e-6")).startswith("readme, line 1: 'same' then, 'other' now")


@given(
    then=st.floats(width=32), now=st.floats(width=32), rtol=st.sampled_from([0.0, 1e-3]), atol=st.sampled_from([0, 1.0])
)
def test_an_array_and_a_single_value_are_compared_alike(then: float, now: float, rtol: float, atol: float) -> None:
    one, many = (Tally(Comparison(method="numeric", rtol=rtol, atol=atol)) for _ in range(2))
    one.value(lambda: "v[0]", then, now)
    many.array(np.array([then]), np.array([now]), lambda index: f"v[{index}]")
    assert one.verdict() == many.verdict()


class TestJson:
    def compared(self, sides: tuple[Path, Path], then: object, now: object, comparison: str = "json") -> str:
        (sides[0] / "m.json").write_text(json.dumps(then))
        (sides[1] / "m.json").write_text(json.dumps(now))
        return str(held(sides, "m.json", comparison))

    def test_order_of_keys_and_kind_of_numbers_are_no_difference(self, sides: tuple[Path, Path]) -> None:
        assert self.compared(sides, {"a": 1, "b": [1.5]}, {"b": [1.5], "a": 1.0}) == "equal"

    def test_the_key_path_is_named(self, sides: tuple[Path, Path]) -> None:
        assert self.compared(sides, {"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}) == (
            "a.b.1: 2 then, 3 now (1 absolutely, 0.5 relatively); "
            "1 of 2 values differ, by at most 1 absolutely, 0.5 relatively"
        )
        assert self.compared(sides, {"a": 1}, {"b": 1}) == "a: is missing"
        assert self.compared(sides, [1], [1, 2]) == "1: is new"
        assert self.compared(sides, {"a": True}, {"a": 1}).startswith("a: True then, 1 now")
        assert self.compared(sides, 1, "1").startswith("the document: 1 then, '1' now")

    def test_tolerance_and_what_is_ignored(self, sides: tuple[Path, Path]) -> None:
        then = {"loss": 0.5, "runs": [{"seconds": 1}, {"seconds": 2}]}
        now = {"loss": 0.5000001, "runs": [{"seconds": 3}, {}], "host": "b"}
        assert self.compared(sides, then, now, "json: rtol=1e-6, ignore=runs.*.seconds, ignore=host").startswith(
            "equal"
        )

    def test_numbers_beyond_any_float(self, sides: tuple[Path, Path]) -> None:
        assert "no distance between them" in self.compared(sides, 10**400, 10**400 + 1, "json: rtol=0.1")

    def test_one_document_a_line(self, sides: tuple[Path, Path]) -> None:
        (sides[0] / "m.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
        (sides[1] / "m.jsonl").write_text('{"a": 1}\n\n{"a": 3}\n')
        assert str(held(sides, "m.jsonl", "json")).startswith("line 2, a: 2 then, 3 now")

    def test_what_is_nested_too_deep_is_a_difference(self, sides: tuple[Path, Path]) -> None:
        for side, end in zip(sides, "12", strict=True):
            (side / "deep.json").write_text("[" * 990 + end + "]" * 990)
        assert not held(sides, "deep.json", "json").equal


class TestParquet:
    def compared(self, sides: tuple[Path, Path], then: Any, now: Any, comparison: str = "parquet", **how: Any) -> str:
        arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
        parquet.write_table(arrow.table(then), sides[0] / "t.parquet")
        parquet.write_table(arrow.table(now), sides[1] / "t.parquet", **how)
        return str(held(sides, "t.parquet", comparison))

    def test_how_a_file_is_written_is_no_difference(self, sides: tuple[Path, Path]) -> None:
        then = {"a": np.arange(300_000), "b": [str(index) for index in range(300_000)]}
        assert self.compared(sides, then, then, row_group_size=777, compression="gzip") == "equal"

    def test_column_and_row_are_named(self, sides: tuple[Path, Path]) -> None:
        then, now = np.arange(300_000.0), np.arange(300_000.0)
        now[200_000] += 1
        assert self.compared(sides, {"a": then, "b": then}, {"a": then, "b": now}) == (
            "column b, row 200001: 200000.0 then, 200001.0 now (1 absolutely, 5e-06 relatively); "
            "1 of 600,000 values differ, by at most 1 absolutely, 5e-06 relatively"
        )
        assert self.compared(sides, {"a": then}, {"a": now}, "parquet: rtol=1e-5").startswith("equal within")

    def test_schemas(self, sides: tuple[Path, Path]) -> None:
        assert self.compared(sides, {"a": [1], "b": [1]}, {"a": [1]}) == "column b: is missing"
        assert self.compared(sides, {"a": [1]}, {"a": [1.0]}) == "column a: of type int64 then, double now"
        assert (
            self.compared(sides, {"a": [1], "b": [2]}, {"b": [2], "a": [1]}) == "the columns: are a, b then, b, a now"
        )
        assert self.compared(sides, {"a": [1]}, {"a": [1, 2]}) == "the table: of 1 rows then, 2 now"
        assert self.compared(sides, {"a": np.ones(0)}, {"a": np.ones(0)}) == "equal"

    def test_nulls_and_nested_values(self, sides: tuple[Path, Path]) -> None:
        assert self.compared(sides, {"a": [1.0, None]}, {"a": [1.0, None]}) == "equal"
        assert self.compared(sides, {"a": [1.0, None]}, {"a": [1.0, 2.0]}).startswith(
            "column a, row 2: None then, 2.0 now"
        )
        then, now = [{"e": [0.5, 1.0]}], [{"e": [0.5, 1.0000001]}]
        assert self.compared(sides, {"a": then}, {"a": now}, "parquet: rtol=1e-6").startswith("equal")
        assert self.compared(sides, {"a": then}, {"a": now}).startswith("column a, row 1, e.1: 1.0 then")
        nan = [float("nan")]
        assert self.compared(sides, {"a": nan}, {"a": nan}) == "equal"

    def test_rows_in_any_order(self, sides: tuple[Path, Path]) -> None:
        then = {"x": [0.1, 0.2, None], "k": ["b", "a", None]}
        now = {"x": [0.2, None, 0.1], "k": ["a", None, "b"]}
        assert "row 1" in self.compared(sides, then, now)
        assert self.compared(sides, then, now, "parquet: order=any") == "equal"
        with pytest.raises(ComparisonError, match="cannot be sorted"):
            self.compared(sides, {"a": [[1]]}, {"a": [[2]]}, "parquet: order=any")


class TestImages:
    def compared(self, sides: tuple[Path, Path], then: Any, now: Any, comparison: str = "image: ssim>=0.99") -> str:
        pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
        pillow.fromarray(then).save(sides[0] / "p.png")
        pillow.fromarray(now).save(sides[1] / "p.png", compress_level=1)
        return str(held(sides, "p.png", comparison))

    def test_alike_different_and_of_other_size(self, sides: tuple[Path, Path]) -> None:
        then = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
        near, far = then.copy(), then.copy()
        near[3, 4] ^= 64
        far[10:20, 10:20] = 0
        assert self.compared(sides, then, then) == "equal"
        assert self.compared(sides, then, near).startswith("equal within the tolerance: similar to 0.99")
        told = self.compared(sides, then, far)
        assert told.startswith("the image: similar to 0.8")
        assert "where 0.99 is needed; least around pixel 1" in told
        assert self.compared(sides, then, then[:39]) == "the image: 30 x 40 pixels then, 30 x 39 pixels now"

    def test_small_deep_and_empty_ones(self, sides: tuple[Path, Path]) -> None:
        dot = np.zeros((1, 1), np.uint8)
        assert self.compared(sides, dot, dot) == "equal"
        assert "similar to" in self.compared(sides, dot, dot + 255)
        deep = np.arange(100, dtype=np.uint16).reshape(10, 10) * 600
        assert self.compared(sides, deep, deep) == "equal"
        assert "similar to" in self.compared(sides, deep, deep[::-1].copy())

    def test_similarity_is_as_the_paper_defines_it(self) -> None:
        random = np.random.default_rng(1)
        then = random.uniform(0, 255, (9, 8, 1))
        now = then + random.normal(0, 20, then.shape)
        expected = []
        for row in range(3):
            for column in range(2):
                x, y = (side[row : row + 7, column : column + 7, 0].ravel() for side in (then, now))
                covariance = np.cov(x, y)
                one, two = (0.01 * 255) ** 2, (0.03 * 255) ** 2
                above = (2 * x.mean() * y.mean() + one) * (2 * covariance[0, 1] + two)
                below = (x.mean() ** 2 + y.mean() ** 2 + one) * (covariance[0, 0] + covariance[1, 1] + two)
                expected.append(above / below)
        assert structural_similarity(then, now, 255)[0] == pytest.approx(np.mean(expected))


class TestCommand:
    def compared(self, tmp_path: Path, status: int, said: str) -> Verdict:
        seen = []

        def run(words: Sequence[str], then: Path, now: Path) -> tuple[int, str]:
            seen.append((words, then, now))
            return status, said

        comparison = Comparison.parse("command: same {a} {b}")
        verdict = compare(tmp_path / "a", tmp_path / "b", comparison, run_command=run)
        assert seen == [(("same", "{a}", "{b}"), tmp_path / "a", tmp_path / "b")]
        return verdict

    def test_its_exit_status_decides(self, tmp_path: Path) -> None:
        assert self.compared(tmp_path, 0, "fine").equal
        assert str(self.compared(tmp_path, 1, "accuracy fell\n by 3")) == "accuracy fell by 3"
        with pytest.raises(ComparisonError, match="exit status 2"):
            self.compared(tmp_path, 2, "no such file")


def test_what_a_method_cannot_read_is_said_before_the_run() -> None:
    check_available(Comparison.parse("numeric"), "a.npz")
    with pytest.raises(ComparisonError, match=r"model\.pt cannot be compared as numeric"):
        check_available(Comparison.parse("numeric"), "build/model.pt")


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ComparisonError) as caught:
        check_available(Comparison.parse("parquet"), "a.parquet")
    assert caught.value.what == "comparing Parquet files needs pyarrow, which is not installed"
    assert "repro-env[compare]" in caught.value.hint
