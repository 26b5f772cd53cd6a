"""Where `repro` starts and ends: every failure becomes its three parts and its exit status.

`repro lock --check` runs at every commit, so it goes its own way, past click, whose import takes longer than the check.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from typing import NoReturn

from repro_env.errors import ReproError

_CHECK = ["lock", "--check"]
_SIGNALLED = 128
_BROKEN_PIPE = 141


class _Terminated(KeyboardInterrupt):
    """Another signal than Ctrl-C's that asks this process to end; it unwinds the same way."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def main() -> NoReturn:
    """Run the command line and exit with its status; see `docs/reference/exit-status.md`."""
    arguments = sys.argv[1:]
    gc.disable()  # until a command is imported, which makes no garbage to look for
    _open_standard_streams()
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except ReproError as error:
        show_error(error)
        status = error.exec_status if _is_exec(arguments) else error.exit_status
    except KeyboardInterrupt as error:
        _end_interrupted(error)
    except BrokenPipeError:
        # Whoever read the output has gone.
        _silence()
        status = _BROKEN_PIPE
    except OSError as error:
        status = _refused_by_the_system(error, arguments)
    gc.freeze()  # the interpreter's end would look through all there is once more
    sys.exit(status)


def _open_standard_streams() -> None:
    """Open the null device for those of the three that are closed: no file of ours may come to stand in their place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest that is free is this one
            setattr(sys, name, os.fdopen(descriptor, "w" if number else "r", encoding="utf-8"))


def _end_interrupted(error: KeyboardInterrupt) -> NoReturn:
    """End at once, without the threads that still work, whose temporary files are nobody's loss."""
    number = error.number if isinstance(error, _Terminated) else signal.SIGINT
    process = sys.modules.get("repro_env.edges.process")
    if process is not None:
        process.stop_all()
    with contextlib.suppress(OSError):
        print("interrupted: nothing is half-written, and the next run goes on from here", file=sys.stderr, flush=True)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(_SIGNALLED + number)


def _refused_by_the_system(error: OSError, arguments: list[str]) -> int:
    """Say what no room of this program foresaw: a full disk, a limit, a permission. Returns the exit status."""
    from repro_env.edges.files import store_error  # noqa: PLC0415 - only for a failure

    told = store_error("go on", error)
    with contextlib.suppress(OSError):
        show_error(told)
    _silence()
    return told.exec_status if _is_exec(arguments) else told.exit_status


def _silence() -> None:
    """Let the interpreter not complain, on its way out, of what cannot be written any more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


def _run(arguments: list[str]) -> int:
    if arguments == _CHECK:
        from repro_env.cli.lock_check import check_lock  # noqa: PLC0415 - instead of click

        print(check_lock())
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminate)
    from repro_env.cli.group import run  # noqa: PLC0415 - click

    return run()


def _terminate(number: int, _frame: object) -> NoReturn:
    raise _Terminated(number)


def _is_exec(arguments: list[str]) -> bool:
    """Whether the command is `exec`, whose own failures must not look like those of the step it runs."""
    words = iter(arguments)
    for word in words:
        if word in {"-C", "--directory"}:
            next(words, "")
        elif not word.startswith("-"):
            return word == "exec"
    return False


def show_error(error: ReproError) -> None:
    """Print an error in its three parts to standard error, in colour on a terminal."""
    print(f"{_coloured('error:', 31)} {error.what}", file=sys.stderr)
    for line in error.why.splitlines():
        print(f"  {line}", file=sys.stderr)
    if error.hint:
        print(f"{_coloured('hint:', 36)} {error.hint}", file=sys.stderr)


def _coloured(text: str, colour: int) -> str:
    plain = not sys.stderr.isatty() or "NO_COLOR" in os.environ
    return text if plain else f"\x1b[1;{colour}m{text}\x1b[0m"
