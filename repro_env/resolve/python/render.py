"""What uv is given: the files written for it and the words of its command line. Pure.

The user's own uv configuration stays in charge. uv finds `uv.toml` or `[tool.uv]` of the project by itself, because it
runs in the project's directory; a dependency group is read from the user's `pyproject.toml` itself. A list of
dependencies gets a `pyproject.toml` of its own with the user's sources and indexes, and so does a script's header,
whose other settings are passed as options.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import tomlkit

from repro_env.frozen import dataclass
from repro_env.lock.model import SourcePackage, Wheel
from repro_env.lock.sources import PYPROJECT, UV_CONFIG
from repro_env.resolve.python.request import StepRequest
from repro_env.resolve.python.target import uv_platform
from repro_env.values import normalise_name

OUTPUT = "pylock.toml"
TORCH = "torch-index"
STEP_PROJECT, SCRIPT_PROJECT = "repro-this-step", "repro-this-script"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_DIRECT = re.compile(r"(?P<name>[^@;]+)@\s*(?P<place>[^\s;]+)(?P<rest>.*)\Z", re.DOTALL)
_ALWAYS = (
    "--only-binary=:all:",
    "--no-universal",
    "--generate-hashes",
    "--format=pylock.toml",
    "--no-header",
    "--quiet",
)
_SCRIPT_OPTIONS = ("index-strategy", "prerelease", "resolution", "exclude-newer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """`files` to write below the directory of one resolution, and uv's `arguments` after `uv`."""

    files: Mapping[str, str]
    arguments: tuple[str, ...]


def asks_for_anything(request: StepRequest) -> bool:
    """Whether there is something to resolve at all."""
    inputs = request.inputs
    return bool(inputs.dependencies or inputs.group or inputs.script or inputs.roots)


def render(
    request: StepRequest,
    *,
    project: Path,
    directory: Path,
    upgrade: bool,
    upgrade_packages: Iterable[str],
    local: Mapping[str, Path] = MappingProxyType({}),
    torch: Mapping[str, str] | None = None,
) -> Rendering:
    """Return what to write into `directory` and how to call uv, whose working directory is `project`.

    `local` are the directories of packages that have their sources here, by name. `torch` are the pages of a mirror's
    index for PyTorch's packages, by name; without them uv's own index of the request's backend counts.
    Errors: `ResolutionError` for a base that no wheel fits.
    """
    known: tuple[Wheel | SourcePackage, ...] = (*request.previous, *request.previous_sources)
    files = {OUTPUT: preferences(known)} if known and not upgrade else {}
    arguments = [
        *("pip", "compile", *_ALWAYS),
        *(f"--no-binary={name}" for name in sorted({*request.build, *local})),
        f"--python-version={request.interpreter or request.python}",
        f"--python-platform={uv_platform(request)}",
        f"--output-file={directory / OUTPUT}",
        *(["--upgrade"] if upgrade else []),
        *(f"--upgrade-package={name}" for name in sorted(upgrade_packages)),
        *_torch_options(request, directory, mirrored=torch is not None),
        *(f"--group={PYPROJECT}:{request.group}" for _ in request.inputs.group[:1]),
        *(f"./{name}" for name in request.inputs.roots),
    ]
    files |= {f"{TORCH}/{name}/index.html": page for name, page in (torch or {}).items()}
    if request.inputs.dependencies:
        files["step/pyproject.toml"] = _step_project(request, project, local)
        arguments.append(str(directory / "step" / PYPROJECT))
    if request.inputs.script:
        files |= _script_files(request, project, local)
        arguments += [*_script_options(request, project, directory), str(directory / "script" / PYPROJECT)]
    return Rendering(files=files, arguments=tuple(arguments))


def _torch_options(request: StepRequest, directory: Path, *, mirrored: bool) -> Iterator[str]:
    """Yield the option that lets PyTorch's packages, and no others, come from the index of the step's backend.

    An index that goes before the others, and holds no page of another package, is as good as uv's own mechanism, which
    knows no mirror.
    """
    if request.torch_backend:
        pages = (directory / TORCH).as_uri()
        yield f"--index={TORCH}={pages}" if mirrored else f"--torch-backend={request.torch_backend}"


def preferences(wheels: Iterable[Wheel | SourcePackage]) -> str:
    """Return a `pylock.toml` of these versions, which uv keeps where they still satisfy what is asked for."""
    packages = [{"name": wheel.name, "version": wheel.version} for wheel in wheels]
    return tomlkit.dumps({"lock-version": "1.0", "created-by": "repro", "packages": packages})


