"""Unpacked data archives on disk, so that the files of many packages can be read in any order.

A layer holds its files sorted by path, and an xz stream can only be read from its beginning. So each data archive is
decompressed once, and memory stays small whatever a package's size. Spools are files without a name: they vanish when
they are closed or the process ends.
"""

from __future__ import annotations

import contextlib
import os
import queue
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

from repro_env.frozen import dataclass

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Span:
    """A file's content: `size` bytes at `offset` of a spool. Two files that share one are hard links."""

    spool: IO[bytes]
    offset: int
    size: int

    def chunks(self) -> Iterator[bytes]:
        """Yield the content in pieces of at most 1 MiB."""
        for start in range(0, self.size, CHUNK):
            yield os.pread(self.spool.fileno(), min(CHUNK, self.size - start), self.offset + start)

    def read(self, limit: int = -1, start: int = 0) -> bytes:
        """Return the content, or at most `limit` bytes of it from `start`."""
        left = max(self.size - start, 0)
        return os.pread(self.spool.fileno(), left if limit < 0 else min(left, limit), self.offset + start)


class Spools:
    """As many spools as packages are read at once: one for each package would use up the process's open files."""

    def __init__(self, directory: Path, count: int) -> None:
        self._directory = directory
        self._count = count
        self._stack = contextlib.ExitStack()
        self._free: queue.SimpleQueue[IO[bytes]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        for _number in range(self._count):
            self._free.put(self._stack.enter_context(tempfile.TemporaryFile(dir=self._directory)))
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def one(self) -> Iterator[IO[bytes]]:
        """Give a spool that nobody else writes to meanwhile, placed at its end."""
        spool = self._free.get()
        try:
            spool.seek(0, os.SEEK_END)
            yield spool
        finally:
            self._free.put(spool)
