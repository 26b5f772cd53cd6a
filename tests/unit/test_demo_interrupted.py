"""Ctrl-C reaches the step that runs; the demo around it ends as interrupted, not as failed."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from records import FULL

from repro_env.cli import demo_command
from repro_env.edges.report import Silent
from repro_env.errors import ReproError


def play(monkeypatch: pytest.MonkeyPatch, *, status: int, ended_by: int | None) -> None:
    """Play the demo with everything around its first step's end replaced."""
    workspace = SimpleNamespace(project=SimpleNamespace(steps={"clean": None}, platforms=()))
    record = replace(FULL, status="failed", signal=ended_by, exit_status=None if ended_by else status, outputs=())
    outcome = SimpleNamespace(status=status, wall_seconds=1.0, kept=None, log=Path("output.log"))
    finished = SimpleNamespace(record=record, outcome=outcome, started=True)
    monkeypatch.setattr(demo_command, "open_workspace", mock.Mock(return_value=workspace))
    for name in ("Store", "write_lock", "built_steps", "warn_missing_in_new"):
        monkeypatch.setattr(demo_command, name, mock.Mock())
    monkeypatch.setattr(demo_command, "fresh_lock", mock.Mock(return_value=SimpleNamespace(steps={})))
    monkeypatch.setattr(demo_command, "Run", mock.Mock(return_value=mock.Mock(start=mock.Mock(return_value=finished))))
    demo_command._play(Path("repro-demo"), "", Silent(), 0.0)


def test_ctrl_c_in_a_step_interrupts_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        play(monkeypatch, status=130, ended_by=signal.SIGINT)


def test_another_signal_that_ends_the_step_ends_the_demo_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        play(monkeypatch, status=143, ended_by=signal.SIGTERM)
    assert getattr(caught.value, "number", None) == signal.SIGTERM


def test_a_step_that_fails_fails_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReproError, match="step clean of the demo failed"):
        play(monkeypatch, status=3, ended_by=None)
