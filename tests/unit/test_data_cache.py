from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from datatree import make_data, of, settle

from repro_env.data import cache as cache_module
from repro_env.data import hashing
from repro_env.data.cache import StatCache


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "raw")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StatCache:
    """A cache to which everything older than this moment counts as settled."""
    monkeypatch.setattr(cache_module, "_RACY", 0)
    return StatCache(tmp_path / "cache")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The names of the files that were read."""
    seen: list[bytes] = []
    real = hashing.hash_file

    def spy(root: bytes, name: bytes, expected: bytes, progress: Callable[[int], None]) -> bytes:
        seen.append(name)
        return real(root, name, expected, progress)

    monkeypatch.setattr(hashing, "hash_file", spy)
    return seen


def test_what_did_not_change_is_not_read_again(data: Path, cache: StatCache, reads: list[bytes]) -> None:
    settle()
    first = of(data, cache)
    assert sorted(reads) == [b"a-b", b"a.txt", b"sub/run.sh"]
    reads.clear()
    again = of(data, cache)
    assert reads == []
    assert (again.digest, again.files, again.size) == (first.digest, first.files, first.size)
    assert again.manifest() == first.manifest()


def test_only_what_changed_is_read_again(data: Path, cache: StatCache, reads: list[bytes]) -> None:
    settle()
    of(data, cache)
    reads.clear()
    (data / "a.txt").write_text("ONE")
    (data / "sub" / "new").write_text("new")
    changed = of(data, cache)
    assert sorted(reads) == [b"a.txt", b"sub/new"]
    assert changed.digest == of(data).digest


def test_a_file_replaced_with_the_same_size_and_mtime_is_noticed(data: Path, cache: StatCache) -> None:
    settle()
    before = of(data, cache)
    stamp = (data / "a.txt").stat()
    (data / "other").write_text("ONE")
    os.utime(data / "other", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    os.replace(data / "other", data / "a.txt")
    assert (data / "a.txt").stat().st_mtime_ns == stamp.st_mtime_ns
    assert of(data, cache).digest != before.digest


def test_a_file_rewritten_in_place_with_its_mtime_put_back_is_noticed(data: Path, cache: StatCache) -> None:
    settle()
    before = of(data, cache)
    stamp = (data / "a.txt").stat()
    settle()
    (data / "a.txt").write_text("ONE")
    os.utime(data / "a.txt", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert of(data, cache).digest != before.digest


def test_a_link_led_elsewhere_and_a_bit_set_are_noticed(data: Path, cache: StatCache) -> None:
    settle()
    seen = {of(data, cache).digest}
    (data / "latest").unlink()
    (data / "latest").symlink_to("a.txt")
    seen.add(of(data, cache).digest)
    (data / "a.txt").chmod(0o755)
    seen.add(of(data, cache).digest)
    assert len(seen) == 3
    assert of(data).digest in seen


def test_a_file_as_fresh_as_its_reading_is_not_trusted(data: Path, tmp_path: Path, reads: list[bytes]) -> None:
    cache = StatCache(tmp_path / "cache")
    of(data, cache)
    reads.clear()
    of(data, cache)
    assert sorted(reads) == [b"a-b", b"a.txt", b"sub/run.sh"]


def test_without_trust_everything_is_read_and_the_cache_renewed(
    data: Path, cache: StatCache, reads: list[bytes]
) -> None:
    settle()
    of(data, cache)
    reads.clear()
    of(data, cache, trust=False)
    assert len(reads) == 3
    reads.clear()
    of(data, cache)
    assert reads == []


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:-1] + b"\0" + b"x"])
def test_a_damaged_cache_is_none(
    data: Path, tmp_path: Path, cache: StatCache, reads: list[bytes], damage: Callable[[bytes], bytes]
) -> None:
    settle()
    before = of(data, cache)
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    reads.clear()
    assert of(data, cache).digest == before.digest
    assert len(reads) == 3


def test_a_cache_that_cannot_be_written_is_no_failure(data: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the directory should be")
    assert of(data, StatCache(tmp_path / "cache")).digest == of(data).digest
