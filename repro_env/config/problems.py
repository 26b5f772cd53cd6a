"""Gathering everything that is wrong with a file, to say it all at once with the lines it stands on."""

from __future__ import annotations

import re
from collections.abc import Iterable

from repro_env.config.lines import KeyPath, key_lines, nearest_line
from repro_env.errors import ConfigError, Problem

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")


class Problems:
    """The problems of one file. `root` is the table inside it that key paths start from."""

    def __init__(self, *, file: str, text: str, root: tuple[str, ...] = ()) -> None:
        self._file = file
        self._text = text
        self._root = root
        self._found: list[tuple[KeyPath, str, str]] = []

    def add(self, path: KeyPath, message: str, hint: str = "") -> None:
        """Note a problem of the value at `path`."""
        self._found.append((path, message, hint))

    def within(self, path: KeyPath) -> bool:
        """Whether a problem was noted of the value at `path` or inside it."""
        return any(place[: len(path)] == path for place, _, _ in self._found)

    def listed(self) -> list[Problem]:
        """Every problem so far, with its line."""
        lines = key_lines(self._text) if self._found else {}
        return [
            Problem(
                file=self._file,
                line=nearest_line(lines, self._root + path),
                key=key_text(self._root + path),
                message=message,
                hint=hint,
            )
            for path, message, hint in self._found
        ]

    def check(self) -> None:
        """Raise the one `ConfigError` that carries every problem, if there is any."""
        if self._found:
            raise ConfigError.from_problems(self.listed())


def key_text(path: KeyPath) -> str:
    """Return a key path as people write it: `step.clean.inputs[0]`, `step."a b".python`."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            dot = "." if text else ""
            text += dot + (key if _BARE_KEY.match(key) else '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"')
    return text


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint with the known name nearest to this one, or with all of them where none is near."""
    import difflib  # noqa: PLC0415 - only a wrong name needs it; start-up stays lean

    names = list(known)
    if near := difflib.get_close_matches(name, names, n=1, cutoff=0.6):
        return f"did you mean {near[0]}?"
    return f"known are {', '.join(names)}" if names else ""
