"""The HTTP client: urllib3 with retries, resumption, time limits and the user's own proxies and credentials."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urljoin, urlsplit

from repro_env import __version__
from repro_env.edges.credentials import Credentials, Index
from repro_env.edges.http import Body
from repro_env.edges.http_errors import TransientError, connection_failure, status_failure, unsupported
from repro_env.edges.http_files import open_file
from repro_env.errors import FetchError
from repro_env.values import format_size, strip_credentials

if TYPE_CHECKING:
    import urllib3

_CHUNK = 1 << 18
_CONNECTIONS = 16  # kept open for each host
_REDIRECTS = 10
_REDIRECTING = frozenset({301, 302, 303, 307, 308})
_PARTIAL, _OK, _UNSATISFIABLE = 206, 200, 416
_CONTENT_RANGE = re.compile(r"bytes (\d+)-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How patient the client is. Times are in seconds.

    `connect` bounds making a connection, `read` the silence between two pieces of an answer. `attempts` counts the
    first one; the pause after attempt N is `pause * 2**N`, or what the server's `Retry-After` says up to `retry_after`.
    """

    connect: float = 10
    read: float = 30
    attempts: int = 5
    pause: float = 0.5
    retry_after: float = 60


class HttpClient:
    """`edges.http.Http` over urllib3. Safe to use from several threads.

    Certificates are checked against `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`, or the system's; proxies are those of
    `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`. Credentials: see `edges.credentials`.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        indexes: Iterable[Index] = (),
        limits: Limits | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._credentials = Credentials(self._environ, indexes)
        self._limits = limits or Limits()
        self._sleep = sleep
        self._pools: dict[tuple[str, bool], urllib3.PoolManager] = {}
        self._making_pool = threading.Lock()

    def get(self, url: str, *, limit: int, accept: str = "*/*") -> bytes:
        """Return a small document of at most `limit` bytes, in one of the media types of `accept`.

        A transfer that breaks off is begun again. Errors: `NotFoundError`, `FetchError`.
        """
        for attempt in range(self._limits.attempts):
            try:
                with self._opened(url, 0, accept) as body:
                    return _read_all(body, url, limit)
            except TransientError as error:
                self._wait(error, attempt)
        raise AssertionError("the last attempt raises")

    @contextlib.contextmanager
    def open(self, url: str, *, offset: int = 0) -> Iterator[Body]:
        """Open a URL for reading from `offset`; a server that cannot resume is read from 0. Errors: as `get`.

        Connecting is retried; a transfer that breaks off later is for the caller to resume.
        """
        with self._opened(url, offset, "*/*") as body:
            yield body

    def size(self, url: str) -> int | None:
        """Return the content's size in bytes without reading it, or None if it is not known. Errors: as `get`."""
        if url.startswith("file:"):
            with open_file(url, 0) as body:
                return body.total
        response = self._answer("HEAD", url, {})
        response.drain_conn()
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None

    @contextlib.contextmanager
    def _opened(self, url: str, offset: int, accept: str) -> Iterator[Body]:
        if url.startswith("file:"):
            with open_file(url, offset) as local:
                yield local
            return
        wanted_range = {"Range": f"bytes={offset}-"} if offset else {}
        response = self._answer("GET", url, {"Accept": accept, **wanted_range})
        if response.status == _UNSATISFIABLE:
            # What is there already is not a beginning of this content: the caller starts over.
            response.release_conn()
            response = self._answer("GET", url, {"Accept": accept})
        body = _HttpBody(response, url, self._limits.read)
        try:
            yield body
        finally:
            body.close()

    def _answer(self, method: str, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """Return a response whose body is to be read, after retries and redirects."""
        for attempt in range(self._limits.attempts):
            try:
                return self._follow(method, url, headers)
            except TransientError as error:
                self._wait(error, attempt)
        raise AssertionError("the last attempt raises")

    def _wait(self, error: TransientError, attempt: int) -> None:
        """Pause before the next attempt, or raise the failure for good when there is none."""
        attempts = min(self._limits.attempts, error.attempts or self._limits.attempts)
        pause = self._limits.pause * 2**attempt if error.after is None else error.after
        if attempt + 1 >= attempts or pause > self._limits.retry_after:
            raise error.final() from None
        self._sleep(pause)

    def _follow(self, method: str, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        place = url
        for _ in range(_REDIRECTS):
            response = self._once(method, place, headers)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTING or not location:
                if response.status in (_OK, _PARTIAL, _UNSATISFIABLE):
                    return response
                raise self._refused(response, place)
            response.close()
            target = urljoin(place, location)
            if urlsplit(place).scheme == "https" and urlsplit(target).scheme != "https":
                raise FetchError(
                    f"cannot download {strip_credentials(url)}",
                    f"it redirects from https: to {strip_credentials(target)}, which is not encrypted",
                )
            place = target
        raise FetchError(f"cannot download {strip_credentials(url)}", f"it redirects more than {_REDIRECTS} times")

    def _refused(self, response: urllib3.BaseHTTPResponse, url: str) -> FetchError:
        response.close()
        after = _retry_after(response.headers.get("Retry-After", ""))
        return status_failure(response.status, response.reason or "", url, after)

    def _once(self, method: str, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        import urllib3  # noqa: PLC0415 - what needs no network must not pay for it

        parts = _split(url)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
        credential = self._credentials.header(url)
        try:
            return self._pool(parts).request(
                method,
                bare,
                headers={
                    "User-Agent": f"repro/{__version__}",
                    "Accept-Encoding": "identity",
                    **headers,
                    **({"Authorization": credential} if credential else {}),
                },
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(connect=self._limits.connect, read=self._limits.read),
            )
        except (urllib3.exceptions.HTTPError, OSError, UnicodeError) as error:
            raise connection_failure(error, url, self._limits.read) from None

    def _pool(self, parts: SplitResult) -> urllib3.PoolManager:
        from repro_env.edges.http_pool import make_pool, proxy_of  # noqa: PLC0415 - as urllib3

        proxy = proxy_of(parts, self._environ)
        tls = parts.scheme == "https"
        with self._making_pool:
            if (proxy, tls) not in self._pools:
                self._pools[proxy, tls] = make_pool(proxy, self._environ, tls=tls, connections=_CONNECTIONS)
            return self._pools[proxy, tls]


class _HttpBody:
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


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise unsupported(url)
    return parts


def _offset(response: urllib3.BaseHTTPResponse, url: str) -> int:
    if response.status != _PARTIAL:
        return 0
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if not match:
        raise FetchError(
            f"cannot resume {strip_credentials(url)}", "the server's answer does not say from where it goes on"
        )
    return int(match[1])


def _read_all(body: Body, url: str, limit: int) -> bytes:
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


def _retry_after(text: str) -> float | None:
    """Return seconds from a `Retry-After` header, which holds seconds or a date (RFC 9110, section 10.2.3)."""
    if text.strip().isdecimal():
        return float(text)
    import email.utils  # noqa: PLC0415 - slow to import, and few servers give a date

    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
