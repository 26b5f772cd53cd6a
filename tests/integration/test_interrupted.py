"""Ctrl-C, and SIGTERM, at any moment: the status, one line, nothing left running, and the next run completes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import Fault, Server, serve
from pipeline import BUSYBOX, SERVED, TEXT, Pipeline, faults_of, left_by, make_pipeline

from repro_env.record.runs import list_runs

ONE_LINE = "interrupted: nothing is half-written, and the next run goes on from here"
PATIENCE = 20.0
LARGE = f"/{SERVED}/files/large-1.0-py3-none-any.whl"
INDEX = f"/{SERVED}/simple/small/"

# Ctrl-C reaches every process of a terminal's job, `kill` only the one that is named.
WAYS = {"ctrl-c": (signal.SIGINT, 130), "kill-int": (signal.SIGINT, 130), "kill-term": (signal.SIGTERM, 143)}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Pipeline, Server]]:
    with serve(tmp_path) as server:
        yield make_pipeline(tmp_path, server.url), server


@pytest.fixture
def pipeline(served: tuple[Pipeline, Server]) -> Pipeline:
    return served[0]


def interrupt(process: subprocess.Popen[bytes], way: str) -> tuple[int, str, float]:
    """Interrupt a command; return its status, what it said, and how long it took to end."""
    began = time.monotonic()
    while process.poll() is None:
        if way == "ctrl-c":
            os.killpg(process.pid, WAYS[way][0])
        else:
            process.send_signal(WAYS[way][0])
        try:
            process.wait(timeout=PATIENCE / 8)
        except subprocess.TimeoutExpired:
            # A shell that was just starting a program puts the signal off, and the program never got it; as at a
            # terminal, it is sent again.
            if time.monotonic() - began > PATIENCE:
                raise
    _stdout, stderr = process.communicate(timeout=PATIENCE)
    return process.returncode, stderr.decode(), time.monotonic() - began


def wait_for(path: str, server: Server) -> None:
    end = time.monotonic() + PATIENCE
    while not server.asked(path):
        assert time.monotonic() < end, f"{path} is never asked for"
        time.sleep(0.01)


def check(status: int, said: str, seconds: float, way: str, process: subprocess.Popen[bytes]) -> None:
    assert status == WAYS[way][1], said
    assert said.splitlines()[-1] == ONE_LINE
    assert "Traceback" not in said
    assert seconds < PATIENCE / 4
    assert left_by(process.pid) == []


@pytest.mark.parametrize("way", WAYS)
def test_while_a_server_says_nothing(served: tuple[Pipeline, Server], way: str) -> None:
    pipeline, server = served
    server.fault(LARGE, Fault(stall=PATIENCE))
    process = pipeline.start("build")
    wait_for(LARGE, server)
    check(*interrupt(process, way), way, process)
    server.fault(LARGE, Fault(times=0))
    assert pipeline.repro("build").status == 0
    assert faults_of(pipeline.store) == []


@pytest.mark.parametrize("way", WAYS)
def test_while_the_resolver_waits_for_an_index(served: tuple[Pipeline, Server], way: str) -> None:
    pipeline, server = served
    before = (pipeline.root / "repro.lock").read_bytes()
    pipeline.disk.write("repro.toml", TEXT.replace('"small", "large"', '"small<2", "large"'))
    server.fault(INDEX, Fault(stall=PATIENCE, times=9))
    process = pipeline.start("lock")
    wait_for(INDEX, server)
    check(*interrupt(process, way), way, process)
    assert (pipeline.root / "repro.lock").read_bytes() == before
    server.fault(INDEX, Fault(times=0))
    assert pipeline.repro("lock").status == 0
    assert (pipeline.root / "repro.lock").read_bytes() != before


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("runtime", ["venv", pytest.param("bwrap", marks=pytest.mark.bwrap)])
def test_while_a_step_runs(pipeline: Pipeline, runtime: str, way: str) -> None:
    if runtime == "bwrap" and not BUSYBOX.exists():
        pytest.skip("no static busybox to make an image of")
    words = ("exec", "--runtime", runtime, "clean")
    assert pipeline.repro(*words).status == 0
    pipeline.disk.write("raw.csv", str(int(PATIENCE)))
    assert pipeline.repro("lock").status == 0
    process = pipeline.start(*words)
    assert process.stdout is not None
    assert process.stdout.readline() == b"cleaning\n"
    status, said, seconds = interrupt(process, way)
    # The step got the signal and ended by it, and so does repro: its status is the step's.
    assert status == WAYS[way][1], said
    assert seconds < PATIENCE / 4
    assert f"failed by {WAYS[way][0].name}" in said
    assert "Traceback" not in said
    assert left_by(process.pid) == []
    record = list_runs(pipeline.root).last("clean")
    assert record is not None
    assert (record.status, record.signal) == ("failed", WAYS[way][0].value)
    assert (pipeline.root / "build" / "table.csv").read_text() == "0"


@pytest.mark.parametrize("count", [6, pytest.param(60, marks=pytest.mark.soak)])
@pytest.mark.parametrize("way", ["ctrl-c", "kill-term"])
def test_at_random_moments(pipeline: Pipeline, tmp_path: Path, way: str, count: int) -> None:
    fresh = (pipeline.root / "repro.lock").read_bytes()
    began = time.monotonic()
    assert pipeline.with_store(tmp_path / "reference").repro("build").status == 0
    longest = time.monotonic() - began
    wanted = (pipeline.root / "repro.lock").read_bytes()
    chance = random.Random(count)
    for _ in range(count):
        (pipeline.root / "repro.lock").write_bytes(fresh)
        process = pipeline.start("build")
        # Before the first line of ours runs, an interruption is the interpreter's own affair.
        end = time.monotonic() + PATIENCE
        while not (pipeline.store / "locks").exists() and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, longest / 2))
        status, said, seconds = interrupt(process, way)
        assert status in {0, WAYS[way][1], -WAYS[way][0]}, said  # the last: when all was done and told
        assert "Traceback" not in said
        assert seconds < PATIENCE / 4
        assert left_by(process.pid) == []
        assert faults_of(pipeline.store) == []
        answer = pipeline.repro("build")
        assert answer.status == 0, answer
        assert (pipeline.root / "repro.lock").read_bytes() == wanted
        shutil.rmtree(pipeline.store)
