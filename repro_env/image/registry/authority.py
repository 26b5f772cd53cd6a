"""Answering registries' challenges: basic, and tokens for just the repositories at hand.

Sources: https://distribution.github.io/distribution/spec/auth/token/ and .../auth/oauth/.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from repro_env.errors import FetchError
from repro_env.image.registry.challenge import Challenge, parse_challenges
from repro_env.image.registry.logins import Login, Logins
from repro_env.values import DOCKER_HUB, strip_credentials

if TYPE_CHECKING:
    from repro_env.edges.http_client import Answer, HttpClient

HUB_HOST = "registry-1.docker.io"

_CLIENT = "repro"
_OK = 200
_REPOSITORY = re.compile(r"/v2/(.+)/(?:blobs|manifests|tags|referrers)(?:/|\Z)")
DENIED_HINT = "log in with `docker login {registry}`, or check that this login may do so"


@dataclass(slots=True)
class _Door:
    """One registry: how it wants to be asked, and the headers that it let in. Guarded by `lock`."""

    registry: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    challenge: Challenge | None = None
    headers: dict[str, str] = field(default_factory=dict)  # by scopes; for basic by ""


class RegistryAuthority:
    """`edges.http_client.Authority` for registries. Safe to use from several threads.

    A header goes to the registry it was had for and no further: a redirect to another host carries none.
    """

    def __init__(self, logins: Logins) -> None:
        self._logins = logins
        self._doors: dict[tuple[str, str], _Door] = {}
        self._making = threading.Lock()
        self._pushed: set[str] = set()

    def will_push(self, host: str, repository: str) -> None:
        """Say that blobs and manifests will be sent to a repository, so that one token is asked for and not two."""
        self._pushed.add(f"{host}/{repository}")

    def header(self, url: str) -> str | None:
        """Return the header for this URL of a registry that was let in by before, or None."""
        parts = urlsplit(url)
        door = self._doors.get((parts.scheme, parts.netloc))
        if door is None or door.challenge is None or not _is_api(parts.path):
            return None
        return door.headers.get(self._key(door.challenge, url))

    def answer(self, client: HttpClient, url: str, challenges: Sequence[str], sent: str | None) -> bool:
        """Have what the registry asks for. Errors: `FetchError` when the login is refused or cannot be read."""
        parts = urlsplit(url)
        if not _repository(url):
            return False  # neither a token server nor the question whether a registry is there gets a login
        door = self._door(parts.scheme, parts.netloc)
        with door.lock:
            if self.header(url) != sent:
                return True  # another thread has had it meanwhile
            challenge = _usable(parse_challenges(challenges))
            if challenge is None:
                return False
            login = self._logins.find(door.registry, _repository(url))
            if challenge.scheme == "basic":
                header = _basic(login)
            else:
                header = self._bearer(client, url, challenge, login, door.registry)
            if header is None or header == sent:
                return False
            door.challenge = challenge
            door.headers[self._key(challenge, url)] = header
            return True

    def denied_hint(self, url: str) -> str:
        """Return how to log in."""
        return DENIED_HINT.format(registry=self._door(*urlsplit(url)[:2]).registry)

    def _door(self, scheme: str, host: str) -> _Door:
        with self._making:
            registry = DOCKER_HUB if host == HUB_HOST else host
            return self._doors.setdefault((scheme, host), _Door(registry))

    def _key(self, challenge: Challenge, url: str) -> str:
        return "" if challenge.scheme == "basic" else " ".join(self._scopes(url))

    def _scopes(self, url: str) -> tuple[str, ...]:
        """Return what a request needs to be allowed to do, as the token specification writes it."""
        parts = urlsplit(url)
        repository = _repository(url)
        if not repository:
            return ()
        pushed = f"{parts.netloc}/{repository}" in self._pushed
        scopes = [f"repository:{repository}:{'pull,push' if pushed else 'pull'}"]
        sources = parse_qs(parts.query).get("from", []) if pushed else []
        return (*scopes, *(f"repository:{source}:pull" for source in sources if source != repository))

    def _bearer(self, client: HttpClient, url: str, challenge: Challenge, login: Login | None, registry: str) -> str:
        realm = challenge.parameters.get("realm", "")
        _check_realm(url, realm)
        # What the registry itself says it needs goes in too: it knows of scopes that no URL shows.
        own = self._scopes(url)
        asked = challenge.parameters.get("scope", "").split() if not own else []
        fields = {"service": challenge.parameters.get("service", "")}
        answer = _ask(client, realm, fields, (*own, *asked), login)
        return f"Bearer {_token(answer, realm, registry)}"


def _is_api(path: str) -> bool:
    return path == "/v2" or path.startswith("/v2/")


def _repository(url: str) -> str:
    match = _REPOSITORY.match(unquote(urlsplit(url).path))
    return match[1] if match else ""


def _usable(challenges: Iterable[Challenge]) -> Challenge | None:
    known = {challenge.scheme: challenge for challenge in reversed(list(challenges))}
    return known.get("bearer") or known.get("basic")


def _basic(login: Login | None) -> str | None:
    if login is None or not login.user:
        return None
    return "Basic " + base64.b64encode(f"{login.user}:{login.secret}".encode()).decode("ascii")


def _check_realm(url: str, realm: str) -> None:
    """Refuse to send a login where it could be read on the way though the registry itself is encrypted."""
    schemes = {"http", "https"} if urlsplit(url).scheme == "http" else {"https"}
    try:
        scheme, shown = urlsplit(realm).scheme, repr(strip_credentials(realm))
    except ValueError:
        scheme, shown = "", "what is no address"
    if scheme not in schemes:
        raise FetchError(f"cannot log in to {urlsplit(url).netloc}", f"it asks to get a token from {shown}")


def _ask(
    client: HttpClient, realm: str, fields: Mapping[str, str], scopes: Sequence[str], login: Login | None
) -> Answer:
    """Ask for a token: with a refresh token by POST, as OAuth2 has it, else by GET with the login, if there is one."""
    asked = [(name, value) for name, value in fields.items() if value]
    if login is not None and not login.user:
        form = [*asked, ("grant_type", "refresh_token"), ("client_id", _CLIENT), ("refresh_token", login.secret)]
        body = urlencode([*form, ("scope", " ".join(scopes))]).encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body))}
        return client.send("POST", realm, headers=kind, body=lambda: [body])
    header = _basic(login)
    query = urlencode([*asked, *(("scope", scope) for scope in scopes)], quote_via=quote)
    url = f"{realm}{'&' if urlsplit(realm).query else '?'}{query}" if query else realm
    return client.send("GET", url, headers={"Authorization": header} if header else {})


def _token(answer: Answer, realm: str, registry: str) -> str:
    host = urlsplit(realm).netloc.rpartition("@")[2]
    if answer.status != _OK:
        why = f"{host} answered {answer.status} {answer.reason}".rstrip()
        raise FetchError(f"{registry} lets nobody in with this login", why, DENIED_HINT.format(registry=registry))
    try:
        document = json.loads(answer.body)
        token = document.get("token") or document.get("access_token")
    except (ValueError, AttributeError, RecursionError):
        token = None
    if not isinstance(token, str) or not (token.isascii() and token.isprintable()):  # it becomes a header
        raise FetchError(f"{registry} gives no token", f"the answer of {host} holds none")
    return token
