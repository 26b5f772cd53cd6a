"""Files whose line ends git converts as the user's own settings say, which the repository does not.

A step reads the bytes that stand in the work tree. Where git makes other line ends of what it stores (`core.autocrlf`,
`core.eol`), those bytes are in no commit, and another machine would check out others.
Source: gitattributes(5), "End-of-line conversion"; git-config(1), `core.autocrlf`.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_LIMIT = 8 << 20  # bytes above which no file of code is kept anyway
_EXECUTABLE, _PLAIN = "100755", "100644"


def converts(settings: Mapping[str, str]) -> bool:
    """Whether these settings of git's, by their names in lower case, make it convert line ends."""
    autocrlf = settings.get("core.autocrlf", "false").lower()
    return (
        autocrlf not in {"false", "no", "off", "0", ""} or "core.eol" in settings or "core.attributesfile" in settings
    )


def carriage_returns(top: Path, paths: Sequence[str]) -> tuple[str, ...]:
    """Return those of a repository's files that have lines which end in a carriage return and a line feed."""
    return tuple(path for path in paths if "\n" not in path and _has_carriage_returns(top / path))


def _has_carriage_returns(path: Path) -> bool:
    try:
        if path.is_symlink() or path.stat().st_size > _LIMIT:
            return False
        return b"\r\n" in path.read_bytes()
    except OSError:
        return False


def keep_bytes(git: Callable[..., str], top: Path, paths: Sequence[str]) -> None:
    """Put files into the index with the very bytes that they have. Errors: `ToolError`, `OSError`."""
    if not paths:
        return
    lines = "".join(f"./{path}\n" for path in paths)  # what begins with a quotation mark would be read as quoted
    blobs = git("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=lines).split()
    entries = (f"{_mode(top / path)} {blob}\t{path}\0" for path, blob in zip(paths, blobs, strict=True))
    git("update-index", "-z", "--index-info", stdin="".join(entries))


def _mode(path: Path) -> str:
    return _EXECUTABLE if path.stat().st_mode & stat.S_IXUSR else _PLAIN
