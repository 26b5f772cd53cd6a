"""`file:` URLs behind the same protocol as the others, so that a mirror may be a directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from repro_env.edges.http import NotFoundError
from repro_env.errors import FetchError
from repro_env.values import strip_credentials

_CHUNK = 1 << 20
_EXPECTED = "a file: URL must name a file on this machine: file:///path"


class FileBody:
    """A local file being read. `total` is its whole size in bytes."""

    def __init__(self, stream: BinaryIO, name: str, offset: int) -> None:
        self._stream, self._name = stream, name
        self.total = os.fstat(stream.fileno()).st_size
        self.offset = offset if offset <= self.total else 0
        stream.seek(self.offset)

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes from the offset on. Errors: `FetchError`."""
        try:
            while chunk := self._stream.read(_CHUNK):
                yield chunk
        except OSError as error:
            raise _failure(self._name, error) from error


def file_path(url: str) -> str:
    """Return the path of a `file:` URL (RFC 8089). Errors: `FetchError` for what no file of this machine can have."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise FetchError("cannot read a file: URL", _EXPECTED) from None
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or "\0" in path:
        raise FetchError(f"cannot read {strip_credentials(url)}", _EXPECTED)
    return path


@contextlib.contextmanager
def open_file(url: str, offset: int) -> Iterator[FileBody]:
    """Open a `file:` URL for reading from `offset`. Errors: `NotFoundError`, `FetchError`."""
    name = file_path(url)
    try:
        stream = open(name, "rb")  # noqa: SIM115 - closed below; the with statement must not catch the reader's errors
    except OSError as error:
        raise _failure(name, error) from error
    with stream:
        yield FileBody(stream, name, offset)


def _failure(name: str, error: OSError) -> FetchError:
    kind = NotFoundError if isinstance(error, (FileNotFoundError, NotADirectoryError)) else FetchError
    return kind(f"cannot read {name}", error.strerror or "it cannot be read")
