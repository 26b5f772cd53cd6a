"""What a step used, as each runtime tells it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import machine
import pytest
import tiny

from repro_env.edges.child import Ended
from repro_env.edges.container_use import ContainerUse
from repro_env.edges.report import Silent
from repro_env.image.store import Store
from repro_env.run.runtimes.choose import choose, runtimes_of

# About a second of work in two processes at once, one of which holds 64 MiB, and two more that ended before.
BUSY = """
work() { i=0; while [ $i -lt $1 ]; do i=$((i + 1)); done; }
(work 100000); (work 100000)
dd if=/dev/zero bs=64M count=4 2>/dev/null | cat > /dev/null &
work 1000000
wait
"""


# In one process: its end removes the images that all of them made.
pytestmark = pytest.mark.xdist_group("runtimes")


def used(name: str, store: Store, directory: Path, *command: str) -> Ended:
    machine.require("busybox")
    runtime = choose(runtimes_of(store, Silent()), asked=name)
    plan = tiny.tiny_plan(
        tiny.tiny_step(*command), directory, image=tiny.tiny_image(store), run=f"use-{os.getpid()}-{time.time_ns()}"
    )
    plan.output.mkdir(parents=True)
    return runtime.run(plan, log=directory / "log")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("bwrap", marks=pytest.mark.bwrap),
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("podman", marks=pytest.mark.podman),
    ],
)
def test_cpu_and_memory(name: str, store: Store, tmp_path: Path) -> None:
    ended = used(name, store, tmp_path, "sh", "-c", BUSY)
    assert ended.status == 0, (tmp_path / "log").read_text()
    assert ended.cpu_seconds is not None
    assert 0.2 < ended.cpu_seconds < 30
    assert ended.peak_memory is not None
    assert 64 * 2**20 <= ended.peak_memory < 200 * 2**20


@pytest.mark.docker
def test_what_ended_at_once_is_not_known_or_little(store: Store, tmp_path: Path) -> None:
    ended = used("docker", store, tmp_path, "true")
    assert ended.cpu_seconds is None or ended.cpu_seconds < 1


def test_a_process_of_no_such_container_is_not_looked_at() -> None:
    with ContainerUse(lambda: (os.getpid(), "0" * 64)) as use:
        time.sleep(0.1)
    assert (use.peak_memory, use.cpu_seconds) == (None, None)


def test_a_container_without_a_first_process_yet() -> None:
    with ContainerUse(lambda: None) as use:
        time.sleep(0.05)
    assert (use.peak_memory, use.cpu_seconds) == (None, None)


def test_numbers_are_those_of_the_kernel(tmp_path: Path) -> None:
    # A first process with a child, as proc(5) shows them; the name of a program may hold anything.
    for pid, children, ticks, peak in ((7, "9", "10 5 100 20", 3000), (9, "", "40 1 0 0", 5000)):
        here = tmp_path / str(pid)
        (here / "task" / str(pid)).mkdir(parents=True)
        (here / "task" / str(pid) / "children").write_text(f"{children} ")
        (here / "cgroup").write_text("0::/docker/abc\n")
        (here / "stat").write_text(f"{pid} (a ) b) S 1 1 1 0 -1 4194560 0 0 0 0 {ticks} 20 0 1 0 100\n")
        (here / "status").write_text(f"Name:\ta\nVmPeak:\t9999 kB\nVmHWM:\t{peak} kB\n")
    with ContainerUse(lambda: (7, "abc"), tmp_path) as use:
        time.sleep(0.1)
    assert use.peak_memory == 5000 * 1024
    assert use.cpu_seconds == pytest.approx(176 / os.sysconf("SC_CLK_TCK"))
