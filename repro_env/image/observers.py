"""Several observers of one layer, each shown every file."""

from __future__ import annotations

from collections.abc import Sequence

from repro_env.image import tar
from repro_env.image.layer import Observer, Sink


class Observers:
    """Shows each file to several observers."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def begin(self, entry: tar.Entry, first: bytes) -> Sink | None:
        """Return who takes a file's content: all observers that want it."""
        found = [sink for one in self._observers if (sink := one.begin(entry, first)) is not None]
        return _Sinks(found) if len(found) > 1 else next(iter(found), None)


class _Sinks:
    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks

    def feed(self, piece: bytes) -> None:
        for sink in self._sinks:
            sink.feed(piece)

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()
