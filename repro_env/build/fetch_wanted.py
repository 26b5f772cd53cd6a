"""From a lock to the list of what must be in the store before steps can be built."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from urllib.parse import quote, unquote

from repro_env.build.fetch import Wanted
from repro_env.build.fetch_index import Pages, locate
from repro_env.edges.credentials import Index
from repro_env.edges.python_releases import release_urls
from repro_env.errors import LockError
from repro_env.frozen import dataclass
from repro_env.lock.model import DebianPackage, DebianRoot, Environment, Interpreter, Lock, Root, SourcePackage, Wheel
from repro_env.values import Platform


def no_archive(_package: DebianPackage, _root: DebianRoot) -> Sequence[str]:
    """Return no URL: there is no archive of old packages to ask."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where files may be had besides the URLs in the lock.

    `project` is what relative URLs of the lock are relative to. `indexes` are asked for a wheel whose URL failed.
    `pythons` is the mirror of the releases that interpreters are published in, "" for none.
    `mirrors` maps the beginning of locked Debian URLs to that of a mirror tried first. `archive` gives the URLs of a
    `.deb` that mirrors have dropped.
    """

    project: Path
    indexes: Sequence[Index] = ()
    pythons: str = ""
    mirrors: Mapping[str, str] = field(default_factory=dict)
    archive: Callable[[DebianPackage, DebianRoot], Sequence[str]] = no_archive


def wanted_of_lock(
    lock: Lock, steps: Iterable[str], platform: Platform, *, places: Places, pages: Pages
) -> list[Wanted]:
    """Return every interpreter, wheel and `.deb` that these steps' images are made of on `platform`, each once.

    Errors: `LockError` for a step that the lock does not have on this platform.
    """
    wanted: dict[str, Wanted] = {}
    for name in steps:
        environment, root = _pins(lock, name, platform)
        if environment.archive is not None:
            wanted.setdefault(environment.archive.sha256.hex, wanted_interpreter(environment.archive, places=places))
        for wheel in environment.all_wheels:
            wanted.setdefault(wheel.sha256.hex, wanted_wheel(wheel, places=places, pages=pages))
        for source in environment.sources:
            wanted.setdefault(source.sha256.hex, wanted_wheel(source, places=places, pages=pages))
        if isinstance(root, DebianRoot):
            for package in root.packages:
                wanted.setdefault(package.sha256.hex, wanted_deb(package, root, places=places))
    return list(wanted.values())


def wanted_interpreter(interpreter: Interpreter, *, places: Places) -> Wanted:
    """Return how to fetch a Python that a step brings along: from the configured mirror, else from its publishers."""
    return Wanted(
        digest=interpreter.sha256,
        size=interpreter.size,
        urls=release_urls(interpreter.url, places.pythons),
        label=interpreter.file,
    )


def wanted_wheel(wheel: Wheel | SourcePackage, *, places: Places, pages: Pages) -> Wanted:
    """Return how to fetch a wheel or sources: from the URL, else from an index that has a file of this hash."""
    return Wanted(
        digest=wheel.sha256,
        size=wheel.size,
        urls=(absolute_url(wheel.url, places.project),),
        label=wheel.file,
        further=functools.partial(locate, wheel, places.indexes, pages),
    )


def wanted_deb(package: DebianPackage, root: DebianRoot, *, places: Places) -> Wanted:
    """Return how to fetch a `.deb`: from the configured mirror, its URL, else from the archive of old packages."""
    mirrored = [
        mirror.rstrip("/") + "/" + package.url.removeprefix(beginning).lstrip("/")
        for beginning, mirror in places.mirrors.items()
        if package.url.startswith(beginning)
    ]
    return Wanted(
        digest=package.sha256,
        size=package.size,
        urls=tuple(dict.fromkeys([*mirrored, package.url])),
        label=f"{package.name}_{package.version}_{package.architecture}.deb",
        further=functools.partial(places.archive, package, root),
    )


def absolute_url(url: str, project: Path) -> str:
    """Return a lock's URL as one that can be opened: one without a scheme is a path relative to the project."""
    if "://" in url or url.startswith("file:"):
        return url
    return "file://" + quote(str((project / unquote(url)).resolve()))


def _pins(lock: Lock, name: str, platform: Platform) -> tuple[Environment, Root]:
    try:
        step = lock.steps[name]
        return step.environments[platform], lock.bases[step.base].roots[platform]
    except KeyError:
        raise LockError(
            f"the lock does not pin step {name} on {platform}", hint="run `repro lock` and commit what it writes"
        ) from None
