"""Reading a lock's TOML several times faster than `tomllib`, as long as it is shaped as `dump_lock` writes it.

`repro lock --check` would spend most of its own time on reading the lock. Whatever is shaped differently, because a
person or a merge touched it, is left to `tomllib`; a text read here gives exactly what `tomllib` would give.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_PLAIN = r'[^"\\\x00-\x1f\x7f]*'
_STRING = rf'"{_PLAIN}(?:\\(?:["\\bfnrt]|u00[01][0-9a-f]|u007f){_PLAIN})*"'
_KEY = rf"[A-Za-z0-9_-]+|{_STRING}"
_INTEGER = r"0|[1-9][0-9]{0,17}"

_STRINGS = re.compile(_STRING)
_KEYS = re.compile(_KEY)
_WHOLE_NUMBER = re.compile(_INTEGER)
_PAIR = re.compile(rf"({_KEY}) = (.+)")
_SCALAR_PAIR = re.compile(rf"({_KEY}) = ({_STRING}|{_INTEGER}|true)")
_COMMENT = re.compile(r"#[^\x00-\x1f\x7f]*")

_BLOCKS = {"[[interpreter]]": "interpreter", "[[package]]": "package"}


class _ShapeError(Exception):
    """The text is not shaped as `dump_lock` writes it."""


def read_canonical(text: str) -> dict[str, Any] | None:
    """Return the document's content, or None where `tomllib` has to be asked."""
    reader = _Reader()
    lines = iter(text.split("\n"))
    try:
        for line in lines:
            reader.read(line, lines)
    except _ShapeError:
        return None
    return reader.root


class _Reader:
    """The document so far, and the table that the next pair belongs to."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {}
        self._table = self.root
        self._headed = {id(self.root)}  # tables that a header may add to: not the inline ones
        self._blocks: dict[str, list[dict[str, Any]]] = {}

    def read(self, line: str, following: Iterator[str]) -> None:
        """Take one line, and those that belong to it."""
        if pair := _PAIR.fullmatch(line):
            key, value = pair.groups()
            _add(self._table, _text(key), _items(following) if value == "[" else _value(value))
        elif line in _BLOCKS:
            self._block(_BLOCKS[line])
        elif line.startswith("["):
            self._header(line)
        elif line and not _COMMENT.fullmatch(line):
            raise _ShapeError

    def _block(self, name: str) -> None:
        if name not in self._blocks:
            self._blocks[name] = []
            _add(self.root, name, self._blocks[name])
        self._table = {}
        self._blocks[name].append(self._table)

    def _header(self, line: str) -> None:
        keys = _KEYS.findall(line)
        if not keys or line != f"[{'.'.join(keys)}]":
            raise _ShapeError
        table = self.root
        for key in map(_text, keys[:-1]):
            if key not in table:
                self._open(table, key)
            table = table[key]
            if id(table) not in self._headed:
                raise _ShapeError
        self._table = self._open(table, _text(keys[-1]))

    def _open(self, table: dict[str, Any], key: str) -> dict[str, Any]:
        new: dict[str, Any] = {}
        _add(table, key, new)
        self._headed.add(id(new))
        return new


def _add(table: dict[str, Any], key: str, value: Any) -> None:
    if key in table:
        raise _ShapeError
    table[key] = value


def _items(lines: Iterator[str]) -> list[Any]:
    """Return the elements of an array that has one a line, up to its closing bracket."""
    found: list[Any] = []
    for line in lines:
        if line == "]":
            return found
        if not (line.startswith("  ") and line.endswith(",")):
            break
        found.append(_value(line[2:-1]))
    raise _ShapeError


def _value(text: str) -> Any:
    if text.startswith('"'):
        if _STRINGS.fullmatch(text):
            return _text(text)
    elif text.startswith("["):
        strings = _STRINGS.findall(text)
        if text == f"[{', '.join(strings)}]":
            return [_text(string) for string in strings]
    elif text.startswith("{"):
        pairs = _SCALAR_PAIR.findall(text)
        table = {_text(key): _value(value) for key, value in pairs}
        if len(table) == len(pairs) and text == f"{{ {', '.join(f'{key} = {value}' for key, value in pairs)} }}":
            return table
    elif text == "true":
        return True
    elif _WHOLE_NUMBER.fullmatch(text):
        return int(text)
    raise _ShapeError


def _text(token: str) -> str:
    """Return what a bare key or a basic string stands for. The escapes that pass here, JSON has too."""
    if not token.startswith('"'):
        return token
    return str(json.loads(token)) if "\\" in token else token[1:-1]
