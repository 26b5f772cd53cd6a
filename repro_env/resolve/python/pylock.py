"""Reading the `pylock.toml` that uv writes (PEP 751), as far as a step's environment goes: one wheel a package."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from repro_env.frozen import dataclass
from repro_env.values import Digest, normalise_name


class PylockError(Exception):
    """What uv wrote is not what PEP 751 and this program expect. The text says where."""


class NoWheelError(Exception):
    """A package was resolved to something that is no wheel for this interpreter and platform."""

    def __init__(self, package: str, found: str) -> None:
        super().__init__(f"{package}: {found}")
        self.package = package
        self.found = found


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One wheel, or source distribution, as uv names it.

    `url` may hold credentials; what the index does not tell is None.
    """

    name: str
    version: str
    file: str
    url: str
    sha256: Digest | None
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A package whose sources are in a directory of this machine."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Pylock:
    """What uv chose, each sorted by name: wheels, source distributions to be built, and directories."""

    wheels: list[Distribution]
    sources: list[Distribution]
    directories: list[Directory]


def parse_pylock(text: str, directory: Path, tags: Mapping[Tag, int], build: Collection[str] = ()) -> Pylock:
    """Return the one wheel of each package, or its sources where `build` names it or a directory has them.

    `directory` is what relative paths are relative to, `tags` those that fit, with their rank. Errors: `NoWheelError`,
    `PylockError`.
    """
    try:
        document = tomllib.loads(text)
        if str(document["lock-version"]).partition(".")[0] != "1":
            raise PylockError(f"lock-version is {document['lock-version']}")
        packages = sorted(document.get("packages", []), key=lambda package: normalise_name(package["name"]))
        local = [package for package in packages if "directory" in package]
        sources = [package for package in packages if _is_source(package, build)]
        wheels = [package for package in packages if package not in local and package not in sources]
        return Pylock(
            wheels=[_distribution(package, directory, tags) for package in wheels],
            sources=[_source(package, directory) for package in sources],
            directories=[_local(package, directory) for package in local],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PylockError(f"{type(error).__name__}: {error}") from error


def _is_source(package: dict[str, Any], build: Collection[str]) -> bool:
    """Whether a package is one to be built from an archive of its sources."""
    archive = package.get("archive")
    file = "" if archive is None else _file_name(archive)
    return normalise_name(package["name"]) in build and ("sdist" in package or file.endswith((".tar.gz", ".zip")))


def _source(package: dict[str, Any], directory: Path) -> Distribution:
    name = normalise_name(package["name"])
    entry = package.get("sdist") or package["archive"]
    if "version" not in package or not _file_name(entry).endswith((".tar.gz", ".zip")):
        raise NoWheelError(name, f"its sources are {_file_name(entry)}, which is no source distribution with a version")
    return _described(name, package["version"], entry, directory)


def _local(package: dict[str, Any], directory: Path) -> Directory:
    entry = package["directory"]
    place = directory / entry["path"] / entry.get("subdirectory", "")
    return Directory(name=normalise_name(package["name"]), path=place.resolve())


def _distribution(package: dict[str, Any], directory: Path, tags: Mapping[Tag, int]) -> Distribution:
    name = normalise_name(package["name"])
    if "vcs" in package:
        raise NoWheelError(name, "it is a repository, which has to be built")
    files = [package["archive"]] if "archive" in package else package.get("wheels", [])
    found = [_file(name, package.get("version"), one, directory) for one in files]
    if not found:
        raise NoWheelError(name, "it has a source distribution only, which has to be built")
    return _best(name, found, tags)


def _file(name: str, version: str | None, entry: dict[str, Any], directory: Path) -> Distribution:
    file = _file_name(entry)
    try:
        of_file = parse_wheel_filename(file)
    except InvalidWheelFilename:
        raise NoWheelError(name, f"{file} is no wheel and has to be built") from None
    return _described(name, version or str(of_file[1]), entry, directory)


def _file_name(entry: dict[str, Any]) -> str:
    place = unquote(urlsplit(entry["url"]).path) if entry.get("url") else str(entry["path"])
    return str(entry.get("name") or place.rpartition("/")[2])


def _described(name: str, version: str, entry: dict[str, Any], directory: Path) -> Distribution:
    sha256 = entry.get("hashes", {}).get("sha256")
    size = entry.get("size")
    return Distribution(
        name=name,
        version=version,
        file=_file_name(entry),
        url=entry.get("url") or _file_url(directory / entry["path"]),
        sha256=Digest(sha256.lower()) if sha256 else None,
        size=int(size) if size is not None else None,
    )


def _file_url(path: Path) -> str:
    return "file://" + quote(str(path.resolve()))


def _best(name: str, found: list[Distribution], tags: Mapping[Tag, int]) -> Distribution:
    ranked = [(rank, one) for one in found if (rank := _rank(one, tags)) is not None]
    if not ranked:
        raise NoWheelError(name, "its wheels are " + ", ".join(sorted(one.file for one in found)))
    return min(ranked, key=lambda pair: (pair[0], pair[1].file))[1]


def _rank(one: Distribution, tags: Mapping[Tag, int]) -> int | None:
    ranks = [tags[tag] for tag in parse_wheel_filename(one.file)[3] if tag in tags]
    return min(ranks, default=None)
