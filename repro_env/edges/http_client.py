"""The HTTP client: urllib3 with retries, resumption, time limits and the user's own proxies and credentials."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import SplitResult

from repro_env import __version__
from repro_env.edges.credentials import Credentials, Index
from repro_env.edges.http import Body
from repro_env.edges.http_addresses import redirected, redirecting, split_address
from repro_env.edges.http_body import HttpBody, read_all
from repro_env.edges.http_errors import TransientError, connection_failure, may_pass, status_failure, verb
from repro_env.edges.http_files import open_file
from repro_env.errors import FetchError
from repro_env.frozen import dataclass
from repro_env.values import strip_credentials

if TYPE_CHECKING:
    import urllib3

_CONNECTIONS = 16  # kept open for each host
_REDIRECTS = 10
_PARTIAL, _OK, _UNSATISFIABLE, _DENIED = 206, 200, 416, 401
_LENGTH = re.compile(r"[0-9]{1,19}")
_ANSWER_LIMIT = 8 << 20  # bytes of an answer that is read whole


def _no_certificates(_host: str) -> Path | None:
    return None


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


class Authority(Protocol):
    """Who knows what a host is to be told of the user. `edges.credentials.Credentials` is one."""

    def header(self, url: str) -> str | None:
        """Return the value of `Authorization` for this URL, or None."""

    def answer(self, client: HttpClient, url: str, challenges: Sequence[str], sent: str | None) -> bool:
        """Take the `WWW-Authenticate` values of a 401 and say whether asking again, once, may end better.

        `sent` is the header that was refused. What has to be asked of others for it goes through `client`.
        """

    def denied_hint(self, url: str) -> str:
        """Return what a person can do who was refused at this URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A server's whole answer: its status, its headers and its body."""

    status: int
    reason: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes


