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
from typing import Any, BinaryIO, cast

from isal import igzip, isal_zlib

from repro_env.errors import IntegrityError
from repro_env.image.base import GZIP, PLAIN, ZSTD
from repro_env.values import Digest

_CHUNK = 1 << 20


class DamagedZstdError(ValueError):
    """A zstd stream is damaged or cut short."""


DAMAGES = cast(
    "tuple[type[Exception], ...]",
    (
        *(tarfile.TarError, isal_zlib.error, zlib.error, EOFError, gzip.BadGzipFile),
        *(ValueError, OverflowError),  # numbers in headers that are none, names that no file can have
    ),
)
"""What reading a damaged layer raises, besides `IntegrityError`."""


def zstd_module() -> Any:
    """Return PEP 784's module, or its backport to earlier Pythons; little is compressed so that it is read here."""
    return importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


@contextlib.contextmanager
def unzstd(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Give what a zstd stream holds, to be read from start to end. Errors: `DamagedZstdError` in the block."""
    zstd = zstd_module()
    try:
        with zstd.ZstdFile(stream, "rb") as opened:
            yield cast(BinaryIO, opened)
    except zstd.ZstdError as error:
        raise DamagedZstdError(str(error)) from error


@contextlib.contextmanager
def decompressed(stream: BinaryIO, media_type: str) -> Iterator[BinaryIO]:
    """Give the tar that a blob holds, to be read from start to end.

    Errors: `IntegrityError` for a kind that cannot be read; `DAMAGES` in the block.
    """
    if media_type == PLAIN:
        yield stream
    elif media_type == GZIP:
        with igzip.IGzipFile(fileobj=stream, mode="rb") as opened:  # type: ignore[no-untyped-call]
            yield cast(BinaryIO, opened)
    elif media_type == ZSTD:
        with unzstd(stream) as opened:
            yield opened
    else:
        raise IntegrityError("a layer is of a kind that cannot be unpacked", media_type)


@contextlib.contextmanager
def whole_tar(blob: BinaryIO, media_type: str, diff_id: Digest, name: str) -> Iterator[BinaryIO]:
    """Give the tar that a layer's blob holds, and hold all of it against its digest at the end of the block.

    `name` is what people know the layer by. Errors: `IntegrityError`.
    """
    try:
        with decompressed(blob, media_type) as stream:
            hashing = Hashing(stream)
            yield cast(BinaryIO, hashing)
            hashing.drain()
    except DAMAGES as error:
        raise IntegrityError(f"{name} is damaged", str(error)) from error
    if hashing.digest() != diff_id:
        raise IntegrityError(f"{name} is damaged", f"it unpacks to {hashing.digest()} where {diff_id} was expected")


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
