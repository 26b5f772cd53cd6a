"""Which user name and password a host gets: from the URL itself, uv's variables and files, or netrc.

A credential belongs to one scheme, host and port. It is looked up anew for every host a redirect leads to, so one
host's credential never reaches another, and it exists only as a request header: no message can hold it.
"""

from __future__ import annotations

import base64
import netrc
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from repro_env.frozen import dataclass

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A Python index, or a flat directory of distributions, that the user has configured for uv.

    `url` may hold a user name and a password: it is for connecting, and for a message only through
    `values.strip_credentials`. `name` is empty for an index that has none.
    """

    url: str
    name: str = ""
    flat: bool = False


@dataclass(frozen=True, slots=True, order=True)
class _Realm:
    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, parts: SplitResult) -> _Realm:
        return cls(parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0))


class Credentials:
    """Credentials per host. Building it reads the netrc file; a file that cannot be read counts as absent."""

    def __init__(self, environ: Mapping[str, str], indexes: Iterable[Index] = ()) -> None:
        self._realms: dict[_Realm, tuple[str, str]] = {}
        for index in [*environment_indexes(environ), *indexes]:
            self._learn(index, environ)
        self._netrc = _read_netrc(environ)

    def header(self, url: str) -> str | None:
        """Return the value of `Authorization` for this URL, or None (RFC 7617)."""
        parts = urlsplit(url)
        found = _userinfo(parts) or self._realms.get(_Realm.of(parts)) or self._of_netrc(parts)
        if found is None:
            return None
        return "Basic " + base64.b64encode(":".join(found).encode()).decode("ascii")

    def answer(self, client: object, url: str, challenges: Sequence[str], sent: str | None) -> bool:  # noqa: ARG002
        """Return that nothing better is known: what there is was sent with the first request."""
        return False

    def denied_hint(self, url: str) -> str:
        """Return where a user name and password can be put."""
        host = urlsplit(url).hostname
        return f"put the user name and password for {host} in ~/.netrc, or in the variables that uv reads"

    def _learn(self, index: Index, environ: Mapping[str, str]) -> None:
        try:
            parts = urlsplit(index.url)
            realm = _Realm.of(parts)
        except ValueError:
            return  # uv is who says that it is no URL
        variable = "UV_INDEX_" + re.sub(r"[^A-Za-z0-9]", "_", index.name).upper()
        user, password = environ.get(f"{variable}_USERNAME"), environ.get(f"{variable}_PASSWORD")
        named = (user or "", password or "") if index.name and (user or password) else None
        found = named or _userinfo(parts)
        if found is not None:
            self._realms.setdefault(realm, found)

    def _of_netrc(self, parts: SplitResult) -> tuple[str, str] | None:
        # curl and pip send netrc's entries over http: as well; the file's owner named the host.
        found = self._netrc.authenticators(parts.hostname or "") if self._netrc else None
        return (found[0], found[2] or "") if found else None


def environment_indexes(environ: Mapping[str, str]) -> list[Index]:
    """Return the indexes that uv's variables name, `UV_INDEX=NAME=URL` included, in uv's order of preference."""
    found = [_named(word) for word in environ.get("UV_INDEX", "").split()]
    found += [Index(url=word) for word in environ.get("UV_EXTRA_INDEX_URL", "").split()]
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        if environ.get(variable):
            found.append(_named(environ[variable]))
    found += [
        Index(url=word.strip(), flat=True) for word in environ.get("UV_FIND_LINKS", "").split(",") if word.strip()
    ]
    return found


def _named(word: str) -> Index:
    name, separator, url = word.partition("=")
    return Index(name=name, url=url) if separator and ":" not in name and "/" not in name else Index(url=word)


def _userinfo(parts: SplitResult) -> tuple[str, str] | None:
    if parts.username is None and parts.password is None:
        return None
    return unquote(parts.username or ""), unquote(parts.password or "")


def _read_netrc(environ: Mapping[str, str]) -> netrc.netrc | None:
    home = environ.get("HOME") or os.path.expanduser("~")
    names = [environ["NETRC"]] if environ.get("NETRC") else [f"{home}/.netrc", f"{home}/_netrc"]
    for name in names:
        if Path(name).is_file():
            try:
                return netrc.netrc(name)
            except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
                return None
    return None
