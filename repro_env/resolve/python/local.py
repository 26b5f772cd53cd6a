"""Which packages that a step asks for have their sources here: paths, `file:` URLs, uv's path and workspace sources.

uv resolves them by itself. It has to be told their names, because it builds nothing that was not allowed by name, and
where the members of a workspace stand, because a step's dependencies are given to it outside of the workspace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from repro_env.config.document import DocumentError, read_document
from repro_env.lock.local import METADATA_FILES, declared, strings_of
from repro_env.lock.requirements import requirement_lines
from repro_env.lock.sources import PYPROJECT, PythonInputs
from repro_env.values import normalise_name

_NAMED = re.compile(r"\s*(?P<name>[A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*(?:@\s*(?P<place>[^\s;]+))?")
_BARE = re.compile(r"(?:-e|--editable)?[\s=]*(?P<place>(?:\.{1,2}(?:/|\Z|(?=\[))|/|file:)[^\s;\[]*)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def find_local(inputs: PythonInputs, project: Path) -> dict[str, Path]:
    """Return the directory of each package whose sources are here, by normalised name.

    `project` is the project's directory. Those that other local packages ask for are among them. What cannot be read
    is left out: the resolver says what is wrong with it.
    """
    finder = _Finder()
    sources = _sources(inputs.uv.get(PYPROJECT, {}))
    finder.requirements((*inputs.dependencies, *inputs.group, *_lines(inputs)), sources, project)
    for name, uv in inputs.uv.items():
        if inputs.script and name not in {PYPROJECT, "uv.toml"}:
            finder.requirements(inputs.script, _sources(uv), (project / name).parent)
    for text in _lines(inputs):
        if match := _BARE.match(text):
            finder.unnamed(_directory(match["place"], project))
    return finder.found


class _Finder:
    """Follows requirements to directories, and on to what those ask for."""

    def __init__(self) -> None:
        self.found: dict[str, Path] = {}

    def requirements(self, texts: Iterable[str], sources: Mapping[str, Any], place: Path) -> None:
        """Take requirements that stand in a file in `place`, with the uv sources that go with them."""
        for text in texts:
            match = _NAMED.match(text)
            name = _normalised(match["name"]) if match else ""
            if not match or not name:
                continue
            if match["place"]:
                self.add(name, _directory(match["place"], place))
            for entry in _entries(sources.get(name)):
                if "path" in entry:
                    self.add(name, _directory(str(entry["path"]), place))
                elif entry.get("workspace"):
                    self.add(name, _members(place).get(name))

    def unnamed(self, directory: Path | None) -> None:
        """Take a directory that was given without its package's name."""
        if directory is not None:
            name = _normalised(declared(_text(directory / PYPROJECT), "name") or _setup_cfg_name(directory))
            if name:
                self.add(name, directory)

    def add(self, name: str, directory: Path | None) -> None:
        """Take a package, and what it asks for itself."""
        if name in self.found or directory is None:
            return
        self.found[name] = directory
        document = _document(directory)
        project = document.get("project")
        if isinstance(project, dict):
            tool = document.get("tool")
            uv = tool.get("uv") if isinstance(tool, dict) else None
            extras = project.get("optional-dependencies")
            optional = extras.values() if isinstance(extras, dict) else ()
            named = [text for group in (project.get("dependencies"), *optional) for text in strings_of(group)]
            self.requirements(named, _sources(uv), directory)


def _lines(inputs: PythonInputs) -> list[str]:
    return [line for text in inputs.files.values() for line in requirement_lines(text)]


def _directory(text: str, place: Path) -> Path | None:
    """Return the directory that a path or `file:` URL names, or None where it is no package's directory."""
    if not text.startswith("file:") and _SCHEME.match(text):
        return None
    try:
        path = (place / (unquote(urlsplit(text).path) if text.startswith("file:") else text)).resolve()
    except ValueError:  # no address, or no name that a file could have
        return None
    return path if any((path / name).is_file() for name in METADATA_FILES) else None


def _members(place: Path) -> dict[str, Path]:
    """Return the members of the workspace that a directory belongs to, by name.

    Source: https://docs.astral.sh/uv/concepts/projects/workspaces/
    """
    for root in (place, *place.parents):
        tool = _document(root).get("tool")
        uv = tool.get("uv") if isinstance(tool, dict) else None
        workspace = uv.get("workspace") if isinstance(uv, dict) else None
        if isinstance(workspace, dict):
            found = [
                root,
                *(path for pattern in strings_of(workspace.get("members")) for path in _matching(root, pattern)),
            ]
            named = ((_normalised(declared(_text(path / PYPROJECT), "name")), path.resolve()) for path in found)
            return {name: path for name, path in named if name}
    return {}


def _document(directory: Path) -> dict[str, Any]:
    try:
        return read_document(_text(directory / PYPROJECT))
    except DocumentError:
        return {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _setup_cfg_name(directory: Path) -> str:
    match = re.search(r"^\[metadata\][^\[]*?^name\s*=\s*(\S+)", _text(directory / "setup.cfg"), re.MULTILINE)
    return match[1] if match else ""


def _sources(uv: Any) -> dict[str, Any]:
    """Return `tool.uv.sources`, by normalised name."""
    sources = uv.get("sources") if isinstance(uv, dict) else None
    return {_normalised(name): entry for name, entry in sources.items()} if isinstance(sources, dict) else {}


def _entries(source: Any) -> list[dict[str, Any]]:
    entries = source if isinstance(source, list) else [source]
    return [entry for entry in entries if isinstance(entry, dict)]


def _normalised(name: str) -> str:
    try:
        return normalise_name(name)
    except ValueError:
        return ""


def _matching(root: Path, pattern: str) -> list[Path]:
    try:
        return sorted(root.glob(pattern))
    except (ValueError, NotImplementedError):  # an empty pattern, or an absolute one
        return []
