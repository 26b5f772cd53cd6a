"""`resolve_base`: what a Debian base as asked for amounts to, on each platform."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from repro_env.config.model import DebianBase
from repro_env.edges.http import Http
from repro_env.edges.report import Reporter
from repro_env.errors import ResolutionError
from repro_env.frozen import dataclass
from repro_env.image.debian.control import Group, Relation
from repro_env.image.debian.version import upstream_version
from repro_env.image.store import Store
from repro_env.lock.model import DebianPackage, DebianRoot, DebianSource, LockedBase
from repro_env.resolve.debian.archive import Archive, Mirrors, suites_of
from repro_env.resolve.debian.package import BinaryPackage
from repro_env.resolve.debian.solve import solve
from repro_env.resolve.debian.universe import Universe
from repro_env.values import Digest, Platform, PythonVersion

STANDARD = (
    # A root filesystem that programs recognise: directories, users, protocols, media types, time zones, terminals.
    *("base-files", "base-passwd", "netbase", "media-types", "tzdata", "ncurses-base"),
    # A shell and the tools that people's scripts take for granted.
    *("dash", "bash", "coreutils", "findutils", "grep", "sed", "gzip", "tar", "hostname"),
    # What PEP 600 lets a manylinux wheel expect of the system, graphics and glib apart.
    *("libc6", "libc-bin", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libcrypt1", "libatomic1"),
    # TLS.
    "ca-certificates",
)
"""What every base holds, with all that it depends on."""

_NO_DISTUTILS = 12
"""The minor version of Python from which on the standard library has no distutils (PEP 632)."""

_PYTHON = re.compile(r"python3\.([0-9]+)\Z")


def resolve_base(
    base: DebianBase,
    platforms: Sequence[Platform],
    *,
    pythons: Collection[PythonVersion],
    http: Http,
    store: Store,
    report: Reporter,
    now: datetime,
    mirrors: Mirrors | None = None,
    previous: LockedBase | None = None,
    upgrade: bool = False,
) -> LockedBase:
    """Return the packages of a base on each platform, every one pinned.

    `pythons` are the interpreters that steps on this base ask for; the suite's own is in the base if it is one of them.
    `now` is the time in UTC that releases must be valid
    at. `mirrors` are the user's; the base's own mirror goes before theirs. With `previous` and without `upgrade`,
    packages are chosen from the indexes that were pinned, so that nothing moves which was not asked to; where such an
    index can be had nowhere, the current one is used and a pinned version is kept if that still has it.
    Errors: `ResolutionError`, `FetchError`, `IntegrityError`, `StoreError`.
    """
    archive = Archive(
        http=http, store=store, report=report, mirrors=(mirrors or Mirrors()).with_main(base.mirror), now=now
    )
    kept = previous if previous is not None and previous.suite == base.debian and not upgrade else None
    roots = {}
    for platform in platforms:
        pinned = kept.roots.get(platform) if kept else None
        indexes = _indexes(base, platform, archive, pinned if isinstance(pinned, DebianRoot) else None)
        roots[platform] = _root(base, platform, indexes, pythons)
    return LockedBase(name=base.name, suite=base.debian, roots=roots)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Indexes:
    """What a root is chosen from: sources with the text of each, where it is, and versions to prefer."""

    sources: tuple[DebianSource, ...]
    texts: tuple[bytes, ...]
    urls: tuple[str, ...]
    preferred: Mapping[str, str]


def _indexes(base: DebianBase, platform: Platform, archive: Archive, pinned: DebianRoot | None) -> _Indexes:
    before = {source.suite: source for source in pinned.sources} if pinned else {}
    sources, texts, urls = [], [], []
    preferred: dict[str, str] = {}
    for suite in suites_of(base.debian, archive.mirrors):
        source = before.get(suite.name)
        text = archive.pinned(source, suite, platform) if source else None
        if source is None or text is None:
            if source is not None and pinned is not None:
                archive.report.warn(
                    f"base {base.name}: the index of {suite.name} of {source.date} can be had nowhere any more; "
                    "choosing from the current one, with pinned versions where it still has them"
                )
                preferred = {package.name: package.version for package in pinned.packages}
            source, text = archive.current(suite, platform)
        sources.append(source)
        texts.append(text)
        urls.append(source.url.rstrip("/"))
    return _Indexes(sources=tuple(sources), texts=tuple(texts), urls=tuple(urls), preferred=preferred)


def _root(base: DebianBase, platform: Platform, indexes: _Indexes, pythons: Collection[PythonVersion]) -> DebianRoot:
    universe = Universe(indexes.texts, platform.debian, indexes.preferred)
    asker = f"base {base.name}"
    own = _own_interpreter(universe)
    python = own if own in pythons else None
    standard = solve(universe, [(Relation(name),) for name in _standard(universe, python)], fixed={}, asker=asker)
    whole = solve(universe, _wishes(base, universe), fixed=standard, asker=asker)
    return DebianRoot(
        glibc=upstream_version(whole["libc6"].version),
        python=_full_version(whole[f"python{python}"]) if python else "",
        sources=indexes.sources,
        packages=tuple(
            sorted(_pinned(package, indexes, extra=package.name not in standard) for package in whole.values())
        ),
    )


def _standard(universe: Universe, python: PythonVersion | None) -> tuple[str, ...]:
    """Return the names of the standard set in this suite, with its interpreter if that is wanted."""
    if python is None:
        return STANDARD
    compatibility = "python3-distutils" if python.minor < _NO_DISTUTILS else ""
    return (*STANDARD, "python3", *([compatibility] if compatibility and universe.candidate(compatibility) else []))


def _own_interpreter(universe: Universe) -> PythonVersion | None:
    """Return which python3.N the suite's `python3` stands for, if it has one."""
    package = universe.candidate("python3")
    for group in package.depends if package else ():
        match = _PYTHON.match(group[0].name)
        if match:
            return PythonVersion(int(match[1]))
    return None


def _full_version(package: BinaryPackage) -> str:
    return upstream_version(package.version).partition("+")[0].partition("~")[0]


def _wishes(base: DebianBase, universe: Universe) -> list[Group]:
    """Return the user's own packages as wishes; a virtual one must leave no choice. Errors: `ResolutionError`."""
    wishes: list[Group] = []
    for name in base.packages:
        relation = Relation(name)
        options = universe.options(relation)
        if len(options) > 1 and options[0].name != name:
            raise ResolutionError(
                f"base {base.name}: {name} is not one package",
                f"it is provided by {', '.join(package.name for package in options)}",
                "name one of these",
            )
        wishes.append((relation,))
    return wishes


def _pinned(package: BinaryPackage, indexes: _Indexes, *, extra: bool) -> DebianPackage:
    return DebianPackage(
        name=package.name,
        version=package.version,
        architecture=package.architecture,
        url=f"{indexes.urls[package.source]}/{package.filename}",
        sha256=Digest(package.sha256),
        size=package.size,
        extra=extra,
    )