class HttpClient:
    """`edges.http.Http` over urllib3. Safe to use from several threads.

    Certificates are checked against `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`, or the system's; proxies are those of
    `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`. Credentials: see `edges.credentials`, or what `authority`
    knows. `certificates` gives, for a host and port, the directory of certificates that are for it alone.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        indexes: Iterable[Index] = (),
        limits: Limits | None = None,
        sleep: Callable[[float], None] = time.sleep,
        authority: Authority | None = None,
        certificates: Callable[[str], Path | None] = _no_certificates,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._authority = authority or Credentials(self._environ, indexes)
        self._certificates = certificates
        self._limits = limits or Limits()
        self._sleep = sleep
        self._pools: dict[tuple[str, bool, Path | None], urllib3.PoolManager] = {}
        self._making_pool = threading.Lock()

    def get(self, url: str, *, limit: int, accept: str = "*/*") -> bytes:
        """Return a small document of at most `limit` bytes, in one of the media types of `accept`.

        A transfer that breaks off is begun again. Errors: `NotFoundError`, `FetchError`.
        """
        for attempt in range(self._limits.attempts):
            try:
                with self._opened(url, 0, accept) as body:
                    return read_all(body, url, limit)
            except TransientError as error:
                self.wait(error, attempt)
        raise AssertionError("the last attempt raises")

    @contextlib.contextmanager
    def open(self, url: str, *, offset: int = 0, headers: Mapping[str, str] | None = None) -> Iterator[Body]:
        """Open a URL for reading from `offset`; a server that cannot resume is read from 0. Errors: as `get`.

        Connecting is retried; a transfer that breaks off later is for the caller to resume.
        """
        with self._opened(url, offset, "*/*", headers) as body:
            yield body

    def size(self, url: str) -> int | None:
        """Return the content's size in bytes without reading it, or None if it is not known. Errors: as `get`."""
        if url.startswith("file:"):
            with open_file(url, 0) as body:
                return body.total
        response = self._answer("HEAD", url, {})
        response.drain_conn()
        length = response.headers.get("Content-Length", "")
        return int(length) if _LENGTH.fullmatch(length) else None

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Iterable[bytes]] | None = None,
        retry: bool = True,
    ) -> Answer:
        """Send a request and return the answer, whatever its status, once that is not one that may pass.

        `body` gives the bytes to send, anew for each attempt; `headers` say how many they are. Errors: `FetchError`
        when no answer came; without `retry` that is a `TransientError` where another attempt might bring one.
        """
        for attempt in range(self._limits.attempts):
            try:
                response = self._follow(method, url, headers or {}, body, any_status=True)
                answer = HttpBody(response, url, self._limits.read)
                try:
                    content = read_all(answer, url, _ANSWER_LIMIT)
                finally:
                    answer.close()
                found = {name.lower(): value for name, value in response.headers.items()}
                return Answer(status=response.status, reason=response.reason or "", headers=found, body=content)
            except TransientError as error:
                if not retry:
                    raise
                self.wait(error, attempt)
        raise AssertionError("the last attempt raises")

    def wait(self, error: TransientError, attempt: int, *, attempts: int | None = None) -> None:
        """Pause before the next attempt, `attempt` counting from 0, or raise the failure for good if there is none."""
        most = min(attempts or self._limits.attempts, error.attempts or self._limits.attempts)
        pause = self._limits.pause * 2**attempt if error.after is None else error.after
        if attempt + 1 >= most or pause > self._limits.retry_after:
            raise error.final() from None
        self._sleep(pause)

    @contextlib.contextmanager
    def _opened(self, url: str, offset: int, accept: str, headers: Mapping[str, str] | None = None) -> Iterator[Body]:
        if url.startswith("file:"):
            with open_file(url, offset) as local:
                yield local
            return
        wanted_range = {"Range": f"bytes={offset}-"} if offset else {}
        response = self._answer("GET", url, {"Accept": accept, **(headers or {}), **wanted_range})
        if response.status == _UNSATISFIABLE:
            # What is there already is not a beginning of this content: the caller starts over.
            response.release_conn()
            response = self._answer("GET", url, {"Accept": accept})
        body = HttpBody(response, url, self._limits.read)
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
                self.wait(error, attempt)
        raise AssertionError("the last attempt raises")

    def _follow(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Callable[[], Iterable[bytes]] | None = None,
        *,
        any_status: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        place = url
        for _ in range(_REDIRECTS):
            response = self._authorised(method, place, headers, body)
            location = response.headers.get("Location")
            if response.status not in redirecting(method) or not location:
                if response.status in (_OK, _PARTIAL, _UNSATISFIABLE):
                    return response
                if any_status and not may_pass(response.status):
                    return response
                raise self._refused(response, place, method)
            response.close()
            try:
                place = redirected(place, location)
            except ValueError as error:
                raise FetchError(f"cannot {verb(method)} {strip_credentials(url)}", str(error)) from None
        raise FetchError(
            f"cannot {verb(method)} {strip_credentials(url)}", f"it redirects more than {_REDIRECTS} times"
        )

    def _authorised(
        self, method: str, url: str, headers: Mapping[str, str], body: Callable[[], Iterable[bytes]] | None
    ) -> urllib3.BaseHTTPResponse:
        """Send once, and once more if the authority has an answer to the server's challenge."""
        split_address(url)  # what is no URL is refused before anyone else reads it
        sent = self._authority.header(url)
        response = self._once(method, url, headers, body, sent)
        if response.status != _DENIED:
            return response
        challenges = response.headers.getlist("WWW-Authenticate")
        try:
            if not self._authority.answer(self, url, challenges, sent):
                return response
        except BaseException:
            response.close()
            raise
        response.drain_conn()
        return self._once(method, url, headers, body, self._authority.header(url))

    def _refused(self, response: urllib3.BaseHTTPResponse, url: str, method: str) -> FetchError:
        response.close()
        after = _retry_after(response.headers.get("Retry-After", ""))
        hint = self._authority.denied_hint(url)
        return status_failure(response.status, response.reason or "", url, after, method=method, denied_hint=hint)

    def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Callable[[], Iterable[bytes]] | None,
        credential: str | None,
    ) -> urllib3.BaseHTTPResponse:
        import urllib3  # noqa: PLC0415 - what needs no network must not pay for it

        parts = split_address(url)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
        try:
            return self._pool(parts).request(
                method,
                bare,
                headers={
                    "User-Agent": f"repro/{__version__}",
                    "Accept-Encoding": "identity",
                    **({"Authorization": credential} if credential else {}),
                    **headers,
                },
                body=None if body is None else body(),
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(connect=self._limits.connect, read=self._limits.read),
            )
        except (urllib3.exceptions.HTTPError, OSError, UnicodeError) as error:
            raise connection_failure(error, url, self._limits.read, method=method) from None

    def _pool(self, parts: SplitResult) -> urllib3.PoolManager:
        from repro_env.edges.http_pool import make_pool, proxy_of  # noqa: PLC0415 - as urllib3

        proxy = proxy_of(parts, self._environ)
        tls = parts.scheme == "https"
        own = self._certificates(parts.netloc.rpartition("@")[2]) if tls else None
        with self._making_pool:
            if (proxy, tls, own) not in self._pools:
                pool = make_pool(proxy, self._environ, tls=tls, connections=_CONNECTIONS, certificates=own)
                self._pools[proxy, tls, own] = pool
            return self._pools[proxy, tls, own]


def _retry_after(text: str) -> float | None:
    """Return seconds from a `Retry-After` header, which holds seconds or a date (RFC 9110, section 10.2.3)."""
    if text.strip().isdecimal():
        return float(text)
    import email.utils  # noqa: PLC0415 - slow to import, and few servers give a date

    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
