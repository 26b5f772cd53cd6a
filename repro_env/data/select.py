"""Which files of a data input count: its `include` and `exclude` globs.

A glob is relative to the data's root. `*`, `?` and `[...]` stay within one directory, `**` stands for any number of
directories, and a glob that names a directory means everything below it. What no `include` takes is left out where
there are any, and what an `exclude` takes is always left out.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Sequence

from repro_env.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The globs of one data input. The default takes everything."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def takes_all(self) -> bool:
        """Whether nothing is left out."""
        return not self.include and not self.exclude

    @property
    def key(self) -> bytes:
        """What tells two selections apart; empty for the one that takes everything."""
        return b"" if self.takes_all else json.dumps([self.include, self.exclude]).encode()

    def takes(self, name: bytes) -> bool:
        """Whether a file of this name, relative to the root, counts."""
        if self.include and not _matcher(self.include).match(name):
            return False
        return not self.skips(name)

    def skips(self, name: bytes) -> bool:
        """Whether a file or a whole directory of this name is excluded."""
        return bool(self.exclude) and _matcher(self.exclude).match(name) is not None


EVERYTHING = Selection()


@functools.cache
def _matcher(globs: tuple[str, ...]) -> re.Pattern[bytes]:
    """Return an expression that matches what one of the globs names, and everything below that."""
    each = (b"(?:%s)" % _expression(os.fsencode(glob)) for glob in globs)
    return re.compile(rb"(?s:(?:%s)(?:/.*)?)\Z" % b"|".join(each))


def _expression(glob: bytes) -> bytes:
    parts = [part for part in glob.split(b"/") if part not in (b"", b".")]
    found = b""
    for number, part in enumerate(parts, 1):
        last = number == len(parts)
        if part == b"**":
            found += b".*" if last else b"(?:[^/]+/)*"
        else:
            found += _segment(part) + (b"" if last else b"/")
    return found


def _segment(part: bytes) -> bytes:
    """Return the expression of a glob within one directory."""
    pieces: list[bytes] = []
    at = 0
    while at < len(part):
        letter = part[at : at + 1]
        if letter == b"[" and (found := re.match(rb"\[([!^]?)(\]?[^\]]*)\]", part[at:])):
            inside = re.sub(rb"[\\\[&~|]", rb"\\\g<0>", found[2]).replace(b"]", rb"\]")
            pieces.append(b"(?!/)[" + (b"^" if found[1] else b"") + inside + b"]")
            at += found.end()
            continue
        pieces.append({b"*": b"[^/]*", b"?": b"[^/]"}.get(letter, re.escape(letter)))
        at += 1
    return b"".join(pieces)


def selected(names: Sequence[bytes], selection: Selection) -> list[bytes]:
    """Return the names that count."""
    return list(names) if selection.takes_all else [name for name in names if selection.takes(name)]
