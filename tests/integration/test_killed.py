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
from projects import Answer

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


class Killer:
    """Kills commands at random moments, anywhere in a run but for the start of the interpreter.

    How long a run takes is learned: a machine that others use as well is faster now and slower then.
    """

    def __init__(self, act: Callable[[], Answer]) -> None:
        began = time.monotonic()
        assert act().status == 0
        self._longest = time.monotonic() - began
        self._chance = random.Random(SEED)
        self.landed = 0
        self.late = 0
        LOG.warning("REPRO_TEST_SEED=%d", SEED)  # what a failing test shows

    def until(self, count: int) -> Iterator[int]:
        """Yield numbers until so many kills have landed."""
        number = 0
        while self.landed < count:
            assert number < 20 + 5 * count, "the moments are never right"
            yield number
            number += 1

    def kill(self, pipeline: Pipeline, *words: str) -> None:
        """Start a command and kill it; what it started ends with it."""
        process = pipeline.start(*words)
        time.sleep(self._chance.uniform(0.3, 1) * self._longest)
        kill(process)
        _stdout, stderr = process.communicate()
        assert b"Traceback" not in stderr
        assert process.returncode in {0, -signal.SIGKILL}
        assert left_by(process.pid) == []
        if process.returncode:
            self.landed += 1
            self._longest *= 1.02
        else:
            self.late += 1
            self._longest *= 0.95


@pytest.mark.parametrize("count", FEW_AND_MANY)
def test_builds_killed_at_random_moments(pipeline: Pipeline, tmp_path: Path, count: int) -> None:
    fresh = (pipeline.root / "repro.lock").read_bytes()
    working = pipeline.with_store(tmp_path / "reference")
    killer = Killer(lambda: working.repro("build"))
    wanted = (pipeline.root / "repro.lock").read_bytes()
    assert wanted != fresh
    for number in killer.until(count):
        if number % 3 == 0:  # twice a build goes on from what the killed one left
            working = pipeline.with_store(tmp_path / f"store{number}")
            (pipeline.root / "repro.lock").write_bytes(fresh)
        killer.kill(working, "build")
        assert faults_of(working.store) == []
        assert (pipeline.root / "repro.lock").read_bytes() in {fresh, wanted}
        if number % 3 == 2:
            answer = working.repro("build")
            assert answer.status == 0, answer
            assert (pipeline.root / "repro.lock").read_bytes() == wanted
            assert faults_of(working.store) == []
            shutil.rmtree(working.store)
    assert working.repro("build").status == 0
    assert (pipeline.root / "repro.lock").read_bytes() == wanted
    LOG.warning("%d builds killed, %d not in time", killer.landed, killer.late)


@pytest.mark.parametrize("count", FEW_AND_MANY)
def test_locks_killed_at_random_moments(pipeline: Pipeline, count: int) -> None:
    old = (pipeline.root / "repro.lock").read_bytes()
    pipeline.disk.write("repro.toml", OLDER)
    killer = Killer(lambda: pipeline.repro("lock"))
    new = (pipeline.root / "repro.lock").read_bytes()
    assert old != new
    for _ in killer.until(count):
        (pipeline.root / "repro.lock").write_bytes(old)
        killer.kill(pipeline, "lock")
        assert (pipeline.root / "repro.lock").read_bytes() in {old, new}
    LOG.warning("%d locks killed, %d not in time", killer.landed, killer.late)
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
    killer = Killer(lambda: pipeline.repro(*words))
    output = (pipeline.root / "build" / "table.csv").read_bytes()
    for _ in killer.until(count):
        killer.kill(pipeline, *words)
        assert (pipeline.root / "build" / "table.csv").read_bytes() == output
    runs = list_runs(pipeline.root)
    statuses = Counter(record.status for record in runs.records)
    LOG.warning("%d runs in %s killed, their records say %s", killer.landed, runtime, dict(statuses))
    assert not runs.damaged
    assert set(statuses) <= {"succeeded", "interrupted"}
    assert statuses["interrupted"]
    assert pipeline.repro(*words).status == 0
    assert faults_of(pipeline.store) == []


def test_a_pid_of_ours_is_found_by_its_session(pipeline: Pipeline) -> None:
    # What the assertion above rests on.
    process = pipeline.start("status")
    assert processes_of(process.pid) in ([process.pid], [])
    process.send_signal(signal.SIGKILL)
    process.communicate()
