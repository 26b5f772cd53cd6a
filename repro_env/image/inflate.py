"""Inflating one raw DEFLATE stream, never beyond the size that was declared for it."""

from __future__ import annotations

from collections.abc import Iterator

from isal import igzip_lib

from repro_env.errors import IntegrityError

PIECE = 1 << 18
"""The most bytes given at once: few enough to be hashed while the processor's cache still holds them."""


class Inflater:
    """Inflates one raw DEFLATE stream (RFC 1951) to exactly `size` bytes, and not one byte more.

    `name` is what the stream holds, for errors: `IntegrityError` where it is no DEFLATE stream.
    """

    def __init__(self, size: int, name: str) -> None:
        self._left = size
        self._name = name
        self._inflate = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)
        self._over = False

    @property
    def finished(self) -> bool:
        """Whether the stream ended where it should and gave all it declared."""
        inflate = self._inflate
        return bool(inflate.eof) and not inflate.unused_data and self._left == 0 and not self._over

    def feed(self, compressed: bytes) -> Iterator[bytes]:
        """Yield what these bytes inflate to, in pieces of at most `PIECE` bytes."""
        data = compressed
        while not self._over:
            if self._inflate.eof:
                self._over = len(data) > 0
                return
            try:
                piece = self._inflate.decompress(data, min(PIECE, self._left + 1))
            except igzip_lib.error as error:  # type: ignore[misc]  # its stub declares an instance
                raise IntegrityError(f"{self._name} is damaged", f"its compressed stream: {error}") from error
            self._left -= len(piece)
            if self._left < 0:
                self._over = True
                return
            if piece:
                yield piece
            data = b""
            if self._inflate.needs_input or (not piece and not self._inflate.eof):
                return
