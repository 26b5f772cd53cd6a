"""Source distributions: what their build depends on, and their files, written where a build can work on them."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from repro_env.errors import IntegrityError
from repro_env.frozen import dataclass
from repro_env.image.tar_reader import BoundedTarInfo

_LARGEST_DOCUMENT = 4 << 20
_LARGEST = 8 << 30
"""Bytes that the files of a source distribution may have together."""

_DAMAGES = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile),
    *(EOFError, ValueError, NotImplementedError, FileExistsError, NotADirectoryError),
)
"""What the standard library raises for archives that are damaged, and for those that contradict themselves."""

_ENCRYPTED = 0x1


def pyproject_of(path: Path, file: str) -> str:
    """Return the text of a source distribution's `pyproject.toml`, empty where it has none.

    `path` is where the archive is and `file` the name it was published with. Source: PyPA specification "Source
    distribution format". Errors: `IntegrityError` when it cannot be read.
    """
    with _opened(path, file) as entries:
        for entry in entries:
            if entry.path == "pyproject.toml" and entry.content is not None:
                return entry.content.read(_LARGEST_DOCUMENT).decode()
    return ""


def unpack_sdist(path: Path, file: str, directory: Path) -> None:
    """Write a source distribution's files below `directory`, which is made, without the directory that holds them.

    Modes are 0644 and 0755. Errors: `IntegrityError` when it is damaged, when a name leads out of it, or when it
    unpacks to more than 8 GiB; links out of it are left out.
    """
    directory.mkdir()
    left = _LARGEST
    with _opened(path, file) as entries:
        for entry in entries:
            target = directory / os.fsdecode(entry.path.encode("utf-8", "surrogateescape"))
            source = None if entry.content is not None else _linked(entry.link, target, directory)
            left -= source.stat().st_size if source is not None else entry.size
            if left < 0:
                raise IntegrityError(f"{file} unpacks to more than {_LARGEST >> 30} GiB")
            _write(entry, target, source)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file, or link where `content` is None. `path` is below the archive's one directory."""

    path: str
    size: int
    executable: bool
    content: IO[bytes] | None
    link: str = ""


def _linked(link: str, target: Path, directory: Path) -> Path | None:
    """Return the file that a link at `target` leads to, None for one that is not there or stands outside."""
    source = (target.parent / link).resolve()
    inside = source.is_relative_to(directory.resolve()) and source.is_file()
    return source if inside and not target.exists() else None


def _write(entry: _Entry, target: Path, source: Path | None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if entry.content is not None:
        with target.open("xb") as stream:
            shutil.copyfileobj(entry.content, stream)
        target.chmod(0o755 if entry.executable else 0o644)
    elif source is not None:
        shutil.copy(source, target)  # a copy: what is written later cannot go through it


@contextlib.contextmanager
def _opened(path: Path, file: str) -> Iterator[Iterator[_Entry]]:
    try:
        if file.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                yield _zip_entries(archive, file)
        else:
            with tarfile.open(path, "r:*", encoding="utf-8", errors="surrogateescape", tarinfo=BoundedTarInfo) as tar:
                yield _tar_entries(tar, file)
    except _DAMAGES as error:
        raise IntegrityError(f"{file} is not a usable source distribution", str(error)) from error


def _tar_entries(archive: tarfile.TarFile, file: str) -> Iterator[_Entry]:
    for member in archive:
        path = _inside(member.name, file)
        executable = bool(member.mode & 0o100)
        if path and member.isreg():
            yield _Entry(path, member.size, executable, archive.extractfile(member))
        elif path and member.issym():
            yield _Entry(path, 0, executable, None, member.linkname)


def _zip_entries(archive: zipfile.ZipFile, file: str) -> Iterator[_Entry]:
    for member in archive.infolist():
        path = _inside(member.filename, file)
        if member.flag_bits & _ENCRYPTED:
            raise IntegrityError(f"{file} is not a usable source distribution", f"{member.filename!r} is encrypted")
        if path and not member.is_dir():
            with archive.open(member) as content:
                yield _Entry(path, member.file_size, bool(member.external_attr >> 16 & 0o100), content)


def _inside(name: str, file: str) -> str:
    """Return a path without the archive's own directory, empty for that. Errors: `IntegrityError` if it leads out."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/") or ".." in parts or "\0" in name or "\\" in name:
        raise IntegrityError(f"{file} is not a usable source distribution", f"{name!r} leads out of it")
    return "/".join(parts[1:])
