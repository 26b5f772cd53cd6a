"""A record's parts in words, and which runs a person asks for."""

from __future__ import annotations

import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from histories import START, chain, data, pipeline, ran

from repro_env.cli.history import read_time
from repro_env.errors import UsageError
from repro_env.record.model import GitState, RecordedLog, RunRecord
from repro_env.record.selection import Selection, select
from repro_env.record.words import ago, duration, ended, marks, moment, seconds_of, visible
from repro_env.values import Digest

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.00 s"),
        (0.043, "0.04 s"),
        (1, "1.0 s"),
        (9.94, "9.9 s"),
        (10, "10 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3725, "1 h 2 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(("seconds", "words"), [(-3, "0 s ago"), (59, "59 s ago"), (3600, "1 h ago"), (2e5, "2 d ago")])
def test_times_past(seconds: float, words: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == words


def test_a_moment_says_its_zone() -> None:
    assert moment(datetime.max.replace(tzinfo=UTC), timezone(timedelta(hours=9))) == "9999-12-31 23:59:59 UTC"
    assert moment(START, UTC) == "2026-11-23 04:33:54 UTC"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "succeeded"),
        ({"status": "started"}, "running"),
        ({"status": "interrupted"}, "interrupted"),
        ({"status": "failed", "exit_status": 3}, "failed with exit status 3"),
        ({"status": "failed", "exit_status": None}, "failed"),
        ({"status": "failed", "exit_status": None, "signal": int(signal.SIGKILL)}, "failed by SIGKILL"),
        ({"status": "failed", "exit_status": None, "signal": 99}, "failed by signal 99"),
    ],
)
def test_how_a_run_ended(changes: dict[str, Any], words: str) -> None:
    assert ended(ran("clean", **changes)) == words


def test_how_long_a_run_took() -> None:
    assert seconds_of(ran("clean")) == 4.5
    assert seconds_of(ran("clean", resources=None)) == 4.5
    assert seconds_of(ran("clean", resources=None, finished=None)) is None


def test_what_keeps_a_run_from_being_beyond_doubt() -> None:
    inputs = (replace(data("raw"), changed=True), replace(data("far"), pin="etag"))
    record = ran("x", inputs=inputs, waived=("memory",), git=GitState(commit="1" * 40, dirty=True))
    assert marks(record) == (
        "code not committed",
        "allowed: memory",
        "raw changed while it ran",
        "far pinned by etag only",
    )
    assert marks(ran("x")) == ()


def test_nothing_that_is_shown_moves_the_cursor_or_turns_the_line() -> None:
    assert visible("a\x1b[2Jb\r\n\u202egpj\udcff é") == r"a\x1b[2Jb\r\n\u202egpj\udcff é"


# Which runs


def chosen(**asked: object) -> list[str]:
    records = pipeline()
    return [record.step for record in select(records, Selection(**asked))]  # type: ignore[arg-type]


def test_all_runs_are_chosen_where_nothing_is_asked() -> None:
    assert chosen() == ["clean", "train", "report"]


def test_runs_by_step_status_and_time() -> None:
    assert chosen(step="train") == ["train"]
    assert chosen(status="failed") == []
    assert chosen(since=START + timedelta(minutes=5)) == ["train", "report"]
    assert chosen(until=START + timedelta(minutes=5)) == ["clean"]


def test_runs_by_what_they_used_or_made() -> None:
    clean, train, _report = pipeline()
    assert chosen(digest=clean.outputs[0].digest.hex[:8]) == ["clean", "train", "report"]
    assert chosen(digest=clean.inputs[0].digest.hex) == ["clean"]
    assert train.image is not None
    assert chosen(digest=train.image.hex) == ["train"]
    assert chosen(digest=Digest.of(b"lock").hex) == ["clean", "train", "report"]
    assert chosen(digest=Digest.of(b"diff").hex) == ["train"]
    assert chosen(digest="ffffffffffff") == []


def test_runs_by_definition_and_log() -> None:
    log = RecordedLog(digest=Digest.of(b"some log"), size=8)
    record: RunRecord = replace(chain(1)[0], definition=Digest.of(b"what it is"), log=log)
    for content in (b"some log", b"what it is"):
        assert record in Selection(digest=Digest.of(content).hex[:6])


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20T10:30+00:00", datetime(2026, 11, 20, 10, 30, tzinfo=UTC)),
        ("30min", NOW - timedelta(minutes=30)),
        ("12h", NOW - timedelta(hours=12)),
        ("3d", NOW - timedelta(days=3)),
        ("2w", NOW - timedelta(weeks=2)),
    ],
)
def test_times_as_people_give_them(text: str, moment: datetime) -> None:
    assert read_time(text, NOW) == moment


def test_a_date_is_a_whole_day_of_this_machine() -> None:
    day = datetime(2026, 11, 20).astimezone()
    assert read_time("2026-11-20", NOW) == day
    assert read_time("2026-11-20", NOW, after=True) == datetime(2026, 11, 21).astimezone()


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "9999-12-31", "999999w", ""])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no date"):
        read_time(text, NOW, after=True)
