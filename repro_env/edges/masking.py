"""Replacing secrets in a stream of bytes, wherever its chunks begin and end."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

MASK = b"***"

SHORTEST = 4
"""In bytes. What is shorter stands in so much of any text that masking it would hide the text, and not the secret."""


def maskable(values: Iterable[str]) -> tuple[bytes, ...]:
    """Return what is to be masked of these secrets: each line by itself, without the space around it, longest first.

    A program that prints a key of several lines may indent them, or end them in another way.
    """
    lines = {line.strip() for value in values for line in os.fsencode(value).splitlines()}
    return tuple(sorted((line for line in lines if len(line) >= SHORTEST), key=lambda line: (-len(line), line)))


class Masker:
    """Replaces patterns in one stream, from left to right, of those that begin at one place the longest.

    What may be the beginning of one is held back until more has come: never more than the longest, and nothing of what
    cannot be one.
    """

    def __init__(self, patterns: Sequence[bytes]) -> None:
        """`patterns` is what `maskable` returned, one at least."""
        self._patterns = patterns
        self._any = re.compile(b"|".join(map(re.escape, patterns)))
        self._by_first: dict[bytes, list[bytes]] = {}
        for pattern in patterns:
            self._by_first.setdefault(pattern[:1], []).append(pattern)
        self._first = re.compile(b"[" + b"".join(map(re.escape, self._by_first)) + b"]")
        self._reach = max(map(len, patterns)) - 1
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes, and return what can be passed on of all that came."""
        text = self._held + data
        masked, start = [], 0
        # Far faster than the expression: most output has none of them.
        match = self._any.search(text) if any(pattern in text for pattern in self._patterns) else None
        end = self._beginning(text, start)
        while match is not None and match.start() < end:
            masked += [text[start : match.start()], MASK]
            start = match.end()
            match, end = self._any.search(text, start), self._beginning(text, start)
        self._held = text[end:]
        return b"".join([*masked, text[start:end]])

    def finish(self) -> bytes:
        """Return what was held back, at the end of the stream."""
        held, self._held = self._held, b""
        return self._any.sub(MASK, held)

    def _beginning(self, text: bytes, start: int) -> int:
        """Return the first place from `start` on that all which follows is the beginning of a pattern, else the end."""
        for match in self._first.finditer(text, max(start, len(text) - self._reach)):
            rest = text[match.start() :]
            for pattern in self._by_first[match[0]]:
                if len(rest) < len(pattern) and pattern.startswith(rest):
                    return match.start()
        return len(text)
