"""Where what a step prints goes, on its way from the pipe."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Collection, Iterator
from io import FileIO
from pathlib import Path

from repro_env.edges import files
from repro_env.edges.masking import Masker, maskable


class Output:
    """Where a step's output goes: our own two streams, byte for byte and at once, and a log if there is one.

    Secrets are masked in all of them. What may be the beginning of one waits for what follows.
    """

    def __init__(self, log: FileIO | None, secrets: Collection[str] = ()) -> None:
        patterns = maskable(secrets)
        self._maskers = {descriptor: Masker(patterns) for descriptor in (1, 2)} if patterns else {}
        self._log = log
        self._lock = threading.Lock()
        self._gone: set[int] = set()

    def write(self, descriptor: int, data: bytes) -> None:
        """Pass `data` on to our descriptor 1 or 2. Neither a reader that went away nor a full disk stops the step."""
        masker = self._maskers.get(descriptor)
        self._pass_on(descriptor, masker.feed(data) if masker else data)

    def finish(self) -> None:
        """Pass on what waits, because nothing follows."""
        for descriptor, masker in self._maskers.items():
            self._pass_on(descriptor, masker.finish())

    def _pass_on(self, descriptor: int, data: bytes) -> None:
        with self._lock:
            self._keep(data)
        view = memoryview(data)
        while view and descriptor not in self._gone:
            try:
                view = view[os.write(descriptor, view) :]
            except BlockingIOError:  # another program that shares our terminal made it so
                select.select([], [descriptor], [])
            except OSError:
                self._gone.add(descriptor)

    def _keep(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while self._log is not None and view:
                view = view[self._log.write(view) :]
        except OSError as error:
            self._log = None
            os.write(2, f"repro: the log of this run ends here: {error.strerror}\n".encode())


@contextlib.contextmanager
def output_to(log: Path | None, secrets: Collection[str] = ()) -> Iterator[Output]:
    """Give the output of one run, in which secrets are masked. Errors: `StoreError` when the log cannot be opened."""
    with contextlib.ExitStack() as opened:
        stream = None
        if log is not None:
            with files.os_errors(f"write {log}"):
                stream = opened.enter_context(log.open("wb", buffering=0))
        output = Output(stream, secrets)
        try:
            yield output
        finally:
            output.finish()
