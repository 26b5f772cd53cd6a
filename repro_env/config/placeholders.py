"""What stands in braces in a step's command, and the environment variables that say the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_NAME = "[A-Za-z0-9_-]+"
_PLACEHOLDER = re.compile(rf"\{{(?:data\.({_NAME})|output\.({_NAME})(?:@({_NAME}))?)\}}")
_MEANT = re.compile(r"\{(?:data|output|input)s?\.[A-Za-z0-9_.@-]+\}")


def placeholders(word: str) -> Iterator[tuple[str, str]]:
    """Yield `(kind, name)` of each placeholder in a command's word.

    `{data.raw}` gives `("input", "raw")`, `{output.table@clean}` gives `("input", "clean.table")`, and
    `{output.model}` gives `("output", "model")`. Anything else in braces is the command's own text.
    """
    for match in _PLACEHOLDER.finditer(word):
        yield _reference(match)


def substitute(word: str, place: Callable[[str, str], str]) -> str:
    """Return the word with each placeholder replaced by what `place(kind, name)` says."""
    return _PLACEHOLDER.sub(lambda match: place(*_reference(match)), word)


def spell(kind: str, name: str) -> str:
    """Return the placeholder of a kind and name, the reverse of `placeholders`."""
    if kind == "output":
        return f"{{output.{name}}}"
    step, _, output = name.rpartition(".")
    return f"{{output.{output}@{step}}}" if step else f"{{data.{name}}}"


def misspelled(word: str) -> Iterator[str]:
    """Yield what was probably meant as a placeholder and is none: `{data.raw@clean}`, `{outputs.table}`."""
    for match in _MEANT.finditer(word):
        if not _PLACEHOLDER.fullmatch(match[0]):
            yield match[0]


def variable(prefix: str, name: str) -> str:
    """Return the environment variable that carries a place: `REPRO_DATA_RAW`, `REPRO_OUTPUT_TABLE`."""
    return f"REPRO_{prefix}_{re.sub(r'[^A-Za-z0-9]', '_', name).upper()}"


def input_variable(name: str) -> str:
    """Return the variable of an input: `REPRO_DATA_RAW` for data, `REPRO_INPUT_CLEAN_TABLE` for a step's output."""
    return variable("INPUT" if "." in name else "DATA", name)


def _reference(match: re.Match[str]) -> tuple[str, str]:
    data, output, step = match.groups()
    if data:
        return "input", data
    return ("input", f"{step}.{output}") if step else ("output", output)
