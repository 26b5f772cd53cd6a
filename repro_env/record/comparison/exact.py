"""Byte for byte."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import BinaryIO

from repro_env.edges.files import os_errors
from repro_env.record.comparison.base import Verdict

_PIECE = 1 << 20
_LINE = 4096  # bytes on either side of a difference that are looked at for the line it is in
_SHOWN = 80  # characters of a line


class Exact:
    """Tells the first byte that differs, and in text the line."""

    def compare(self, then: Path, now: Path) -> Verdict:
        """Compare two files. Errors: `StoreError`."""
        with os_errors(f"compare {then} and {now}"), then.open("rb") as first, now.open("rb") as second:
            found = _first_difference(first, second)
            if found is None:
                return Verdict(equal=True)
            offset, newlines = found
            sizes = (then.stat().st_size, now.stat().st_size)
            lines = _line(first, offset), _line(second, offset)
        length = f"{sizes[0]:,} bytes then, {sizes[1]:,} now" if sizes[0] != sizes[1] else ""
        if lines[0] is not None and lines[1] is not None:
            difference = f"{lines[0]!r} then, {lines[1]!r} now"
            return Verdict(equal=False, where=f"line {newlines + 1}", difference=difference, extent=length)
        difference = "the first byte that differs" if offset < min(sizes) else "one of them ends here"
        return Verdict(equal=False, where=f"byte {offset:,}", difference=difference, extent=length)


def _first_difference(first: BinaryIO, second: BinaryIO) -> tuple[int, int] | None:
    """Return the offset of the first byte that differs, and how many line ends stand before it."""
    offset = newlines = 0
    while True:
        one, other = first.read(_PIECE), second.read(_PIECE)
        if one != other:
            pairs = enumerate(zip(one, other, strict=False))
            within = next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))
            return offset + within, newlines + one.count(b"\n", 0, within)
        if not one:
            return None
        offset += len(one)
        newlines += one.count(b"\n")


def _line(stream: BinaryIO, offset: int) -> str | None:
    """Return the line that holds this offset, or None where that is not text."""
    start = max(0, offset - _LINE)
    stream.seek(start)
    data = stream.read(2 * _LINE)
    before, after = data[: offset - start], data[offset - start :]
    line = before.rpartition(b"\n")[2] + after.partition(b"\n")[0]
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return None
    if any(character < " " and character not in "\t\r\f" for character in itertools.islice(text, 2 * _LINE)):
        return None
    return text if len(text) <= _SHOWN else _around(text, len(before.rpartition(b"\n")[2].decode(errors="replace")))


def _around(text: str, place: int) -> str:
    """Return the part of a long line around a place in it."""
    start = max(0, min(place - _SHOWN // 2, len(text) - _SHOWN))
    return ("..." if start else "") + text[start : start + _SHOWN] + ("..." if start + _SHOWN < len(text) else "")
