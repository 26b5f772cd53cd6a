"""Running a command line: every failure becomes its three parts and its exit status.

`repro lock --check` runs at every commit, so it goes its own way, past click, whose import takes longer than the check.
"""

from __future__ import annotations

import gc
import io
import os
import sys

from repro_env.cli.interruption import heed_interruptions, let_interruptions_pass
from repro_env.errors import ReproError

_CHECK = ["lock", "--check"]
_BROKEN_PIPE = 141


def run_command_line(arguments: list[str]) -> int:
    """Run what the command line says and return the exit status. An interruption is raised: `KeyboardInterrupt`."""
    gc.disable()  # until a command is imported, which makes no garbage to look for
    _open_standard_streams()
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except ReproError as error:
        status = _told(error, arguments)
    except BrokenPipeError:
        # Whoever read the output has gone.
        _silence()
        status = _BROKEN_PIPE
    except OSError as error:
        # What no room of this program foresaw: a full disk, a limit, a permission.
        from repro_env.edges.files import store_error  # noqa: PLC0415 - only for a failure

        status = _told(store_error("go on", error), arguments)
        _silence()
    gc.freeze()  # the interpreter's end would look through all there is once more
    let_interruptions_pass()
    return status


def _open_standard_streams() -> None:
    """Open the null device for those of the three that are closed: no file of ours may come to stand in their place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest that is free is this one
            setattr(sys, name, os.fdopen(descriptor, "w" if number else "r", encoding="utf-8"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # a path that is not UTF-8 is printed byte for byte


def _run(arguments: list[str]) -> int:
    if arguments == _CHECK:
        from repro_env.cli.lock_check import check_lock  # noqa: PLC0415 - instead of click

        print(check_lock())
        return 0
    heed_interruptions()
    from repro_env.cli.group import run  # noqa: PLC0415 - click

    return run()


def _told(error: ReproError, arguments: list[str]) -> int:
    """Show an error, if anybody reads that, and return the exit status that it has in this command."""
    try:
        show_error(error)
    except OSError:
        _silence()
    return error.exec_status if _is_exec(arguments) else error.exit_status


def _silence() -> None:
    """Let the interpreter not complain, on its way out, of what cannot be written any more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


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
    """Print an error in its three parts to standard error, in colour on a terminal.

    What it quotes of files, records and programs is shown, not acted on by the terminal.
    """
    from repro_env.record.words import visible  # noqa: PLC0415 - only for a failure

    what, why, hint = (
        [visible(line.expandtabs()) for line in part.splitlines()] for part in (error.what, error.why, error.hint)
    )
    print("\n".join([f"{_coloured('error:', 31)} {what[0] if what else ''}", *what[1:]]), file=sys.stderr)
    for line in why:
        print(f"  {line}", file=sys.stderr)
    if hint:
        print("\n".join([f"{_coloured('hint:', 36)} {hint[0]}", *hint[1:]]), file=sys.stderr)


def _coloured(text: str, colour: int) -> str:
    plain = not sys.stderr.isatty() or "NO_COLOR" in os.environ
    return text if plain else f"\x1b[1;{colour}m{text}\x1b[0m"
