"""A file that a service's own library opened, as the body of a download."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

_PIECE = 8 << 20


class Readable(Protocol):
    """What libraries open."""

    def seek(self, position: int, /) -> object:
        """Go on from a place in it."""

    def read(self, size: int, /) -> bytes:
        """Return some bytes, none at the end."""


class Opened:
    """Read from `offset` on; what the library raises meanwhile goes through `told`."""

    def __init__(
        self, stream: Readable, offset: int, told: Callable[[], contextlib.AbstractContextManager[None]]
    ) -> None:
        self._stream, self._told, self.offset = stream, told, offset
        with told():
            stream.seek(offset)

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes."""
        while True:
            with self._told():
                piece = bytes(self._stream.read(_PIECE))
            if not piece:
                return
            yield piece
