"""The outline of a requirements file: which lines count, and which other files it names."""

from __future__ import annotations

import posixpath
import re

_COMMENT = re.compile(r"(?:^|\s)#.*$")
_NESTED = re.compile(r"(?:-r|-c|--requirements?|--constraints?)(?:\s+|=|(?<=-[rc]))(?P<file>\S.*)\Z")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def requirement_lines(text: str) -> tuple[str, ...]:
    """Return a file's lines in order, without comments and blank lines, continued lines joined.

    A comment ends with its line, whatever that ends with, as for uv.
    Source: https://pip.pypa.io/en/stable/reference/requirements-file-format/
    """
    bare = "\n".join(_COMMENT.sub("", line) for line in text.removeprefix("\ufeff").splitlines())
    lines = bare.replace("\\\n", "").splitlines()
    return tuple(" ".join(line.split()) for line in lines if line.strip())


def nested_files(text: str, file: str) -> tuple[str, ...]:
    """Return the files that one at path `file` names with -r and -c, as paths like its own; URLs are not files."""
    found = []
    for line in requirement_lines(text):
        match = _NESTED.match(line)
        if match is None:
            continue
        name = match["file"].strip("\"'")
        if not _SCHEME.match(name):
            found.append(posixpath.normpath(posixpath.join(posixpath.dirname(file), name)))
    return tuple(found)
