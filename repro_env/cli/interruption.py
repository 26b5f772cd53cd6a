"""What becomes of this program when it is asked to end: by Ctrl-C, or by another signal that unwinds the same way."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_SIGNALLED = 128
_SAID = b"interrupted: nothing is half-written, and the next run goes on from here\n"


class _Terminated(KeyboardInterrupt):
    """Another signal than Ctrl-C's that asks this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


ASKING_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interruption(number: int) -> KeyboardInterrupt:
    """Return what to raise where a step got one of `ASKING_TO_END`, which was meant for this program, too."""
    return KeyboardInterrupt() if number == signal.SIGINT else _Terminated(number)


def heed_interruptions() -> None:
    """Let what ends a process end this one as Ctrl-C does, unless it is ignored, and let no interruption be lost."""
    sys.unraisablehook = _unraisable
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminate)


def let_interruptions_pass() -> None:
    """Let an interruption end this process without a word: all is done and told, or is being told."""
    for number in ASKING_TO_END:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)


def end_interrupted(error: BaseException) -> NoReturn:
    """End at once, without the threads that still work, whose temporary files are nobody's loss."""
    let_interruptions_pass()
    number = error.number if isinstance(error, _Terminated) else signal.SIGINT
    process = sys.modules.get("repro_env.edges.process")
    if process is not None:
        process.stop_all()
    with contextlib.suppress(OSError):
        os.write(2, _SAID)
    with contextlib.suppress(OSError, RuntimeError):  # the second, where a finalizer ran in the middle of a write
        sys.stdout.flush()
    os._exit(_SIGNALLED + number)


def interruption_behind(error: BaseException) -> KeyboardInterrupt | None:
    """Return the interruption that somebody's code made this error of, if any did.

    Python 3.11 itself does, of one that comes while a class is made: `RuntimeError: Error calling __set_name__`.
    """
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, KeyboardInterrupt):
        behind = behind.__cause__ or behind.__context__
    return behind


def _terminate(number: int, _frame: object) -> NoReturn:
    raise _Terminated(number)


def _unraisable(found: UnraisableHookArgs) -> None:
    """End this process for an interruption that came where Python passes over errors: in a finalizer, say.

    Source: https://docs.python.org/3/library/signal.html#handlers-and-exceptions
    """
    if isinstance(found.exc_value, KeyboardInterrupt):
        end_interrupted(found.exc_value)
    sys.__unraisablehook__(found)
