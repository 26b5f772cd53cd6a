"""A program that we supervise never outlives us, whenever we are killed; and nothing that it leaves holds us up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from repro_env.edges.child import guarded, send, supervise
from repro_env.edges.output import output_to

MOMENTS = {
    "before it is named": """
        def before():
            os.kill(parent, signal.SIGKILL)
            while os.getppid() == parent:
                time.sleep(0.001)
            then()

        parent, then = os.getpid(), options.get("preexec_fn") or (lambda: None)
        options["preexec_fn"] = before
        super().__init__(words, **options)
    """,
    "as soon as it runs": """
        super().__init__(words, **options)
        os.kill(os.getpid(), signal.SIGKILL)
    """,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_when_we_are_killed_at_its_start_it_ends(moment: str) -> None:
    program = f"""
import os, signal, subprocess, time
from repro_env.edges.child import send, supervise

class Killed(subprocess.Popen):
    def __init__(self, words, **options):
        if words[0] != "sleep":
            super().__init__(words, **options)
            return
{textwrap.indent(textwrap.dedent(MOMENTS[moment]), " " * 8)}

subprocess.Popen = Killed
supervise(["sleep", "30"], env={{"PATH": os.defpath}}, output=None, deliver=send)
"""
    # Whoever lives holds our pipe open.
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=20, check=False)
    assert done.returncode == -signal.SIGKILL


def test_a_guard_that_was_given_no_name_does_nothing(tmp_path: Path) -> None:
    acted = tmp_path / "acted"
    with guarded("touch", str(acted)):
        pass
    assert not acted.exists()


def test_what_left_its_session_does_not_hold_us_up(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    pid = tmp_path / "pid"
    script = f"setsid sh -c 'echo $$ > {pid}; exec sleep 30' & until [ -s {pid} ]; do sleep 0.01; done; echo done"
    began = time.monotonic()
    with output_to(tmp_path / "log") as output:
        ended = supervise(["/bin/sh", "-c", script], env={"PATH": os.defpath}, output=output, deliver=send)
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert time.monotonic() - began < 20
    assert ended.status == 0
    assert capfdbinary.readouterr().out == b"done\n"
    assert (tmp_path / "log").read_bytes() == b"done\n"


def test_a_signal_for_both_of_us_reaches_it_once(tmp_path: Path) -> None:
    """Before it has a session of its own, Ctrl-C at a terminal is for it, too."""
    program = f"""
import os, signal, subprocess
from repro_env.edges.child import send, supervise

class Interrupted(subprocess.Popen):
    def __init__(self, words, **options):
        if words[0] == "/bin/sh" and options.get("cwd"):
            then = options["preexec_fn"]
            options["preexec_fn"] = lambda: (os.kill(os.getpid(), signal.SIGINT), then())
        super().__init__(words, **options)

subprocess.Popen = Interrupted
script = "trap 'echo caught' INT; for n in 1 2 3 4 5 6 7 8 9 10; do sleep 0.02; done; exit 0"
words, place = ["/bin/sh", "-c", script], {str(tmp_path)!r}
raise SystemExit(supervise(words, env={{"PATH": os.defpath}}, output=None, deliver=send, cwd=place).status)
"""
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (0, b"")  # we were not sent it here, so nothing is passed on
