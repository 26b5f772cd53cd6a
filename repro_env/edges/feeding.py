"""What a program reads: our standard input, and before it what must stand in no file and on no command line."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable, Iterator

_CHUNK = 1 << 16


@contextlib.contextmanager
def feeding(
    target: int, write: Callable[[memoryview], int], finish: Callable[[], object], first: bytes = b""
) -> Iterator[None]:
    """Pass `first`, and then our standard input, on in the background, to its end or the block's.

    `write` is called when the descriptor `target` can take something, must not wait, and returns how many bytes it
    took; `finish` is called at the end of our standard input.
    """
    awake, wake = os.pipe()

    def send(data: bytes) -> None:
        view = memoryview(data)
        while view:
            if awake in select.select([awake], [target], [])[0]:
                raise BrokenPipeError  # nobody reads the rest
            with contextlib.suppress(BlockingIOError):
                view = view[write(view) :]

    def feed() -> None:
        with contextlib.suppress(OSError):  # the program is gone, or we have no standard input
            send(first)
            while awake not in (ready := select.select([0, awake], [], [])[0]):
                data = os.read(0, _CHUNK) if ready else b""
                if not data:
                    finish()
                    return
                send(data)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    try:
        yield
    finally:
        os.close(wake)
        feeder.join()
        os.close(awake)


@contextlib.contextmanager
def readable(data: bytes) -> Iterator[int]:
    """Give a descriptor at which one program reads these bytes and then finds the end. They are in memory alone."""
    reader, writer = os.pipe()

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), open(writer, "wb", buffering=0) as stream:
            view = memoryview(data)
            while view:
                view = view[stream.write(view) :]

    giver = threading.Thread(target=write, daemon=True)
    giver.start()
    try:
        yield reader
    finally:
        os.close(reader)  # a program that did not read it all holds us up no longer
        giver.join()
