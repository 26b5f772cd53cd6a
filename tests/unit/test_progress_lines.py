"""What a pipe or a CI log is told of long work: how far it is, and about how long it will still take."""

from __future__ import annotations

import io
import sys
import time

import pytest

from repro_env.cli.progress import PlainReporter, reporter

MIB = 1 << 20


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("seconds", "total", "line"),
    [
        (20, 200 * MIB, "downloading: 50.0 MiB of 200.0 MiB, about 60 s left"),
        (100, 200 * MIB, "downloading: 50.0 MiB of 200.0 MiB, about 5 min left"),
        (20, None, "downloading: 50.0 MiB"),
        (20, 50 * MIB, "downloading: 50.0 MiB of 50.0 MiB"),
    ],
)
def test_a_line_now_and_then(
    seconds: float, total: int | None, line: str, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with PlainReporter().task("downloading", total) as task:
        task.advance(10 * MIB)
        assert capsys.readouterr().err == ""
        clock[0] += seconds
        task.advance(40 * MIB)
        assert capsys.readouterr().err == f"{line}\n"


@pytest.mark.parametrize(("amount", "words"), [(1, "1 package"), (1204, "1,204 packages")])
def test_one_is_told_as_one(amount: int, words: str, clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with PlainReporter().task("building", amount, unit="packages") as task:
        clock[0] += 2
        task.advance(amount)
    assert capsys.readouterr().err == f"building: {words} in 2.0 s\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    with reporter() as report, report.task("hash data/[/a].csv", 10) as task:
        task.advance(10)
        report.note("hashed :cd:/[b]")
    assert "hash data/[/a].csv" in terminal.getvalue()
    assert "hashed :cd:/[b]" in terminal.getvalue()
