"""A layer's tar out of its blob, whichever of OCI's three kinds that is."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib
import sys
import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from isal import igzip, isal_zlib

from repro_env.errors import IntegrityError
from repro_env.image.base import GZIP, PLAIN, ZSTD
from repro_env.values import Digest

_CHUNK = 1 << 20

DAMAGES = cast(
    "tuple[type[Exception], ...]", (tarfile.TarError, isal_zlib.error, zlib.error, EOFError, gzip.BadGzipFile)
)
"""What reading a damaged layer raises, besides `IntegrityError`."""


@contextlib.contextmanager
def decompressed(stream: BinaryIO, media_type: str) -> Iterator[BinaryIO]:
    """Give the tar that a blob holds, to be read from start to end.

    Errors: `IntegrityError` for a kind that cannot be read, and where a zstd stream is damaged; `DAMAGES` in the block.
    """
    if media_type == PLAIN:
        yield stream
    elif media_type == GZIP:
        with igzip.IGzipFile(fileobj=stream, mode="rb") as opened:  # type: ignore[no-untyped-call]
            yield cast(BinaryIO, opened)
    elif media_type == ZSTD:
        # PEP 784's module, or its backport to earlier Pythons; few layers are of this kind.
        zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
        try:
            with zstd.ZstdFile(stream, "rb") as opened:
                yield cast(BinaryIO, opened)
        except zstd.ZstdError as error:
            raise IntegrityError("a layer's zstd stream is damaged", str(error)) from error
    else:
        raise IntegrityError("a layer is of a kind that cannot be unpacked", media_type)


class Hashing:
    """A stream that hashes what is read from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read as the stream below does."""
        data = self._stream.read(size)
        self._hash.update(data)
        return data

    def drain(self) -> None:
        """Read to the end: a tar reader stops at the end mark."""
        while self.read(_CHUNK):
            pass

    def digest(self) -> Digest:
        """Return the digest of what was read."""
        return Digest(self._hash.hexdigest())
