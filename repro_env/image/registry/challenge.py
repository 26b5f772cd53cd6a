"""What a registry's 401 asks for: the challenges in `WWW-Authenticate`. Pure.

Source: RFC 9110, section 11.6.1; https://distribution.github.io/distribution/spec/auth/token/.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from repro_env.frozen import dataclass

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - the word of RFC 9110, section 5.6.2
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PARAMETER = re.compile(rf"\s*,?\s*({_TOKEN})\s*=\s*({_TOKEN}|{_QUOTED})")
_SCHEME = re.compile(rf"\s*,?\s*({_TOKEN})(?:\s+|\s*\Z|(?=\s*,))(?!=)")
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to be let in: `scheme` (`basic`, `bearer`) and `parameters`, their names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(values: Iterable[str]) -> tuple[Challenge, ...]:
    """Return the challenges of a response's `WWW-Authenticate` headers, in order; what is none is passed over."""
    return tuple(challenge for value in values for challenge in _parse(value))


def _parse(value: str) -> Iterable[Challenge]:
    place = 0
    while (scheme := _SCHEME.match(value, place)) is not None:
        place = scheme.end()
        parameters = {}
        while (parameter := _PARAMETER.match(value, place)) is not None:
            parameters[parameter[1].lower()] = _unquoted(parameter[2])
            place = parameter.end()
        yield Challenge(scheme[1].lower(), parameters)


def _unquoted(text: str) -> str:
    return _ESCAPE.sub(r"\1", text[1:-1]) if text.startswith('"') else text
