"""What sources say alike: extras that are missing, addresses and texts of others without secrets."""

from __future__ import annotations

import importlib
import re
from typing import Any

from repro_env.errors import ConfigError, FetchError

_USER = re.compile(r"(?<=://)[^/@\s'\"]+@")
_QUERY = re.compile(r"(?<=[^\s'\"])\?[^\s'\"]*")
_LONG = 400


def needs(module: str, extra: str) -> Any:
    """Return a module that an extra brings along. Errors: `FetchError` that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        hint = f"install it: pip install 'repro-env[{extra}]'"
        raise FetchError(f"reading this data needs the package {error.name or module}", str(error), hint) from error


def scrubbed(text: str) -> str:
    """Return another program's or service's words without what may be a credential: users and queries of URLs."""
    plain = _QUERY.sub("", _USER.sub("", text.strip()))
    return plain if len(plain) <= _LONG else plain[:_LONG] + "..."


def no_option(kind: str, options: object, known: tuple[str, ...]) -> None:
    """Check that a request has no options but these. Errors: `ConfigError`."""
    names = list(options) if isinstance(options, dict) else []
    wrong = [name for name in names if name not in known]
    if wrong:
        why = f"known are {', '.join(known)}" if known else "it has none"
        raise ConfigError(f"the data source {kind} has no option {wrong[0]}", why)
