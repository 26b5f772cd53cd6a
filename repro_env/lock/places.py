"""Where things stand inside a step's image, and a command with those places filled in.

    /repro/code/...                   the step's code, the working directory
    /repro/input/NAME/BASENAME        one input, read-only: NAME is a data name or STEP.OUTPUT
    /repro/output/PATH                one output, at the path its step declares

A runtime without an image (venv) uses other roots with the same shape below them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

ENVIRONMENT = "/opt/env"

_PLACEHOLDER = re.compile(r"\{(data|output)\.([A-Za-z0-9_-]+)(?:@([A-Za-z0-9_-]+))?\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """The three directories everything of a run stands in."""

    code: str
    input: str
    output: str


IMAGE_ROOTS = Roots(code="/repro/code", input="/repro/input", output="/repro/output")


def input_place(roots: Roots, name: str, declared_path: str) -> str:
    """Return where input `name` (`raw`, `clean.table`), declared at `declared_path` in the project, is found."""
    return f"{roots.input}/{name}/{PurePosixPath(declared_path).name}"


def output_place(roots: Roots, declared_path: str) -> str:
    """Return where an output declared at `declared_path` in the project is to be written."""
    return f"{roots.output}/{declared_path}"


def placeholders(word: str) -> Iterable[tuple[str, str]]:
    """Yield `(kind, name)` of each placeholder in a command's word.

    `{data.raw}` gives `("input", "raw")`, `{output.table@clean}` gives `("input", "clean.table")`, `{output.model}` gives
    `("output", "model")`. Anything else in braces is the command's own text.
    """
    for match in _PLACEHOLDER.finditer(word):
        yield _reference(match)


def expand(command: Iterable[str], *, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> tuple[str, ...]:
    """Return the command with each placeholder replaced by its place. Errors: `KeyError` for an unknown name."""

    def place(match: re.Match[str]) -> str:
        kind, name = _reference(match)
        return (inputs if kind == "input" else outputs)[name]

    return tuple(_PLACEHOLDER.sub(place, word) for word in command)


def _reference(match: re.Match[str]) -> tuple[str, str]:
    kind, name, step = match.groups()
    if kind == "data":
        return "input", name
    return ("input", f"{step}.{name}") if step else ("output", name)


def variable(prefix: str, name: str) -> str:
    """Return the environment variable that carries a place: `REPRO_DATA_RAW`, `REPRO_OUTPUT_TABLE`."""
    return f"REPRO_{prefix}_{re.sub(r'[^A-Za-z0-9]', '_', name).upper()}"
