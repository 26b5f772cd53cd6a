"""Where `repro` starts and ends: every failure becomes its three parts and its exit status.

`repro lock --check` runs at every commit, so it goes its own way, past click, whose import takes longer than the check.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from repro_env.errors import ReproError

_CHECK = ["lock", "--check"]
_INTERRUPTED = 130
_BROKEN_PIPE = 141


def main() -> NoReturn:
    """Run the command line and exit with its status; see `docs/reference/exit-status.md`."""
    try:
        status = _run(sys.argv[1:])
        sys.stdout.flush()
    except ReproError as error:
        show_error(error)
        status = error.exec_status if _is_exec(sys.argv[1:]) else error.exit_status
    except KeyboardInterrupt:
        print("interrupted: nothing is half-written, and the next run goes on from here", file=sys.stderr)
        status = _INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone; the interpreter must not complain of it on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = _BROKEN_PIPE
    sys.exit(status)


def _run(arguments: list[str]) -> int:
    if arguments == _CHECK:
        from repro_env.cli.checking import check_lock  # noqa: PLC0415 - instead of click

        print(check_lock())
        return 0
    from repro_env.cli.group import run  # noqa: PLC0415 - click

    return run()


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
