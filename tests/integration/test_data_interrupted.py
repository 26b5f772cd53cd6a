"""Pulling that is killed, or done by several commands at once: what is in its place is whole, what came is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import Fault, Server, serve
from projects import CLEAN, COUNT, TWO_STEPS, OnDisk

RAW = os.urandom(8 << 20)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "raw.csv").write_bytes(RAW)
    with serve(tmp_path / "web") as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, server: Server) -> OnDisk:
    made = OnDisk(tmp_path / "churn")
    made.write("repro.toml", TWO_STEPS.replace('path = "raw.csv"', f'uri = "{server.url}/raw.csv"'))
    made.write("clean.py", CLEAN)
    made.write("count.py", COUNT)
    made.lock()
    (tmp_path / "store").rename(tmp_path / "store-of-the-lock")
    return made


def start(project: OnDisk) -> subprocess.Popen[bytes]:
    env = {**os.environ, "REPRO_STORE": str(project.root.parent / "store")}
    words = [sys.executable, "-m", "repro_env", "data", "pull"]
    return subprocess.Popen(words, cwd=project.root, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for(project: OnDisk, size: int) -> None:
    partial = project.root.parent / "store" / "partial"
    for _ in range(400):
        if partial.is_dir() and any(path.stat().st_size >= size for path in partial.glob("data-*.part")):
            return
        time.sleep(0.05)
    raise AssertionError("nothing came")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_came_before_a_signal_is_kept(project: OnDisk, server: Server, number: int) -> None:
    server.fault("/raw.csv", Fault(slow=(4 << 20, 20.0), times=2))
    with start(project) as running:
        wait_for(project, 3 << 20)
        began = time.monotonic()
        running.send_signal(number)
        running.wait(timeout=20)
        assert time.monotonic() - began < 5
        assert running.stderr is not None
        assert b"Traceback" not in running.stderr.read()
    place = project.root / ".repro" / "data" / "raw" / "raw.csv"
    assert not place.exists()
    server.fault("/raw.csv", Fault(times=0))
    server.log.clear()
    answer = project.repro("data", "pull")
    assert (answer.status, place.read_bytes() == RAW) == (0, True), answer.stderr
    assert [asked for method, _, asked in server.log if method == "GET" and asked], "it went on where it stopped"


def test_several_commands_at_once_download_once_and_all_succeed(project: OnDisk, server: Server) -> None:
    server.fault("/raw.csv", Fault(slow=(4 << 20, 4.0), times=9))
    server.log.clear()
    running = [start(project) for _ in range(3)]
    for one in running:
        _, stderr = one.communicate(timeout=60)
        assert one.returncode == 0, stderr
    assert (project.root / ".repro" / "data" / "raw" / "raw.csv").read_bytes() == RAW
    assert len([method for method, _, _ in server.log if method == "GET"]) == 1
    assert os.listdir(project.root / ".repro" / "data" / "raw") == ["raw.csv"]
