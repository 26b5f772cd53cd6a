"""Include and exclude globs: which files of a data input count."""

from __future__ import annotations

from pathlib import Path

import pytest
from datatree import make_data, of

from repro_env.data.cache import StatCache
from repro_env.data.measure import measure
from repro_env.data.select import Selection
from repro_env.edges.report import Silent
from repro_env.errors import VerificationError


@pytest.mark.parametrize(
    ("glob", "taken", "left"),
    [
        ("*.csv", ["a.csv", ".csv"], ["sub/a.csv", "a.csv.gz"]),
        ("**/*.csv", ["a.csv", "sub/a.csv", "s/u/b.csv"], ["a.txt"]),
        ("sub", ["sub/a", "sub/deep/b"], ["sub2/a", "a/sub"]),
        ("sub/", ["sub/a"], ["subs"]),
        ("sub/**", ["sub/a", "sub/deep/b"], ["sub2/a"]),
        ("**", ["a", "a/b"], []),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["z", "a/zz"]),
        ("part-[0-9]?.bin", ["part-1a.bin"], ["part-x1.bin", "part-1.bin", "part-1/.bin"]),
        ("[!a]*", ["bcd"], ["abc"]),
        ("[]x]", ["]", "x"], ["a"]),
        ("a[b", ["a[b"], ["ab"]),
        ("a+(b).c", ["a+(b).c"], ["aab.c", "a+(b)xc"]),
        ("[a-c]?", ["ax"], ["dx", "a/"]),
        ("日*", ["日誌"], ["誌日"]),
        ("*", ["line\nbreak"], []),
    ],
)
def test_globs(glob: str, taken: list[str], left: list[str]) -> None:
    include, exclude = Selection(include=(glob,)), Selection(exclude=(glob,))
    names = [name.encode() for name in (*taken, *left)]
    assert [name for name in names if include.takes(name)] == [name.encode() for name in taken]
    assert [name for name in names if exclude.takes(name)] == [name.encode() for name in left]


def test_what_is_excluded_is_excluded_even_if_it_is_included() -> None:
    both = Selection(include=("**/*.csv",), exclude=("tmp",))
    assert both.takes(b"a.csv")
    assert not both.takes(b"tmp/a.csv")
    assert not both.takes(b"a.txt")


def measured(root: Path, cache: StatCache | None = None, **globs: tuple[str, ...]) -> tuple[str, int]:
    found = measure(root, reporter=Silent(), cache=cache, selection=Selection(**globs))
    return str(found.digest), found.files


def test_a_selection_is_measured_as_a_directory_that_holds_only_that(tmp_path: Path) -> None:
    root, same = make_data(tmp_path / "data"), tmp_path / "same"
    (same / "sub").mkdir(parents=True)
    (same / "sub" / "run.sh").write_text("three")
    (same / "sub" / "run.sh").chmod(0o755)
    assert measured(root, include=("sub",)) == (str(of(same).digest), 1)
    assert measured(root, exclude=("a*", "latest")) == (str(of(same).digest), 1)


def test_each_selection_has_a_cache_of_its_own(tmp_path: Path) -> None:
    root, cache = make_data(tmp_path / "data"), StatCache(tmp_path / "cache")
    for _ in range(2):
        assert measured(root, cache)[1] == 4
        assert measured(root, cache, include=("a*",))[1] == 2
        assert measured(root, cache, exclude=("a*",))[1] == 2


def test_what_is_excluded_is_not_even_looked_into(tmp_path: Path) -> None:
    root = make_data(tmp_path / "data")
    (root / "run").mkdir()
    (root / "run" / "out").symlink_to("/etc/passwd")
    assert measured(root, exclude=("run",))[1] == 4


def test_a_selection_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="nothing is left") as error:
        measured(make_data(tmp_path / "data"), include=("*.parquet",))
    assert "include *.parquet" in error.value.why
