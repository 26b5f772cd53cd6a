from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from repro_env.edges import child
from repro_env.edges.child import Ended, receiving, send, supervise
from repro_env.edges.output import Output, output_to
from repro_env.errors import ToolError

ENV = {"PATH": os.defpath}


def ended(status: int) -> int | None:
    return Ended(status=status).signal


def test_a_status_tells_the_signal() -> None:
    assert [ended(status) for status in (0, 127, 128, 130, 137, 255)] == [None, None, None, 2, 9, None]


def test_a_program_runs_with_the_environment_it_is_given(capfd: pytest.CaptureFixture[str]) -> None:
    ended = supervise(["/bin/sh", "-c", "echo $A; exit 4"], env={"A": "b"}, output=None, deliver=send)
    assert ended.status == 4
    assert capfd.readouterr().out == "b\n"
    assert ended.peak_memory is not None
    assert ended.cpu_seconds is not None


def test_a_program_that_is_not_there_is_a_tool_error() -> None:
    with pytest.raises(ToolError, match="cannot run /nonexistent"):
        supervise(["/nonexistent"], env=ENV, output=None, deliver=send)


def test_output_is_passed_on_and_kept(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with output_to(tmp_path / "log") as output:
        supervise(["/bin/sh", "-c", r"printf '\377a'; printf b >&2"], env=ENV, output=output, deliver=send)
    captured = capfdbinary.readouterr()
    assert (captured.out, captured.err) == (b"\xffa", b"b")
    assert sorted((tmp_path / "log").read_bytes()) == sorted(b"\xffab")


def test_a_signal_ends_it_with_128_and_its_number() -> None:
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    assert supervise(["sleep", "60"], env=ENV, output=None, deliver=send).status == 143
    timer.join()


def test_signals_that_came_early_are_delivered_and_handlers_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    received: list[int] = []
    end, writer = os.pipe()

    def receive(number: int) -> None:
        received.append(number)
        if len(received) == 3:
            os.close(writer)

    with receiving() as signals:
        for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        signals.deliver_until(end, receive)
    os.close(end)
    assert received == [signal.SIGUSR1, signal.SIGINT, signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with receiving():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found: list[object] = []

    def work() -> None:
        found.append(supervise(["/bin/sh", "-c", "exit 3"], env=ENV, output=None, deliver=send).status)
        with receiving():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [3, before]


def test_no_moment_is_too_early_for_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler in Python could come too late, just before the call that waits for the end."""
    start = child._start

    def signalled(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        timer.start()
        return start(*arguments, **options)

    monkeypatch.setattr(child, "_start", signalled)
    for delay in range(0, 4000, 100):
        timer = threading.Timer(delay / 1e6, os.kill, (os.getpid(), signal.SIGTERM))
        assert supervise(["sleep", "20"], env=ENV, output=None, deliver=send).status == 143
        timer.join()


def test_a_reader_that_goes_away_does_not_stop_the_step(tmp_path: Path) -> None:
    code = f"""
        from pathlib import Path
        from repro_env.edges.child import send, supervise
        from repro_env.edges.output import output_to
        with output_to(Path({str(tmp_path / "log")!r})) as output:
            command = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 5"
            print(supervise(["/bin/sh", "-c", command], env={{}}, output=output, deliver=send).status,
                  file=open({str(tmp_path / "status")!r}, "w"))
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.stdout.close()
        running.wait(60)
    assert (tmp_path / "status").read_text() == "5\n"
    assert (tmp_path / "log").read_text().endswith("line 19999\n")


def test_a_log_on_a_full_disk_does_not_stop_the_step(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with output_to(Path("/dev/full")) as output:
        status = supervise(["/bin/sh", "-c", "echo a; sleep 0.1; echo b; exit 5"], env=ENV, output=output, deliver=send)
    assert status.status == 5
    captured = capfdbinary.readouterr()
    assert captured.out == b"a\nb\n"
    assert captured.err == b"repro: the log of this run ends here: No space left on device\n"


def test_a_terminal_that_does_not_block_loses_nothing() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data = os.urandom(1 << 20)
    found = bytearray()

    def read() -> None:
        time.sleep(0.1)
        while piece := os.read(reader, 1 << 16):
            found.extend(piece)

    thread = threading.Thread(target=read)
    thread.start()
    Output(None).write(writer, data)
    os.close(writer)
    thread.join()
    os.close(reader)
    assert bytes(found) == data


@pytest.mark.parametrize("killed", [True, False])
def test_a_guard_acts_only_when_we_die(tmp_path: Path, killed: bool) -> None:
    code = f"""
        import os, signal
        from repro_env.edges.child import guarded
        with guarded("touch") as watch:
            watch({str(tmp_path / "acted")!r})
            if {killed}:
                os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, timeout=60)
    end = time.monotonic() + (10 if killed else 0.3)
    while time.monotonic() < end and not (tmp_path / "acted").exists():
        time.sleep(0.01)
    assert (tmp_path / "acted").exists() is killed
