"""Documents that are still to be sent: kept as files, so that a tool which is down, or a crash, loses none.

Each is a file `TIME-RUN-NUMBER.KIND.json`, whose name sorts in the order of the documents. It is removed once its tool
has it.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from repro_env.edges.files import os_errors, write_atomically
from repro_env.errors import ReproError
from repro_env.record.exports.common import json_text
from repro_env.record.sending.base import RefusedError, Transport

_PAUSE = 60.0
"""Seconds in which a tool that could not be reached is not tried again: a run should not wait for it each time."""

_PATIENCE = 5.0
"""Seconds after which the documents that are left wait for another run: there may be many, and the tool slow."""

_LOOK = 0.05
"""Seconds between two looks at whether another process still sends."""


class Outbox:
    """The documents of a project that are still to be sent, in `directory`.

    `transports` maps a kind to where its documents go, and is asked for a kind when something is to go there. `now` is
    the time in seconds since the epoch.
    """

    def __init__(
        self, directory: Path, transports: Mapping[str, Callable[[], Transport]], *, now: Callable[[], float]
    ) -> None:
        self._directory = directory
        self._transports = transports
        self._now = now

    def put(self, kind: str, name: str, document: Any) -> None:
        """Keep a document to be sent; `name` sorts it among the others of its kind. Errors: `StoreError`."""
        write_atomically(self._directory / f"{name}.{kind}.json", json_text(document).encode())

    def waiting(self) -> list[Path]:
        """Return the files that are still to be sent, in their order. Errors: `StoreError`."""
        with os_errors(f"list {self._directory}"):
            return sorted(self._directory.glob("*.*.json")) if self._directory.is_dir() else []

    def deliver(self, *, again: bool = False) -> Mapping[str, ReproError]:
        """Send what is waiting and return, by kind, why something was not sent.

        What a tool will never take is put aside, as `.refused`, so that it does not hold up what comes after it.
        After a failure the later documents of that kind wait, too: tools want them in their order. A kind that failed a
        moment ago is left out, and after some seconds, in which another process may be at it, the rest waits for
        another time, unless `again` is set. Errors: `StoreError`.
        """
        failed: dict[str, ReproError] = {}
        stopped: set[str] = set()
        transport = functools.cache(lambda kind: self._transports[kind]())
        end = math.inf if again else self._now() + _PATIENCE
        with os_errors(f"work in {self._directory}"), contextlib.ExitStack() as held:
            if not self.waiting() or not self._has_turn(held, end):
                return failed
            for path in self.waiting():
                if self._now() >= end:
                    break
                kind = path.name.removesuffix(".json").rpartition(".")[2]
                if kind in stopped or kind not in self._transports or (self._failed_lately(kind) and not again):
                    continue
                if error := self._send(path, kind, transport):
                    failed[kind] = error
                    stopped |= set() if isinstance(error, RefusedError) else {kind}
        return failed

    def _send(self, path: Path, kind: str, transport: Callable[[str], Transport]) -> ReproError | None:
        """Send one document, which does not wait any more then, and return why it was not taken."""
        try:
            transport(kind).send(json.loads(path.read_bytes()))
        except RefusedError as error:
            path.rename(path.with_suffix(".refused"))
            return error
        except ReproError as error:
            self._note(kind)
            return error
        except ValueError:
            path.rename(path.with_suffix(".damaged"))
        else:
            path.unlink()
            self._note_of(kind).unlink(missing_ok=True)
        return None

    def _has_turn(self, held: contextlib.ExitStack, end: float) -> bool:
        """Wait until no other process sends, and hold that; return False where that takes too long."""
        lock = held.enter_context((self._directory / "lock").open("ab"))
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._now() >= end:
                    return False
                time.sleep(_LOOK)
            else:
                return True

    def _failed_lately(self, kind: str) -> bool:
        try:
            return 0 <= self._now() - float(self._note_of(kind).read_text()) < _PAUSE
        except (OSError, ValueError):
            return False

    def _note(self, kind: str) -> None:
        write_atomically(self._note_of(kind), f"{self._now()}\n".encode())

    def _note_of(self, kind: str) -> Path:
        return self._directory / f"{kind}.failed"
