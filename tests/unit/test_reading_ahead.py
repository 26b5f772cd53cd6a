"""Large files, of which a thread reads pieces before they are asked for."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from repro_env.data import ahead, hashing
from repro_env.data.ahead import Ahead
from repro_env.data.reader import NOTHING, read_file, record
from repro_env.errors import VerificationError

CONTENT = bytes(range(256)) * 40 + b"end"


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ahead, "_PIECE", 1000)
    monkeypatch.setattr(hashing, "_LARGE", 100)
    monkeypatch.setattr(hashing, "_HUGE", 5000)
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(CONTENT)
    return path


def test_it_is_hashed_as_any_other(file: Path) -> None:
    seen: list[int] = []
    found = hashing.hash_file(os.fsencode(file), b"", record(file.stat()), seen.append)
    assert found == hashlib.sha256(CONTENT).digest()
    assert (sum(seen), max(seen)) == (len(CONTENT), 1000)


def test_one_that_is_shorter_by_now_is_nothing(file: Path) -> None:
    expected = record(file.stat())
    os.truncate(file, 4321)
    with Ahead(len(CONTENT)) as reading:
        assert read_file(os.fsencode(file), expected, follow=False, read=reading.read) == NOTHING
    with pytest.raises(VerificationError, match="changed while it was read"):
        hashing.hash_file(os.fsencode(file), b"", expected, lambda _count: None)


def test_one_that_cannot_be_read(tmp_path: Path) -> None:
    with Ahead(5000) as reading, pytest.raises(IsADirectoryError):
        read_file(os.fsencode(tmp_path), record(tmp_path.stat()), follow=False, read=reading.read)


def test_who_gives_up_leaves_no_thread_behind(file: Path) -> None:
    def give_up(_count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hashing.hash_file(os.fsencode(file), b"", record(file.stat()), give_up)


def test_nothing_was_asked_for(file: Path) -> None:
    with Ahead(file.stat().st_size):
        pass


def test_a_few_pieces_wait_and_no_more(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[int] = []
    plain = os.pread

    def pread(descriptor: int, size: int, place: int) -> bytes:
        places.append(place)
        return plain(descriptor, size, place)

    monkeypatch.setattr(os, "pread", pread)
    descriptor = os.open(file, os.O_RDONLY)
    with Ahead(len(CONTENT)) as reading:
        for taken in range(1, 4):
            reading.read(descriptor, 1)
            end = time.monotonic() + 30
            while len(places) < taken + 4 and time.monotonic() < end:
                time.sleep(0.001)
            time.sleep(0.01)
            assert places == [1000 * number for number in range(taken + 4)]
    os.close(descriptor)
