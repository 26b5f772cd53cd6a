"""The user's logins at registries, from the files and helpers that docker, podman and skopeo use.

Sources: https://docs.docker.com/reference/cli/docker/login/ (config.json, credential helpers);
containers-auth.json(5); https://github.com/docker/docker-credential-helpers (the helpers' protocol).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro_env.edges import process
from repro_env.errors import FetchError
from repro_env.values import DOCKER_HUB

_HELPER_SECONDS = 60.0
_HUB_KEY = "https://index.docker.io/v1/"
_IDENTITY_USER = "<token>"
_NOT_FOUND = "credentials not found"


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """What proves who the user is: `user` and `secret`; with an empty `user` the secret is an OAuth2 refresh token."""

    user: str
    secret: str


class Logins:
    """Logins by registry. Files are read when the first one is asked for."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._files: list[tuple[Path, Mapping[str, Any]]] | None = None

    def find(self, registry: str, repository: str) -> Login | None:
        """Return the login for a repository, or None without one.

        Errors: `FetchError` for a file that cannot be read, `ToolError` for a helper that fails.
        """
        if self._files is None:
            self._files = [(path, _read(path)) for path in _places(self._environ) if path.is_file()]
        for path, document in self._files:
            found = self._of_file(path, document, registry, repository)
            if found is not None:
                return found
        return None

    def _of_file(self, path: Path, document: Mapping[str, Any], registry: str, repository: str) -> Login | None:
        names = _names(registry, repository)
        helpers = _table(document, "credHelpers")
        for name in names:
            if helpers.get(name):
                return self._of_helper(str(helpers[name]), _server(registry))
        entries = {_plain(key): entry for key, entry in _table(document, "auths").items() if isinstance(entry, dict)}
        for name in names:
            login = _entry(entries.get(name, {}), path)
            if login is not None:
                return login
        store = document.get("credsStore")
        return self._of_helper(store, _server(registry)) if isinstance(store, str) and store else None

    def _of_helper(self, helper: str, server: str) -> Login | None:
        program = f"docker-credential-{helper}"
        words = [program, "get"]
        done = process.run(words, timeout=_HELPER_SECONDS, stdin=server, env=self._environ, check=False)
        if done.status != 0 and _NOT_FOUND in done.stdout + done.stderr:
            return None
        try:
            answer = json.loads(done.stdout)
            user, secret = str(answer["Username"]), str(answer["Secret"])
        except (ValueError, KeyError, TypeError):
            # Its output may hold a secret, so none of it is shown.
            why = f"`{program} get` ended with exit status {done.status}"
            raise FetchError(f"no login for {server} could be had", why, "log in again, as with docker login") from None
        return Login("" if user == _IDENTITY_USER else user, secret)


def _places(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield where logins may be kept, what the user named first."""
    home = Path(environ.get("HOME") or Path.home())
    if environ.get("REGISTRY_AUTH_FILE"):
        yield Path(environ["REGISTRY_AUTH_FILE"])
    if environ.get("DOCKER_CONFIG"):
        yield Path(environ["DOCKER_CONFIG"]) / "config.json"
    if environ.get("XDG_RUNTIME_DIR"):
        yield Path(environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json"
    if not environ.get("DOCKER_CONFIG"):
        yield home / ".docker" / "config.json"


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise FetchError(f"cannot read the logins in {path}", error.strerror or str(error)) from error
    except ValueError as error:
        raise FetchError(f"cannot read the logins in {path}", "it is not JSON", "log in again") from error
    return document if isinstance(document, dict) else {}


def _names(registry: str, repository: str) -> list[str]:
    """Return the keys that a login may stand under, the most special first: `quay.io/org/name` before `quay.io`."""
    parts = [registry, *repository.split("/")]
    names = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return [*names, "index.docker.io"] if registry == DOCKER_HUB else names


def _plain(key: str) -> str:
    """Return a key without the scheme and version that docker writes into some."""
    name = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    return name.removesuffix("/v1").removesuffix("/v2")


def _server(registry: str) -> str:
    return _HUB_KEY if registry == DOCKER_HUB else registry


def _entry(entry: Mapping[str, Any], path: Path) -> Login | None:
    if entry.get("identitytoken"):
        return Login("", str(entry["identitytoken"]))
    if entry.get("username") and entry.get("password"):
        return Login(str(entry["username"]), str(entry["password"]))
    if not entry.get("auth"):
        return None
    try:
        user, colon, secret = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        colon = ""
    if not colon:
        raise FetchError(f"cannot read the logins in {path}", "an `auth` in it is not a name and password in Base64")
    return Login(user, secret.rstrip("\0"))


def _table(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}
