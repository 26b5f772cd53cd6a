"""A blob as a stream that survives broken connections and vouches for its bytes at its end."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator

from repro_env.edges.http_errors import TransientError
from repro_env.errors import FetchError, IntegrityError
from repro_env.image.registry.client import Repository
from repro_env.values import Digest

_BREAKS = 5
"""Broken connections in a row, none of which brought anything, after which a download is given up."""


def blob_chunks(repository: Repository, digest: Digest, size: int, advance: Callable[[int], None]) -> Iterator[bytes]:
    """Yield a blob's bytes; `advance` hears how many. Errors: `FetchError`, and `IntegrityError` after wrong bytes."""
    found, have, breaks = hashlib.sha256(), 0, 0
    while have < size:
        start = have
        try:
            with repository.http.open(repository.blob_url(digest), offset=have) as body:
                if body.offset != have:
                    raise FetchError(f"cannot resume {digest}", f"{repository.registry} goes on from another place")
                for chunk in body.chunks():
                    have += len(chunk)
                    if have > size:
                        raise IntegrityError(
                            f"{repository.registry} gives other bytes for {digest}", f"more than {size} bytes came"
                        )
                    found.update(chunk)
                    advance(len(chunk))
                    yield chunk
        except TransientError as error:
            breaks = 0 if have > start else breaks + 1
            repository.http.wait(error, breaks, attempts=_BREAKS)
        else:
            break
    if (found.hexdigest(), have) != (digest.hex, size):
        raise IntegrityError(
            f"{repository.registry} gives other bytes for {digest}", f"found sha256:{found.hexdigest()}, {have} bytes"
        )


class ChunkReader(io.RawIOBase):
    """Chunks as a file that can be read once, from start to end."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer with what there is, 0 bytes at the end."""
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = memoryview(chunk)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def drain(self) -> None:
        """Read to the end, where the bytes are vouched for."""
        self._left = memoryview(b"")
        for _chunk in self._chunks:
            pass
