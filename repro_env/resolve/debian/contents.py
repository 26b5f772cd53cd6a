"""Which package of a suite has a shared library: from the suite's own list of every file in every package.

The list of Debian's main archive is 150 MB of text, of which the libraries that the dynamic linker finds by name are a
hundredth. So it is read once, as it is unpacked, and only these are kept.
Source: the Debian wiki's repository format, section "Contents indices".
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from repro_env.errors import IntegrityError
from repro_env.frozen import dataclass
from repro_env.image.store import Store
from repro_env.lock.model import DebianRoot
from repro_env.resolve.debian.archive import COMPONENT, Archive, suites_of
from repro_env.resolve.debian.universe import Universe
from repro_env.values import Platform

_KIND = "debian-contents-1"
_PIECE = 1 << 20
_LONGEST_LINE = 1 << 20
_DEVELOPMENT = ("libdevel", "debug", "devel")
"""Sections whose packages nobody needs at run time: an unversioned `libx.so` in one is the compiler's link."""


@dataclass(frozen=True, slots=True)
class LibraryPackages:
    """Which packages have libraries: `names` maps library to package, `brings` a package to those it depends on.

    Of the latter only packages that `names` holds are there.
    """

    names: Mapping[str, str]
    brings: Mapping[str, Sequence[str]]


def library_packages(
    archive: Archive, suite: str, root: DebianRoot, platform: Platform, libraries: Iterable[str]
) -> LibraryPackages:
    """Return which packages of the suite have these libraries, those that none has left out.

    Errors: `FetchError`, `IntegrityError`, `ResolutionError`, `StoreError`.
    """
    every = _libraries_of_suite(archive, suite, platform)
    names = {library: every[library] for library in libraries if library in every}
    packages = set(names.values())
    if len(packages) <= 1:
        return LibraryPackages(names, {})
    indexes = [archive.store.read(source.index) for source in root.sources if archive.store.has(source.index)]
    universe = Universe(indexes, platform.debian)
    brings = {package: sorted(_dependencies(package, universe) & packages - {package}) for package in sorted(packages)}
    return LibraryPackages(names, {package: brought for package, brought in brings.items() if brought})


def _libraries_of_suite(archive: Archive, suite: str, platform: Platform) -> Mapping[str, str]:
    """Return every library of the suite itself, whose updates bring no new ones, and its package."""
    own = suites_of(suite, archive.mirrors)[0]
    release = archive.release(own)
    path = f"{COMPONENT}/Contents-{platform.debian}"
    listed = release.files.get(f"{path}.gz")
    key = listed.sha256.hex if listed else ""
    known = _recall(archive.store, key)
    if known is None:
        title = f"list of files in {suite} for {platform}"
        data = archive.listed(own.url, suite, release, f"{path}.gz", title=title)
        limit = release.files[path].size if path in release.files else 64 * len(data)
        known = read_contents(_lines(data, limit, suite), platform)
        archive.store.remember(_KIND, key, known)
    return known


def _recall(store: Store, key: str) -> Mapping[str, str] | None:
    known = store.recall(_KIND, key)
    return known if isinstance(known, dict) else None


def _lines(data: bytes, limit: int, suite: str) -> Iterator[bytes]:
    """Yield an index's text in pieces of whole lines, never more than `limit` bytes in all."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    rest, packed, left = b"", data, limit
    while packed and not unpacker.eof:
        try:
            piece = unpacker.decompress(packed, _PIECE)
        except zlib.error as error:
            raise IntegrityError(f"the list of files in {suite} is damaged", str(error)) from error
        left -= len(piece)
        packed = unpacker.unconsumed_tail
        whole, end, rest = (rest + piece).rpartition(b"\n")
        if left < 0 or len(rest) > _LONGEST_LINE:
            raise IntegrityError(f"the list of files in {suite} does not unpack to what its release names")
        yield whole + end
    yield rest


def read_contents(pieces: Iterable[bytes], platform: Platform) -> dict[str, str]:
    """Return library name to package, of the files in the directories where the linker looks by default."""
    places = re.compile(
        rb"^(?:usr/)?lib/(%s/)?([^/\s]+\.so(?:\.[^/\s]*)?)[ \t]+(\S+)$" % platform.multiarch.encode(), re.MULTILINE
    )
    best: dict[str, tuple[bool, bool, int, str]] = {}
    for piece in pieces:
        for folder, name, owners in places.findall(piece):
            library = name.decode(errors="replace")
            for owner in owners.decode(errors="replace").split(","):
                section, _, package = owner.rpartition("/")
                section = section.rpartition("/")[2]
                if section not in _DEVELOPMENT:
                    rank = (not folder, section != "libs", len(package), package)
                    best[library] = min(best.get(library, rank), rank)
    return {library: rank[-1] for library, rank in sorted(best.items())}


def _dependencies(package: str, universe: Universe) -> set[str]:
    """Return the names that a package depends on, directly or not, taking the first of alternatives."""
    found: set[str] = set()
    waiting: list[str] = [package]
    while waiting:
        candidate = universe.candidate(waiting.pop())
        groups: Sequence[str] = [group[0].name for group in candidate.depends] if candidate else ()
        waiting += [name for name in groups if name not in found]
        found.update(groups)
    return found
