"""Locks whose file its holder removes: nobody who waited holds a lock that others do not see."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest

from repro_env.edges import files
from repro_env.errors import StoreError


def test_who_waited_for_a_file_that_was_removed_holds_the_one_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "one"
    waiting, held, done = threading.Event(), threading.Event(), threading.Event()

    def wait() -> None:
        waiting.set()
        with files.locked(path):
            held.set()
            done.wait(20)

    other = threading.Thread(target=wait)
    with files.locked(path):
        other.start()
        waiting.wait(20)
        assert not held.wait(0.2), "it waits"
        path.unlink()
    assert held.wait(20)
    with path.open("ab") as third, pytest.raises(BlockingIOError):
        fcntl.flock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)
    done.set()
    other.join(20)
    with files.locked(path):
        pass


def test_a_lock_that_cannot_be_had_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_words: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match="cannot lock"), files.locked(tmp_path / "one"):
        pass
