"""Documents that are still to be sent: kept as files, so that a tool which is down, or a crash, loses none.

Each is a file `TIME-RUN-NUMBER.KIND.json`, whose name sorts in the order of the documents. It is removed once its tool
has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from repro_env.edges.files import locked, os_errors, write_atomically
from repro_env.errors import ReproError
from repro_env.record.exports.common import json_text
from repro_env.record.sending.base import RefusedError, Transport

_PAUSE = 60.0
"""Seconds in which a tool that could not be reached is not tried again: a run should not wait for it each time."""

_PATIENCE = 5.0
"""Seconds after which the documents that are left wait for another run: there may be many, and the tool slow."""


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
        moment ago is left out, and after some seconds the rest waits for another time, unless `again` is set.
        Errors: `StoreError`.
        """
        failed: dict[str, ReproError] = {}
        stopped: set[str] = set()
        if not self.waiting():
            return failed
        open_transports: dict[str, Transport] = {}
        with locked(self._directory / "lock"), os_errors(f"work in {self._directory}"):
            end = self._now() + _PATIENCE
            for path in self.waiting():
                if self._now() >= end and not again:
                    break
                kind = path.name.removesuffix(".json").rpartition(".")[2]
                if kind in stopped or kind not in self._transports or (self._failed_lately(kind) and not again):
                    continue
                try:
                    if kind not in open_transports:
                        open_transports[kind] = self._transports[kind]()
                    open_transports[kind].send(json.loads(path.read_bytes()))
                except RefusedError as error:
                    failed[kind] = error
                    path.rename(path.with_suffix(".refused"))
                except ReproError as error:
                    failed[kind] = error
                    stopped.add(kind)
                    self._note(kind)
                except ValueError:
                    path.rename(path.with_suffix(".damaged"))
                else:
                    path.unlink()
                    self._note_of(kind).unlink(missing_ok=True)
        return failed

    def _failed_lately(self, kind: str) -> bool:
        try:
            return 0 <= self._now() - float(self._note_of(kind).read_text()) < _PAUSE
        except (OSError, ValueError):
            return False

    def _note(self, kind: str) -> None:
        write_atomically(self._note_of(kind), f"{self._now()}\n".encode())

    def _note_of(self, kind: str) -> Path:
        return self._directory / f"{kind}.failed"
