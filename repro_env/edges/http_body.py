"""A response being read: its bytes as they come, and where in the whole content they begin."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from repro_env.edges.http import Body
from repro_env.edges.http_errors import connection_failure
from repro_env.errors import FetchError
from repro_env.values import format_size, strip_credentials

if TYPE_CHECKING:
    import urllib3

_CHUNK = 1 << 18
_PARTIAL = 206
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-")


class HttpBody:
    """A response being read."""

    def __init__(self, response: urllib3.BaseHTTPResponse, url: str, silence: float) -> None:
        self._response, self._url, self._silence, self._finished = response, url, silence, False
        self.offset = _offset(response, url)

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes as they come. Errors: `TransientError` (a `FetchError`) when the connection breaks off."""
        import urllib3  # noqa: PLC0415 - loaded already

        try:
            yield from self._response.stream(_CHUNK, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise connection_failure(error, self._url, self._silence) from None
        self._finished = True

    def close(self) -> None:
        """Give the connection back if all was read, else drop it: what is unread may be gigabytes."""
        if self._finished:
            self._response.release_conn()
        else:
            self._response.close()


def _offset(response: urllib3.BaseHTTPResponse, url: str) -> int:
    if response.status != _PARTIAL:
        return 0
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if not match:
        raise FetchError(
            f"cannot resume {strip_credentials(url)}", "the server's answer does not say from where it goes on"
        )
    return int(match[1])


def read_all(body: Body, url: str, limit: int) -> bytes:
    """Return a body of at most `limit` bytes. Errors: `FetchError`."""
    pieces: list[bytes] = []
    total = 0
    for chunk in body.chunks():
        total += len(chunk)
        if total > limit:
            raise FetchError(
                f"cannot use {strip_credentials(url)}", f"it is larger than the {format_size(limit)} expected at most"
            )
        pieces.append(chunk)
    return b"".join(pieces)
