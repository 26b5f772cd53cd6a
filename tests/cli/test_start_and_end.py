"""Ctrl-C from the first line of the program to its last, and errors that nobody can be told of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

INTERRUPTED = "interrupted: nothing is half-written, and the next run goes on from here\n"


def run(code: str, place: Path, *words: str) -> tuple[int, str]:
    """Run `repro` as its script does, after some other code; return the exit status and what it said."""
    program = f"{textwrap.dedent(code)}\nfrom repro_env.cli.main import main\nmain()\n"
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=place,
        env={**os.environ, "NO_COLOR": "1", "REPRO_STORE": str(place / "store")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def test_nothing_is_imported_before_ctrl_c_can_be_answered() -> None:
    code = "import sys; had = set(sys.modules); import repro_env.cli.main; print(*sorted(set(sys.modules) - had))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"__future__", "repro_env", "repro_env.cli", "repro_env.cli.main"}


@pytest.mark.parametrize("module", ["dataclasses", "repro_env.errors", "repro_env.cli.group", "click"])
def test_ctrl_c_during_an_import(module: str, tmp_path: Path) -> None:
    code = f"""
        import os, signal, sys

        class Interrupting:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name == {module!r}:
                    sys.meta_path.remove(Interrupting)
                    os.kill(os.getpid(), signal.SIGINT)

        sys.meta_path.insert(0, Interrupting)
    """
    assert run(code, tmp_path, "status") == (130, INTERRUPTED)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_where_python_passes_over_errors(number: signal.Signals, tmp_path: Path) -> None:
    """In a finalizer, or what importing calls when a lock is no longer needed, the exception itself would be lost."""
    code = f"""
        import os
        from repro_env.cli import group

        class Finalized:
            def __del__(self):
                os.kill(os.getpid(), {number.value})

        group.run = lambda: [Finalized()].clear() or 0
    """
    assert run(code, tmp_path) == (128 + number, INTERRUPTED)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_that_became_another_error(number: signal.Signals, tmp_path: Path) -> None:
    """Python 3.11 makes a `RuntimeError` of what comes while a class gets its attributes; a library may do likewise."""
    code = f"""
        import os
        from repro_env.cli import group

        class Attribute:
            def __set_name__(self, owner, name):
                os.kill(os.getpid(), {number.value})

        def run():
            try:
                type("Owner", (), {{"attribute": Attribute()}})
            except BaseException as error:
                raise RuntimeError("in another's words") from error

        group.run = run
    """
    assert run(code, tmp_path) == (128 + number, INTERRUPTED)


def test_an_error_that_nobody_foresaw_is_shown_whole(tmp_path: Path) -> None:
    code = """
        from repro_env.cli import group
        group.run = lambda: {}["absent"]
    """
    status, said = run(code, tmp_path)
    assert (status, said.splitlines()[0], said.splitlines()[-1]) == (
        1,
        "Traceback (most recent call last):",
        "KeyError: 'absent'",
    )


def test_ctrl_c_once_all_is_told_ends_without_a_word(tmp_path: Path) -> None:
    code = """
        import atexit, os, signal
        atexit.register(os.kill, os.getpid(), signal.SIGINT)
    """
    assert run(code, tmp_path, "--help") == (-signal.SIGINT, "")


def test_a_path_in_no_encoding_is_printed_as_it_is(tmp_path: Path) -> None:
    code = """
        import click
        from repro_env.cli import group
        from repro_env.cli.main import main
        group.run = lambda: click.echo("caf\\udce9") or 0
        main()
    """
    environ = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}  # as in every locale but C
    words = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(words, env=environ, capture_output=True, check=True).stdout == b"caf\xe9\n"


@pytest.mark.parametrize("words", [("status",), ("exec", "step")])
@pytest.mark.parametrize("gone", ["2>/dev/full", "2> >(true)"])
def test_an_error_that_cannot_be_shown_keeps_its_status(words: tuple[str, ...], gone: str, tmp_path: Path) -> None:
    script = f'"$@" {gone}; status=$?; wait; exit $status'
    command = [sys.executable, "-m", "repro_env", *words]
    done = subprocess.run(["bash", "-c", script, "bash", *command], cwd=tmp_path, check=False, timeout=60)
    assert done.returncode == (120 if "exec" in words else 3)
