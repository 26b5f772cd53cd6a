"""Commands killed at random moments: whatever was being written, the store is valid and the next command completes.

`make soak` kills often; the normal run kills a few times. `REPRO_TEST_SEED` repeats a sequence of moments.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loopback import Server, serve
from pipeline import BUSYBOX, TEXT, Pipeline, faults_of, kill, left_by, make_pipeline, processes_of

from repro_env.record.runs import list_runs

SEED = int(os.environ.get("REPRO_TEST_SEED") or random.randrange(1 << 32))

LOG = logging.getLogger(__name__)

FEW_AND_MANY = [8, pytest.param(120, marks=pytest.mark.soak)]
"""How often a command is killed, in the normal run and in `make soak`."""

OLDER = TEXT.replace('"small", "large"', '"small<2", "large"')


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Pipeline, Server]]:
    with serve(tmp_path) as server:
        yield make_pipeline(tmp_path, server.url), server


@pytest.fixture
def pipeline(served: tuple[Pipeline, Server]) -> Pipeline:
    return served[0]


def moments(count: int, longest: float) -> Iterator[float]:
    """Yield when to kill, in seconds after the start: anywhere in a run, but for the start of the interpreter."""
    chance = random.Random(SEED)
    LOG.warning("REPRO_TEST_SEED=%d", SEED)  # what a failing test shows
    return (chance.uniform(0.3 * longest, longest) for _ in range(count))


def seconds_of(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def killed(pipeline: Pipeline, moment: float, *words: str) -> int:
    """Start a command, kill it at a moment, and return its status."""
    process = pipeline.start(*words)
    time.sleep(moment)
    kill(process)
    _stdout, stderr = process.communicate()
    assert b"Traceback" not in stderr
    return process.returncode


@pytest.mark.parametrize("count", FEW_AND_MANY)
def test_builds_killed_at_random_moments(pipeline: Pipeline, tmp_path: Path, count: int) -> None:
    fresh = (pipeline.root / "repro.lock").read_bytes()
    working = pipeline.with_store(tmp_path / "reference")
    longest = seconds_of(lambda: working.repro("build"))
    wanted = (pipeline.root / "repro.lock").read_bytes()
    assert wanted != fresh
    ended = 0
    for number, moment in enumerate(moments(count, longest)):
        if number % 3 == 0:  # twice a build goes on from what the killed one left
            working = pipeline.with_store(tmp_path / f"store{number}")
            (pipeline.root / "repro.lock").write_bytes(fresh)
        ended += killed(working, moment, "build") == 0
        assert faults_of(working.store) == []
        assert (pipeline.root / "repro.lock").read_bytes() in {fresh, wanted}
        if number % 3 == 2 or number == count - 1:
            answer = working.repro("build")
            assert answer.status == 0, answer
            assert (pipeline.root / "repro.lock").read_bytes() == wanted
            assert faults_of(working.store) == []
            shutil.rmtree(working.store)
    LOG.warning("%d kills, %d of them after the end", count, ended)
    assert ended < count


@pytest.mark.parametrize("count", FEW_AND_MANY)
def test_locks_killed_at_random_moments(pipeline: Pipeline, count: int) -> None:
    old = (pipeline.root / "repro.lock").read_bytes()
    pipeline.disk.write("repro.toml", OLDER)
    longest = seconds_of(lambda: pipeline.repro("lock"))
    new = (pipeline.root / "repro.lock").read_bytes()
    assert old != new
    for moment in moments(count, longest):
        (pipeline.root / "repro.lock").write_bytes(old)
        killed(pipeline, moment, "lock")
        assert (pipeline.root / "repro.lock").read_bytes() in {old, new}
    assert pipeline.repro("lock").status == 0
    assert (pipeline.root / "repro.lock").read_bytes() == new
    assert faults_of(pipeline.store) == []


@pytest.mark.parametrize("count", FEW_AND_MANY)
@pytest.mark.parametrize("runtime", ["venv", pytest.param("bwrap", marks=pytest.mark.bwrap)])
def test_runs_killed_at_random_moments(pipeline: Pipeline, runtime: str, count: int) -> None:
    if runtime == "bwrap" and not BUSYBOX.exists():
        pytest.skip("no static busybox to make an image of")
    words = ("exec", "--runtime", runtime, "clean")
    assert pipeline.repro(*words).status == 0
    pipeline.disk.write("raw.csv", "0.3")
    assert pipeline.repro("lock").status == 0
    longest = seconds_of(lambda: pipeline.repro(*words))
    output = (pipeline.root / "build" / "table.csv").read_bytes()
    for moment in moments(count, longest):
        process = pipeline.start(*words)
        time.sleep(moment)
        kill(process)
        process.communicate()
        assert left_by(process.pid) == [], "the step outlives its repro"
        assert (pipeline.root / "build" / "table.csv").read_bytes() == output
    runs = list_runs(pipeline.root)
    statuses = Counter(record.status for record in runs.records)
    LOG.warning("%d kills of exec in %s: %s", count, runtime, dict(statuses))
    assert not runs.damaged
    assert set(statuses) <= {"succeeded", "interrupted"}
    assert statuses["interrupted"] or count < 20
    assert pipeline.repro(*words).status == 0
    assert faults_of(pipeline.store) == []


def test_a_pid_of_ours_is_found_by_its_session(pipeline: Pipeline) -> None:
    # What the assertion above rests on.
    process = pipeline.start("status")
    assert processes_of(process.pid) in ([process.pid], [])
    process.send_signal(signal.SIGKILL)
    process.communicate()
