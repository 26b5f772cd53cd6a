"""JSON documents, and files with one on each line."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from repro_env.config.comparison import Comparison
from repro_env.edges.files import os_errors
from repro_env.record.comparison.base import UnreadableError, Verdict
from repro_env.record.comparison.tally import Tally

_LINES = (".jsonl", ".ndjson")
_ABSENT = object()

KeyPath = tuple[str, ...]


class Documents:
    """Compares value by value: the order of keys is no difference, nor is `1` against `1.0`; that of a list is.

    A file ending in `.jsonl` or `.ndjson` holds one document a line, and is read line by line.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".json", *_LINES)
    """The ends of the names of the files that it reads."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._ignored = [tuple(path.split(".")) for path in comparison.ignore]

    def compare(self, then: Path, now: Path) -> Verdict:
        """Compare two files. Errors: `UnreadableError`, `StoreError`."""
        tally = Tally(self._comparison)
        lines = then.suffix.lower() in _LINES
        pairs = itertools.zip_longest(_documents(then, lines=lines), _documents(now, lines=lines), fillvalue=_ABSENT)
        for number, (before, after) in enumerate(pairs, start=1):
            place = f"line {number}" if lines else ""
            if before is _ABSENT or after is _ABSENT:
                tally.tell(place, "is missing" if after is _ABSENT else "is new")
                break
            compare_values(tally, before, after, place=place, ignored=self._ignored)
        return tally.verdict()


def compare_values(
    tally: Tally, then: Any, now: Any, *, place: str = "", path: KeyPath = (), ignored: Sequence[KeyPath] = ()
) -> None:
    """Compare two values made of mappings, lists and single values; `place` is what the key path starts in."""
    if ignored and _is_ignored(ignored, path):
        return
    if type(then) is dict and type(now) is dict:
        keys: Iterable[Any] = then if then.keys() == now.keys() else dict.fromkeys((*then, *now))
        pairs = ((key, then.get(key, _ABSENT), now.get(key, _ABSENT)) for key in keys)
    elif type(then) is list and type(now) is list:
        found = itertools.zip_longest(then, now, fillvalue=_ABSENT)
        pairs = ((index, before, after) for index, (before, after) in enumerate(found))
    else:
        tally.value(lambda: _named(place, path), then, now)
        return
    for key, before, after in pairs:
        inner = (*path, str(key))
        if before is not _ABSENT and after is not _ABSENT:
            compare_values(tally, before, after, place=place, path=inner, ignored=ignored)
        elif not _is_ignored(ignored, inner):
            tally.tell(_named(place, inner), "is missing" if after is _ABSENT else "is new")


def _is_ignored(patterns: Sequence[KeyPath], path: KeyPath) -> bool:
    return any(_matches(pattern, path) for pattern in patterns)


def _matches(pattern: KeyPath, path: KeyPath) -> bool:
    return len(pattern) == len(path) and all(one in {"*", key} for one, key in zip(pattern, path, strict=True))


def _named(place: str, path: KeyPath) -> str:
    return ", ".join(part for part in (place, ".".join(path)) if part) or "the document"


def _documents(path: Path, *, lines: bool) -> Iterator[Any]:
    try:
        with os_errors(f"read {path}"), path.open(encoding="utf-8") as stream:
            if lines:
                yield from (json.loads(line) for line in stream if line.strip())
            else:
                yield json.load(stream)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(path, str(error)) from error
