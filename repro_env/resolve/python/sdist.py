"""What is inside a source distribution that its build depends on, read without unpacking it."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from pathlib import Path

from repro_env.errors import ResolutionError

_LARGEST = 4 << 20
"""Bytes of a `pyproject.toml` that are read; none is larger."""


def pyproject_of(path: Path, file: str) -> str:
    """Return the text of a source distribution's `pyproject.toml`, empty where it has none.

    `path` is where the archive is and `file` the name it was published with. Source: PyPA specification "Source
    distribution format". Errors: `ResolutionError` when it cannot be read.
    """
    try:
        data = _from_zip(path) if file.endswith(".zip") else _from_tar(path)
        return data.decode()
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, UnicodeDecodeError) as error:
        raise ResolutionError(f"{file} is not a readable source distribution", str(error)) from error


def _from_tar(path: Path) -> bytes:
    with tarfile.open(path, "r:*") as archive:
        for entry in archive:
            if _is_pyproject(entry.name) and entry.isreg() and (stream := archive.extractfile(entry)):
                return stream.read(_LARGEST)
    return b""


def _from_zip(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if _is_pyproject(name):
                with archive.open(name) as stream:
                    return stream.read(_LARGEST)
    return b""


def _is_pyproject(name: str) -> bool:
    top, _, rest = name.removeprefix("./").partition("/")
    return bool(top) and rest == "pyproject.toml"
