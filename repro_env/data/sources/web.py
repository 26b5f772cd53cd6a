"""One file at an `https:` or `http:` address.

The server's word for it is its ETag, else the time it was last modified (RFC 9110, section 8.8). User name and password
come from `~/.netrc`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import unquote, urlsplit

from repro_env.data.sources.base import Context, RemoteFile, Request, Resolved, Source
from repro_env.data.sources.words import no_option
from repro_env.edges.http import Body
from repro_env.edges.http_client import Answer, HttpClient
from repro_env.edges.http_errors import status_failure
from repro_env.errors import FetchError, VerificationError
from repro_env.values import strip_credentials

_OK, _FIRST_ERROR = 200, 400
_NO_HEAD = frozenset({403, 405, 501})
"""Statuses of servers, and of signed addresses, that answer GET and not HEAD."""


class Web:
    """Files of web servers."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    def resolve(self, request: Request) -> Resolved:
        """Return the request itself: an address names no version that could be asked for again."""
        no_option("https", request.options, ())
        name = unquote(urlsplit(request.uri).path).rpartition("/")[2]
        return Resolved(request=request, kind="file", file=name if name not in ("", ".", "..") else "data")

    def files(self, resolved: Resolved) -> Sequence[RemoteFile]:
        """Return the one file, as its server describes it."""
        url = resolved.request.uri
        headers = self._describe(url)
        size = headers.get("content-length", "")
        return (RemoteFile(path="", size=int(size) if size.isdecimal() else None, pin=_pin(headers)),)

    @contextlib.contextmanager
    def open(self, resolved: Resolved, file: RemoteFile, *, offset: int = 0) -> Iterator[Body]:
        """Open the file, if it is still the one that its server described.

        It is not gone on with where nothing would tell that the rest is of another file.
        """
        url, known = resolved.request.uri, file.digest is not None
        offset = offset if known or _condition(file.pin, offset) else 0
        with _changed(url), self._client.open(url, offset=offset, headers=_condition(file.pin, offset)) as body:
            yield body

    def _describe(self, url: str) -> Mapping[str, str]:
        answer = self._client.send("HEAD", url)
        if answer.status in _NO_HEAD:
            with self._client.open(url):  # whose errors are the right ones
                return {}
        if answer.status >= _FIRST_ERROR:
            raise _refused(answer, url)
        return answer.headers


def make(context: Context) -> Source:
    """Return the source of `https:` and `http:` addresses."""
    return Web(HttpClient(environ=context.environ, limits=context.limits))


def _pin(headers: Mapping[str, str]) -> str:
    if headers.get("etag"):
        return f"etag:{headers['etag']}"
    return f"modified:{headers['last-modified']}" if headers.get("last-modified") else ""


def _condition(pin: str, offset: int) -> Mapping[str, str]:
    """Return the header by which a server refuses, or sends from the start, what is not that any more.

    A weak ETag (`W/"..."`) is good for neither (RFC 9110, sections 13.1.1 and 13.1.5).
    """
    kind, _, value = pin.partition(":")
    if not pin or value.startswith("W/"):
        return {}
    if offset:
        return {"If-Range": value}
    return {"If-Match": value} if kind == "etag" else {"If-Unmodified-Since": value}


@contextlib.contextmanager
def _changed(url: str) -> Iterator[None]:
    try:
        yield
    except FetchError as error:
        if "answered 412" in error.why:
            why = "its server had another version a moment ago"
            raise VerificationError(f"{strip_credentials(url)} changed meanwhile", why, "run again") from error
        raise


def _refused(answer: Answer, url: str) -> FetchError:
    host = urlsplit(url).hostname
    hint = f"put the user name and password for {host} in ~/.netrc"
    return status_failure(answer.status, answer.reason, url, None, denied_hint=hint)
