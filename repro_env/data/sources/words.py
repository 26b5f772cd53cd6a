"""What sources say alike: extras that are missing, addresses and texts of others without secrets."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote

from repro_env.errors import ConfigError, FetchError

_USER = re.compile(r"(?<=://)[^/@\s'\"]+@")
_QUERY = re.compile(r"(?<=[^\s'\"])\?[^\s'\"]*")
_PASSWORD = re.compile(r"[^:/]+://[^:/@?]*:(.*)@")
_SECRET = re.compile(r"(?i)secret|passw|pwd|token|credential|key")
_WORD = 7
"""Letters of values that may be any setting's: a time limit, a mode."""
_LONG = 400


def needs(module: str, extra: str) -> Any:
    """Return a module that an extra brings along. Errors: `FetchError` that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        hint = f"install it: pip install 'repro-env[{extra}]'"
        raise FetchError(f"reading this data needs the package {error.name or module}", str(error), hint) from error


def scrubbed(text: str, secrets: Iterable[str] = ()) -> str:
    """Return another program's or service's words without these, and without users and queries of URLs."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    plain = _QUERY.sub("", _USER.sub("", text.strip()))
    return plain if len(plain) <= _LONG else plain[:_LONG] + "..."


def passwords_of(address: str) -> frozenset[str]:
    """Return an address that may hold a password, that password as it may be quoted, and what is asked of it."""
    found = _PASSWORD.match(address)
    password = found[1] if found else ""
    plain = unquote(password)
    asked = {
        value for name, value in parse_qsl(address.partition("?")[2]) if _SECRET.search(name) or len(value) > _WORD
    }
    return frozenset({address, password, plain, quote(plain, safe=""), quote_plus(plain), repr(plain)[1:-1], *asked})


def no_option(kind: str, options: object, known: tuple[str, ...]) -> None:
    """Check that a request has no options but these. Errors: `ConfigError`."""
    names = list(options) if isinstance(options, dict) else []
    wrong = [name for name in names if name not in known]
    if wrong:
        why = f"known are {', '.join(known)}" if known else "it has none"
        raise ConfigError(f"the data source {kind} has no option {wrong[0]}", why)
