"""On which line a key of a TOML document stands, which `tomllib` does not tell. Only read when there is a problem."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Mapping

KeyPath = tuple[str | int, ...]
"""Keys from the document's root, and indices where an array is passed through: `("step", "clean", "inputs", 0)`."""

_GAP = re.compile(r"(?:[\s\ufeff]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\[\s\S]|[^\\])*?"""(?!")'
    r"|'''[\s\S]*?'''(?!')"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
)
_OTHER_VALUE = re.compile(r"[^,\]}#\n]+")


def key_lines(text: str) -> Mapping[KeyPath, int]:
    """Return the line, from 1, on which each table, key and array element is first named.

    The document must be one that `tomllib` accepts; of another, what could be read is returned.
    """
    scanner = _Scanner(text)
    with contextlib.suppress(RecursionError):
        scanner.document()
    return scanner.lines


def nearest_line(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """Return the line of `path`, else of the innermost table around it that has one, else 0."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return 0


class _Scanner:
    """Walks over a document once, noting where keys stand; values are skipped, except for what keys they hold."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0  # newlines before this position are in _line
        self._last_index: dict[KeyPath, int] = {}  # of each array of tables

    def document(self) -> None:
        table: KeyPath = ()
        while self._skip(_GAP) and self._at < len(self._text):
            before = self._at
            if self._text[before] == "[":
                table = self._header()
            else:
                self._pair(table)
            if self._at == before:
                return

    def _header(self) -> KeyPath:
        self._at += 1
        several = self._take("[")
        keys = self._keys()
        path: KeyPath = ()
        for key in keys:
            if path in self._last_index:
                path = (*path, self._last_index[path])
            path = (*path, key)
            self._note(path)
        if several:
            self._last_index[path] = self._last_index.get(path, -1) + 1
            path = (*path, self._last_index[path])
            self._note(path)
        self._take("]")
        self._take("]")
        return path

    def _pair(self, table: KeyPath) -> None:
        path = table
        for key in self._keys():
            path = (*path, key)
            self._note(path)
        if self._take("="):
            self._value(path)

    def _keys(self) -> list[str]:
        """Read a dotted key."""
        keys = []
        while True:
            self._skip(_BLANK)
            if (quoted := self._match(_STRING)) is not None:
                keys.append(str(tomllib.loads(f"key = {quoted}")["key"]))
            elif (bare := self._match(_BARE_KEY)) is not None:
                keys.append(bare)
            if not self._take("."):
                return keys

    def _value(self, path: KeyPath) -> None:
        self._skip(_BLANK)
        if self._take("["):
            self._array(path)
        elif self._take("{"):
            self._inline_table(path)
        elif self._match(_STRING) is None:
            self._match(_OTHER_VALUE)

    def _array(self, path: KeyPath) -> None:
        index = 0
        while self._skip(_GAP) and self._at < len(self._text) and not self._take("]"):
            before = self._at
            self._note((*path, index))
            self._value((*path, index))
            self._skip(_GAP)
            self._take(",")
            if self._at == before:
                return
            index += 1

    def _inline_table(self, path: KeyPath) -> None:
        while self._skip(_GAP) and self._at < len(self._text) and not self._take("}"):
            before = self._at
            self._pair(path)
            self._skip(_GAP)
            self._take(",")
            if self._at == before:
                return

    def _note(self, path: KeyPath) -> None:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        self.lines.setdefault(path, self._line)

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Pass over what a pattern that may match nothing matches."""
        self._match(pattern)
        return True

    def _match(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        return found[0]

    def _take(self, character: str) -> bool:
        """Pass over blanks and this character, if it comes next."""
        blank = _BLANK.match(self._text, self._at)
        end = blank.end() if blank else self._at
        if self._text.startswith(character, end):
            self._at = end + 1
            return True
        return False
