"""What a single value of `repro.toml` may be. Each function raises `ValueError` with what was expected."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import parse_qsl, urlsplit

from repro_env.values import ImageReference

RESERVED_VARIABLES = "REPRO_"
"""Environment variables that begin so are set by this program alone."""

SET_VARIABLES = frozenset(
    {
        *("HOME", "LANG", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "PWD", "PYTHONUNBUFFERED", "TZ", "USER", "VIRTUAL_ENV"),
        *("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
        *("CUBLAS_WORKSPACE_CONFIG", "MKL_NUM_THREADS", "NVIDIA_TF32_OVERRIDE"),
        *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED"),
    }
)
"""Other variables that this program, or a runtime, sets for a step. A step may override them, openly."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SUITE = re.compile(r"[a-z][a-z0-9.-]*\Z")
_DEBIAN_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+\Z")
_GLIBC = re.compile(r"2\.\d{1,3}\Z")
_FULL_PYTHON = re.compile(r"3\.\d{1,2}\.\d{1,3}(?:(?:a|b|rc)\d+)?\Z")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:[^:]")
_OPTION = re.compile(r"[a-z][a-z0-9_-]*\Z")
_SECRET_NAME = re.compile(r"(?i)secret|passw|token|signature|credential|api[-_]?key|access[-_]?key|^sig$|^key$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_VERSION_CLAUSE = r"(?:===\s*[^\s,;)]+|(?:~=|==|!=|<=|>=|<|>)\s*[A-Za-z0-9_.*+!-]+)"
_VERSIONS = rf"{_VERSION_CLAUSE}(?:\s*,\s*{_VERSION_CLAUSE})*(?:\s*,)?"
_REQUIREMENT = re.compile(
    # Spaces are never given back: each of these would try every share of them.
    r"\s*+[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"  # name
    r"\s*+(?:\[[A-Za-z0-9._,\s-]*\])?"  # extras
    rf"\s*+(?:@\s*\S+(?=\s|\Z)|\(\s*{_VERSIONS}\s*\)|{_VERSIONS})?"  # URL or versions
    r"\s*+(?:;.*\S)?\s*\Z"  # marker
)
_SINGLE_EQUALS = re.compile(r"[A-Za-z0-9\]]\s*=\s*[0-9]")


def requirement(text: str) -> None:
    """Check the outline of a PEP 508 requirement; the resolver reads it in full.

    Source: https://packaging.python.org/specifications/dependency-specifiers/
    """
    if _REQUIREMENT.match(text):
        return
    said = f'"{text}" is not a requirement such as "pandas>=2,<3"'
    if text.startswith("-"):
        raise ValueError(f"{said}: options belong into a requirements file or uv's configuration")
    if _SINGLE_EQUALS.search(text):
        raise ValueError(f"{said}: an exact version is written ==")
    if "/" in text:
        raise ValueError(f'{said}: a file or URL is written "NAME @ URL"')
    raise ValueError(said)


def inside_path(text: str) -> str:
    """Return a path inside the project in its one spelling, `build/table.parquet`."""
    _check_path(text)
    path = PurePosixPath(text)
    if str(path) == ".":
        raise ValueError("expected a path inside the project, found the project itself")
    if ".." in path.parts:
        raise ValueError(f'"{text}" leads out of the project: ".." is not allowed')
    return str(path)


def relative_path(text: str) -> None:
    """Check a path that is relative to the project and may lead out of it."""
    _check_path(text)


def glob(text: str) -> None:
    """Check a glob, or path, of files inside the project."""
    _check_path(text)
    if ".." in text.split("/"):
        raise ValueError(f'"{text}" leads out of the project: ".." is not allowed')


def variable_name(text: str) -> None:
    """Check the name of an environment variable that a step sets. Source: POSIX.1-2017, 8.1."""
    if not _VARIABLE.match(text):
        raise ValueError("not the name of an environment variable: use letters, digits and _, with no digit first")
    if text.startswith(RESERVED_VARIABLES):
        raise ValueError(f"names that begin with {RESERVED_VARIABLES} are set by repro")


def secret_name(text: str) -> None:
    """Check the name of a variable whose value is taken from the environment of whoever runs the step."""
    variable_name(text)
    if text in SET_VARIABLES:
        raise ValueError(f"{text} is set by repro for every step, and is no secret")


def word(text: str) -> str:
    """Return a word or a variable's value that a program will be started with, if it can be passed to one."""
    if "\0" in text:
        raise ValueError("a NUL character cannot be passed to a program")
    return text


def suite(text: str) -> None:
    """Check the name of a Debian suite."""
    if not _SUITE.match(text):
        raise ValueError(f'expected the name of a Debian suite such as "bookworm", found "{text}"')


def debian_package(text: str) -> None:
    """Check the name of a Debian package. Source: Debian Policy, 5.6.1."""
    if not _DEBIAN_PACKAGE.match(text):
        raise ValueError(f'"{text}" is not the name of a Debian package such as "libgomp1"; versions go into the lock')


def image(text: str) -> None:
    """Check a reference to an image, as people write it."""
    ImageReference.parse(text)


def glibc(text: str) -> None:
    """Check a version of the GNU C library, without a patch version because it has none."""
    if not _GLIBC.match(text):
        raise ValueError(f'expected a version of glibc such as "2.39", found "{text}"')


def full_python(text: str) -> None:
    """Check an interpreter's full version."""
    if not _FULL_PYTHON.match(text):
        raise ValueError(f'expected a full version such as "3.12.3", found "{text}"')


def mirror(text: str) -> None:
    """Check the URL of a Debian archive's root."""
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https", "file"} or not (parts.netloc or parts.scheme == "file"):
        raise ValueError('expected a URL such as "https://deb.debian.org/debian"')
    if "@" in parts.netloc:
        raise ValueError("expected a URL without user name and password: put those into ~/.netrc")


def _check_path(text: str) -> None:
    if not text:
        raise ValueError("expected a path, found an empty string")
    if _CONTROL.search(text):
        raise ValueError(f"{text!r} holds a control character")
    if text.startswith("/"):
        raise ValueError(f'"{text}" is absolute: paths are relative to the project')


def printable(text: str) -> None:
    """Check a word that is written into files and messages."""
    if not text or _CONTROL.search(text):
        raise ValueError("expected a word without control characters")


def data_uri(text: str) -> None:
    """Check the address of data, which goes into the lock: it names a scheme and holds no credential."""
    printable(text)
    try:
        parts = urlsplit(text)
        password = parts.password
    except ValueError:
        raise ValueError('expected an address such as "s3://bucket/raw/" or "https://example.org/raw.csv"') from None
    if not _SCHEME.match(text):
        raise ValueError('expected an address with its scheme, such as "s3://bucket/raw/" or "hf://datasets/org/name"')
    if password is not None or (parts.username is not None and not parts.scheme.endswith("ssh")):
        raise ValueError("expected an address without user name and password: put those into ~/.netrc")
    for name, _value in parse_qsl(parts.query, keep_blank_values=True):
        if _SECRET_NAME.search(name):
            raise ValueError(f'"{name}" looks like a credential, and this address is written to the lock')


def option_name(text: str) -> None:
    """Check the name of an option of a data source, whose value goes into the lock."""
    if not _OPTION.match(text):
        raise ValueError("expected a name of lower-case letters, digits, - and _")
    if _SECRET_NAME.search(text):
        raise ValueError("looks like a credential, and options are written to the lock: put it into the environment")
