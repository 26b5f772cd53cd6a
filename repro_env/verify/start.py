"""What the program that begins a step image has before anything else: how it speaks, and how it ends."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType, TracebackType

BUG = 125
"""The exit status for what nobody expected. As `errors.ReproError.exec_status` has it."""

MODE = "REPRO_VERIFY"
"""The variable that says what to do about a mismatch."""


def prepare() -> None:
    """Let signals end this process, and let it never end with a traceback.

    A container's first process ignores every signal that it does not handle. What was ignored stays so. The command
    that follows finds all as it was, for a handler ends with the program that it is of.
    """
    sys.excepthook = _say_bug
    for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"):
        number = getattr(signal, name)
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def say(kind: str, what: str, why: str = "", hint: str = "") -> None:
    """Write a message to standard error, in the words and the shape of the `repro` command.

    Where there is none, or nobody reads it, nothing is said.
    """
    lines = [f"{kind}: {what}", *(f"  {line}" for line in why.splitlines())]
    lines += [f"hint: {hint}"] if hint else []
    data = ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
    if sys.stderr is None:  # then its number may be another file's
        return
    try:
        while data:
            data = data[os.write(2, data) :]
    except OSError:
        return


def _end(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


def _say_bug(kind: type, error: BaseException, trace: TracebackType | None) -> None:
    """Say in a line what this program did not expect; the command is not started unverified."""
    where: Any = trace
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f" ({os.path.basename(where.tb_frame.f_code.co_filename)}:{where.tb_lineno})" if where else ""
    hint = f"this is an error of repro's; to start the command unverified: {MODE}=off"
    say("error", "this machine could not be verified", f"{kind.__name__}: {error}{place}", hint)
    os._exit(BUG)