def _step_project(request: StepRequest, project: Path, local: Mapping[str, Path]) -> str:
    pyproject = request.inputs.uv.get(PYPROJECT, {})
    indexes = [*pyproject.get("index", ()), *request.inputs.uv.get(UV_CONFIG, {}).get("index", ())]
    sources = _located(pyproject.get("sources", {}), local)
    return _project(STEP_PROJECT, request.inputs.dependencies, sources, indexes, project)


def _script_files(request: StepRequest, project: Path, local: Mapping[str, Path]) -> dict[str, str]:
    uv = _script_uv(request)
    place = project / posixpath.dirname(request.script)
    sources = _located(uv.get("sources", {}), local)
    text = _project(SCRIPT_PROJECT, request.inputs.script, sources, uv.get("index", ()), place)
    files = {"script/pyproject.toml": text}
    for key, file in (("constraint-dependencies", "constraints.txt"), ("override-dependencies", "overrides.txt")):
        if uv.get(key):
            files[f"script/{file}"] = "".join(f"{line}\n" for line in uv[key])
    return files


def _script_options(request: StepRequest, project: Path, directory: Path) -> Iterator[str]:
    """Yield the options that say what the script's own `[tool.uv]` says."""
    uv = _script_uv(request)
    place = project / posixpath.dirname(request.script)
    for index in uv.get("index", ()):
        yield from _index_option(index, place)
    yield from (f"--find-links={absolute(one, place)}" for one in uv.get("find-links", ()))
    if uv.get("no-index"):
        yield "--no-index"
    yield from (f"--{key}={uv[key]}" for key in _SCRIPT_OPTIONS if key in uv)
    if uv.get("constraint-dependencies"):
        yield f"--constraints={directory / 'script' / 'constraints.txt'}"
    if uv.get("override-dependencies"):
        yield f"--overrides={directory / 'script' / 'overrides.txt'}"


def _index_option(index: Mapping[str, Any], place: Path) -> Iterator[str]:
    url = absolute(str(index.get("url", "")), place)
    if index.get("explicit"):
        return  # only for the sources that name it
    if index.get("format") == "flat":
        yield f"--find-links={url}"
    else:
        option = "--default-index" if index.get("default") else "--index"
        yield f"{option}={index['name']}={url}" if "name" in index else f"{option}={url}"


def _script_uv(request: StepRequest) -> Mapping[str, Any]:
    found: Mapping[str, Any] = request.inputs.uv.get(request.script, {})
    return found


def _project(
    name: str, dependencies: Iterable[str], sources: Mapping[str, Any], indexes: Iterable[Any], place: Path
) -> str:
    uv = {
        "sources": {package: _sources(source, place) for package, source in sources.items()},
        "index": [{**index, "url": absolute(str(index.get("url", "")), place)} for index in indexes],
    }
    document = {
        "project": {
            "name": name,
            "version": "0",
            "dependencies": [_absolute_requirement(one, place) for one in dependencies],
        },
        "tool": {"uv": {key: value for key, value in uv.items() if value}},
    }
    return tomlkit.dumps(document)


def _located(sources: Mapping[str, Any], local: Mapping[str, Path]) -> dict[str, Any]:
    """Return uv's sources with members of a workspace as paths: the project made for uv is not in the workspace."""

    def located(name: str, entry: Any) -> Any:
        place = local.get(normalise_name(name))
        if isinstance(entry, dict) and entry.get("workspace") and place is not None:
            return {**{key: value for key, value in entry.items() if key != "workspace"}, "path": str(place)}
        return entry

    return {
        name: [located(name, one) for one in source] if isinstance(source, list) else located(name, source)
        for name, source in sources.items()
    }


def _sources(source: Any, place: Path) -> list[dict[str, Any]]:
    """Return a package's sources with absolute paths, but those of an extra or a group: none is asked for here."""
    entries = source if isinstance(source, list) else [source]
    unconditional = [entry for entry in entries if "extra" not in entry and "group" not in entry]
    return [{**entry, **_absolute_path(entry, place)} for entry in unconditional]


def _absolute_path(entry: Mapping[str, Any], place: Path) -> dict[str, str]:
    return {"path": absolute(str(entry["path"]), place)} if "path" in entry else {}


def _absolute_requirement(text: str, place: Path) -> str:
    """Return a requirement whose direct reference, if it is a relative path, is a `file:` URL."""
    match = _DIRECT.match(text)
    if not match or _SCHEME.match(match["place"]):
        return text
    return f"{match['name']}@ file://{quote(absolute(match['place'], place))}{match['rest']}"


def absolute(text: str, place: Path) -> str:
    """Return a URL as it is and a path made absolute, relative to `place`."""
    return text if _SCHEME.match(text) else posixpath.normpath(posixpath.join(str(place), text))
