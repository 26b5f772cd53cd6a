from __future__ import annotations

from pathlib import Path

import pytest
from datatree import make_data, of

from repro_env.data.measure import keep_manifest
from repro_env.data.verify import compare, demand, incomparable
from repro_env.errors import VerificationError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "raw")


def test_a_difference_is_told_file_by_file(data: Path, tmp_path: Path) -> None:
    pinned = of(data)
    locked = pinned.locked("raw", "data/raw")
    manifests = tmp_path / "manifests"
    keep_manifest(manifests, pinned)
    finding = compare(locked, of(data), manifests=manifests)
    assert finding.ok
    demand([finding])
    (data / "a.txt").write_text("four, longer")
    (data / "a-b").rename(data / "b-a")
    finding = compare(locked, of(data), manifests=manifests)
    assert str(finding).splitlines() == [
        "data raw (data/raw)",
        f"  needed directory of 4 files, 11 B, sha256:{pinned.digest.short}",
        f"  found  directory of 4 files, 20 B, sha256:{of(data).digest.short}",
        "  a.txt has another content: 3 bytes then, 12 now",
        "  a-b is now b-a",
    ]
    with pytest.raises(VerificationError, match="1 data input is not what the lock pins"):
        demand([finding])


def test_without_a_kept_manifest_or_with_a_damaged_one_the_digests_are_told(data: Path, tmp_path: Path) -> None:
    pinned = of(data)
    locked = pinned.locked("raw", "data/raw")
    (data / "a.txt").write_text("4")
    keep_manifest(tmp_path / "kept", pinned)
    (tmp_path / "kept" / pinned.digest.hex).write_text("damaged")
    assert compare(locked, of(data), manifests=tmp_path / "kept").differences == ()
    assert compare(locked, of(data), manifests=tmp_path / "none").differences == ()
    assert compare(locked, of(data)).differences == ()


def test_everything_wrong_is_told_at_once(data: Path) -> None:
    raw, other = of(data).locked("raw", "data/raw"), of(data / "a.txt").locked("other", "other.csv")
    with pytest.raises(VerificationError, match="2 data inputs are not what the lock pins") as error:
        demand([incomparable(raw, "nothing"), compare(other, of(data / "a-b"))])
    assert "found  nothing" in error.value.why
    upstream = VerificationError("input clean.table has not been made", "by step clean", "run `repro exec clean` first")
    with pytest.raises(VerificationError) as alone:
        demand([], [upstream])
    assert alone.value is upstream
    with pytest.raises(VerificationError, match="2 inputs are not what they should be") as both:
        demand([incomparable(raw, "nothing")], [upstream])
    assert both.value.why.splitlines() == [
        "1 data input is not what the lock pins",
        "  data raw (data/raw)",
        f"    needed directory of 4 files, 11 B, sha256:{raw.digest.short}",
        "    found  nothing",
        "input clean.table has not been made",
        "  by step clean",
    ]
    assert both.value.hint.endswith("; run `repro exec clean` first")


def test_a_file_where_a_directory_was_pinned_is_told(data: Path) -> None:
    locked = of(data).locked("raw", "data/raw")
    finding = compare(locked, of(data / "a.txt"))
    assert not finding.ok
    assert finding.expected.startswith("directory of 4 files")
    assert finding.found.startswith("file, 3 B")
