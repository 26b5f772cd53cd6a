"""What sends a document to a tool, and the little of HTTP that takes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from repro_env.errors import FetchError
from repro_env.record.exports.common import Json

_SHOWN = 300  # characters of what a server says


class Transport(Protocol):
    """Where documents of one kind go."""

    def send(self, document: Any) -> None:
        """Hand a document over. Sending one twice does no harm. Errors: `ReproError`."""


class Answered(Protocol):
    """A server's answer, as `edges.http_client.Answer` has it."""

    @property
    def status(self) -> int:
        """The status code."""

    @property
    def reason(self) -> str:
        """The reason phrase, which may be empty."""

    @property
    def body(self) -> bytes:
        """The whole body."""


class Sender(Protocol):
    """What of `edges.http_client.HttpClient` is used here."""

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Iterable[bytes]] | None = None,
    ) -> Answered:
        """Send a request and return the answer, whatever its status."""


class RefusedError(FetchError):
    """The server will not take this document, now or later."""


class NotThereError(FetchError):
    """The server knows no such thing."""


_REFUSALS = {400: RefusedError, 404: NotThereError, 413: RefusedError, 422: RefusedError}  # RFC 9110, section 15.5


class Bearer:
    """An `edges.http_client.Authority` for one host: a token, or a user name and password."""

    def __init__(self, address: str, *, token: str = "", user: str = "", password: str = "") -> None:
        """Without any of them nothing is told of the user."""
        self._host = urlsplit(address).netloc
        basic = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        self._header = f"Bearer {token}" if token else f"Basic {basic}" if user else None

    def header(self, url: str) -> str | None:
        """Return the value of `Authorization` for the one host (RFC 6750, RFC 7617)."""
        return self._header if urlsplit(url).netloc == self._host else None

    def answer(self, client: object, url: str, challenges: Sequence[str], sent: str | None) -> bool:  # noqa: ARG002
        """Return that nothing better is known."""
        return False

    def denied_hint(self, url: str) -> str:
        """Return where the user's name comes from."""
        return f"the credentials for {urlsplit(url).hostname} are read from the environment"


def exchange(sender: Sender, method: str, url: str, document: Any = None) -> Json:
    """Send a JSON document, or none, and return the one that is answered, if any.

    Errors: `FetchError`; `NotThereError` for 404, `RefusedError` for what is wrong with the document itself.
    """
    data = b"" if document is None else json.dumps(document).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(data))} if data else {}
    answer = sender.send(method, url, headers=headers, body=(lambda: (data,)) if data else None)
    if answer.status >= 400:  # noqa: PLR2004 - RFC 9110, section 15: errors from here
        kind = _REFUSALS.get(answer.status, FetchError)
        said = answer.body.decode(errors="replace")[:_SHOWN].strip()
        raise kind(f"{urlsplit(url).netloc} refused it with {answer.status} {answer.reason}".rstrip(), said)
    try:
        found = json.loads(answer.body) if answer.body.strip() else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}
