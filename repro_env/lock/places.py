"""Where things stand inside a step's image, and a command with those places filled in.

    /repro/code/...                   the step's code, the working directory
    /repro/input/NAME/BASENAME        one input, read-only: NAME is a data name or STEP.OUTPUT
    /repro/output/PATH                one output, at the path its step declares
    /repro/verify/enter.py            what checks the machine before the command, where the step asks for one
    /repro/needs.json                 what that is

A runtime without an image (venv) uses other roots with the same shape below them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from repro_env.config.placeholders import input_variable, placeholders, substitute, variable
from repro_env.frozen import dataclass

__all__ = [
    "ENVIRONMENT",
    "IMAGE_ROOTS",
    "INTERPRETER",
    "NEEDS",
    "VERIFY",
    "Roots",
    "expand",
    "input_place",
    "input_variable",
    "output_place",
    "placeholders",
    "variable",
]

ENVIRONMENT = "/opt/env"
INTERPRETER = "/opt/python"
"""Where a Python stands that a step brings along; `ENVIRONMENT` is a virtual environment of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """The three directories everything of a run stands in."""

    code: str
    input: str
    output: str


VERIFY = "/repro/verify"
NEEDS = "/repro/needs.json"  # beside the program's directory: there it looks
IMAGE_ROOTS = Roots(code="/repro/code", input="/repro/input", output="/repro/output")


def input_place(roots: Roots, name: str, declared_path: str) -> str:
    """Return where input `name` (`raw`, `clean.table`), declared at `declared_path` in the project, is found."""
    return f"{roots.input}/{name}/{PurePosixPath(declared_path).name}"


def output_place(roots: Roots, declared_path: str) -> str:
    """Return where an output declared at `declared_path` in the project is to be written."""
    return f"{roots.output}/{declared_path}"


def expand(command: Iterable[str], *, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> tuple[str, ...]:
    """Return the command with each placeholder replaced by its place. Errors: `KeyError` for an unknown name."""

    def place(kind: str, name: str) -> str:
        return (inputs if kind == "input" else outputs)[name]

    return tuple(substitute(word, place) for word in command)
