"""A layer's bytes on their way: hashed and written, in order, while the next ones are being made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_BATCH = 1 << 20
"""Bytes that are handed over at once, so that handing over costs nothing beside hashing them."""

_AHEAD = 4
"""Batches that may wait, so that what is made faster than it is hashed does not fill the memory."""

_LARGE = 1 << 16
"""Bytes of a piece that is not worth a copy to be joined with others."""


class Batches:
    """Gives every piece to every consumer, in order and in a thread of its own; small pieces are joined before.

    The thread is started by the first whole batch: what is small needs none. A consumer's error is raised by a later
    `add`, or by `finish`.
    """

    def __init__(self, *consumers: Callable[[bytes], object]) -> None:
        self._consumers = consumers
        self._waiting: list[bytes] = []
        self._size = 0
        self._thread: ThreadPoolExecutor | None = None
        self._handed: deque[Future[None]] = deque()

    def add(self, data: bytes) -> None:
        """Take the next piece."""
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= _BATCH:
            self._hand_over()

    def finish(self) -> None:
        """Return when everything was consumed; nothing can be added after."""
        while self._handed:
            self._handed.popleft().result()
        self._consume(self._waiting)
        if self._thread is not None:
            self._thread.shutdown()

    def _hand_over(self) -> None:
        if self._thread is None:
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - with logging, which small layers do without

            self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        if len(self._handed) == _AHEAD:
            self._handed.popleft().result()
        self._handed.append(self._thread.submit(self._consume, self._waiting))
        self._waiting, self._size = [], 0

    def _consume(self, pieces: list[bytes]) -> None:
        small: list[bytes] = []
        for piece in pieces:
            if len(piece) < _LARGE:
                small.append(piece)
                continue
            self._give(b"".join(small))
            small.clear()
            self._give(piece)
        self._give(b"".join(small))

    def _give(self, data: bytes) -> None:
        for consume in self._consumers:
            consume(data)
