"""What a python-build-standalone build says of its own prefix and compilers, put right for where it stands. Pure.

A build is made at `/install` with its maker's compilers, and says so to whoever asks `sysconfig` or `pkg-config`: for
instance to what compiles an extension module inside the image. uv corrects the same when it installs one.
"""

from __future__ import annotations

import ast
import re

from repro_env.lock.places import INTERPRETER

LIMIT = 4 << 20
"""Bytes up to which a file is looked at."""

_BUILT_AT = re.compile(r"(?<!\S)/install(?=/|\s|\Z)")
_SYSCONFIG = re.compile(r"lib/python3\.[0-9]+/_sysconfigdata_[A-Za-z0-9_.-]*\.py\Z")
_PKGCONFIG = re.compile(r"lib/pkgconfig/[^/]+\.pc\Z")
_PREFIX_LINE = re.compile(rb"^prefix=/install$", re.MULTILINE)
_COMPILER = re.compile(
    r"\A(?:\S*/)?(?:[a-z0-9_]+-linux-[a-z]+-)?(?P<tool>clang\+\+|clang|g\+\+|gcc|llvm-ar|ar)(?=\s|\Z)"
)
_USUAL = {"clang++": "c++", "g++": "c++", "clang": "cc", "gcc": "cc", "llvm-ar": "ar", "ar": "ar"}
_TOOLS = frozenset(("AR", "BLDSHARED", "CC", "CXX", "LDCXXSHARED", "LDSHARED", "LINKCC"))


def is_patched(path: str) -> bool:
    """Whether a file of a build, at this path below its prefix, is one that `patched` may change."""
    return bool(_SYSCONFIG.match(path) or _PKGCONFIG.match(path))


def patched(path: str, data: bytes) -> bytes:
    """Return what a file holds once it is right for `/opt/python`; what is not understood stays as it is."""
    if _PKGCONFIG.match(path):
        return _PREFIX_LINE.sub(b"prefix=${pcfiledir}/../..", data)
    variables = _build_variables(data)
    if variables is None:
        return data
    right = {name: _right(name, value) for name, value in variables.items()}
    lines = [f" {name!r}: {right[name]!r},\n" for name in sorted(right)]
    return ("build_time_vars = {\n" + "".join(lines) + "}\n").encode()


def _build_variables(data: bytes) -> dict[str, str | int] | None:
    """Return the one table that a `_sysconfigdata_*.py` is made of, or None for anything else."""
    try:
        body = [node for node in ast.parse(data).body if not isinstance(node, ast.Expr)]
        if len(body) != 1 or not isinstance(body[0], ast.Assign):
            return None
        values = ast.literal_eval(body[0].value)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    known = isinstance(values, dict) and all(isinstance(name, str) for name in values)
    return values if known and all(isinstance(value, (str, int)) for value in values.values()) else None


def _right(name: str, value: str | int) -> str | int:
    if isinstance(value, int):
        return value
    moved = _BUILT_AT.sub(INTERPRETER, value)
    return _COMPILER.sub(lambda match: _USUAL[match["tool"]], moved) if name in _TOOLS else moved
