"""The Python indexes that a user has configured for uv: variables, the project's files, the user's and the system's.

uv resolves with them by itself. This program needs them for two things more: the credentials for their hosts, and
asking them for a locked wheel whose URL has failed. Source: https://docs.astral.sh/uv/concepts/configuration-files/
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from repro_env.edges.credentials import Index, environment_indexes

PYPI = "https://pypi.org/simple"


def configured_indexes(project: Path, environ: Mapping[str, str]) -> list[Index]:
    """Return the indexes for a project, the most preferred first, each URL once; PyPI where nothing replaces it.

    `project` is an absolute directory. A file that cannot be read or is not TOML counts as absent: it is uv that will
    say so.
    """
    found = [replace(index, url=_url(index.url, project)) for index in environment_indexes(environ)]
    replaced = bool(environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or environ.get("UV_NO_INDEX"))
    for directory, settings in _settings(project, environ):
        for table in (settings, _table(settings, "pip")):
            found += _indexes(table, directory)
            replaced = replaced or _replaces_pypi(table)
    if not replaced:
        found.append(Index(url=PYPI))
    return list({(index.url, index.flat): index for index in reversed(found)}.values())[::-1]


def configured_text(key: str, project: Path, environ: Mapping[str, str]) -> str:
    """Return the first text that uv's configuration has for a setting, "" where it has none. Files as above."""
    found = (settings.get(key) for _directory, settings in _settings(project, environ))
    return next((value for value in found if isinstance(value, str)), "")


def _settings(project: Path, environ: Mapping[str, str]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield uv's settings with the directory that paths in them are relative to."""
    if environ.get("UV_CONFIG_FILE"):
        yield _read(Path(environ["UV_CONFIG_FILE"]))
        return
    if environ.get("UV_NO_CONFIG"):
        return
    for directory in (project, *project.parents):
        found = _of_directory(directory)
        if found is not None:
            yield found
            break
    home = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '')}/.config"
    yield _read(Path(home) / "uv" / "uv.toml")
    for system in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"):
        yield _read(Path(system) / "uv" / "uv.toml")
    yield _read(Path("/etc/uv/uv.toml"))


def _of_directory(directory: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """Return a directory's own settings: its `uv.toml`, else `[tool.uv]` of its `pyproject.toml`."""
    if (directory / "uv.toml").is_file():
        return _read(directory / "uv.toml")
    settings = _table(_table(_read(directory / "pyproject.toml")[1], "tool"), "uv")
    return (directory, settings) if settings else None


def _read(path: Path) -> tuple[Path, Mapping[str, Any]]:
    try:
        return path.parent, tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return path.parent, {}


def _indexes(table: Mapping[str, Any], directory: Path) -> Iterator[Index]:
    for index in _list(table, "index"):
        if isinstance(index, dict) and isinstance(index.get("url"), str):
            flat = index.get("format") == "flat"
            yield Index(name=str(index.get("name", "")), url=_url(index["url"], directory), flat=flat)
    for key, flat in (("extra-index-url", False), ("index-url", False), ("find-links", True)):
        value = table.get(key)
        for url in [value] if isinstance(value, str) else _list(table, key):
            if isinstance(url, str):
                yield Index(url=_url(url, directory), flat=flat)


def _replaces_pypi(table: Mapping[str, Any]) -> bool:
    default = any(isinstance(index, dict) and index.get("default") for index in _list(table, "index"))
    return default or bool(table.get("index-url")) or bool(table.get("no-index"))


def _url(text: str, directory: Path) -> str:
    """Return a URL as it is, and a path relative to its file's directory as a `file:` URL."""
    return text if "://" in text or text.startswith("file:") else (directory / text).absolute().as_uri()


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def _list(table: Mapping[str, Any], key: str) -> Iterable[Any]:
    value = table.get(key)
    return value if isinstance(value, list) else ()
