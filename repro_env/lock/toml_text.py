"""Pieces of TOML in their one spelling."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")
_ESCAPED = re.compile(r'[\x00-\x1f\x7f"\\]')
_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}

Value = str | int | bool


def header(*keys: str) -> str:
    """Return the line that begins a table."""
    return f"[{'.'.join(map(key, keys))}]"


def key(name: str) -> str:
    """Return a key, quoted where it has to be."""
    return name if _BARE_KEY.match(name) else string(name)


def lines(name: str, items: Iterable[str]) -> Iterator[str]:
    """Yield an array with one item a line."""
    written = [f"  {item}," for item in items]
    if written:
        yield from (f"{name} = [", *written, "]")
    else:
        yield f"{name} = []"


def settings(values: Mapping[str, Value | list[str]]) -> Iterator[str]:
    """Yield a line for each key."""
    for name, content in values.items():
        yield f"{name} = {array(content) if isinstance(content, list) else value(content)}"


def array(items: Iterable[str]) -> str:
    """Return an array of strings on one line."""
    return f"[{', '.join(map(string, items))}]"


def inline(values: Mapping[str, Value], *, in_order: bool = True) -> str:
    """Return an inline table, with its keys as they are or else sorted."""
    names = values if in_order else sorted(values)
    return "{ " + ", ".join(f"{key(name)} = {value(values[name])}" for name in names) + " }"


def value(content: Value) -> str:
    """Return a string, a number or a boolean."""
    if isinstance(content, bool):
        return "true" if content else "false"
    return str(content) if isinstance(content, int) else string(content)


def string(text: str) -> str:
    """Return a basic string. Source: https://toml.io/en/v1.0.0#string."""
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04x}"
