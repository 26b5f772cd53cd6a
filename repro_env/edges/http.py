"""The one place that connects to a host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

from repro_env.errors import FetchError


class NotFoundError(FetchError):
    """The server answered that there is no such thing (404, 410), or the file of a `file:` URL is absent."""


class Body(Protocol):
    """A response being read."""

    @property
    def offset(self) -> int:
        """Where in the whole content the bytes begin: what was asked for, or 0 if the server cannot resume."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes as they come. Errors: `FetchError` when the connection breaks off."""


class Http(Protocol):
    """What the rooms are handed to download with. Credentials are found per host and never shown."""

    def get(self, url: str, *, limit: int) -> bytes:
        """Return a small document of at most `limit` bytes. Errors: `NotFoundError`, `FetchError`."""

    def open(self, url: str, *, offset: int = 0) -> contextlib.AbstractContextManager[Body]:
        """Open a URL (`https:`, `http:`, `file:`) for reading from `offset`. Errors: as `get`."""
