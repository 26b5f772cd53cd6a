"""The part of NVIDIA's NVML bindings that step images carry: what `verify/nvml.py` uses, and what that needs.

The bindings are one module of 330 KB, and an image has no place for byte code: to compile all of it took half of the
time from a container's start to its command. The module is a list of plain statements, each beginning in the first
column, which are taken or left out as they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_BEGINNING = re.compile(r"^(?=[A-Za-z_@])", re.MULTILINE)
_DEFINED = re.compile(r"(?:@.*\n)*(?:(?:def|class)\s+(\w+)|(\w+)\s*=(?!=))")
_NAME = re.compile(r"[A-Za-z_]\w*")
_BY_NAME = "NVML_ERROR_"
"""What the module itself looks up by the beginning of its name."""


def used_names(source: str) -> frozenset[str]:
    """Return what a module takes of the bindings: `pynvml.nvmlInit`."""
    return frozenset(re.findall(r"\bpynvml\.(\w+)", source))


def part_of(bindings: str, names: Iterable[str]) -> str:
    """Return the statements of the bindings that these names need, in their order, below the notice at the beginning.

    Names in comments and strings count as well: too much is no harm. Errors: `KeyError` for a name that is none.
    """
    notice, *statements = _statements(bindings)
    defined = {name: statement for statement in statements if (name := _defines(statement))}
    kept = {statement for statement in statements if not _defines(statement)}
    waiting = {defined[name] for name in (*names, *(name for name in defined if name.startswith(_BY_NAME)))} | kept
    kept |= waiting
    while waiting:
        known = {defined[name] for statement in waiting for name in _NAME.findall(statement) if name in defined}
        waiting = known - kept
        kept |= waiting
    return notice + "".join(statement for statement in statements if statement in kept)


def _statements(source: str) -> list[str]:
    """Return what stands before the first statement, and each statement; a decorator is of the one that follows."""
    found = [""]
    for piece in _BEGINNING.split(source):
        if found[-1].startswith("@") and "\ndef " not in found[-1]:
            found[-1] += piece
        else:
            found.append(piece)
    return found[1:]


def _defines(statement: str) -> str:
    match = _DEFINED.match(statement)
    return (match[1] or match[2]) if match else ""
