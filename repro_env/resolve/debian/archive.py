"""Debian's archives: where they are, which suites a base is made from, and how their indexes are had."""

from __future__ import annotations

import contextlib
import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from repro_env.edges.http import Http, NotFoundError
from repro_env.edges.report import Reporter
from repro_env.errors import FetchError, IntegrityError, ResolutionError
from repro_env.image.store import Store
from repro_env.lock.model import DebianPackage, DebianSource
from repro_env.resolve.debian.release import Release, check_current, parse_snapshot_date, read_release
from repro_env.values import Digest, Platform, strip_credentials

COMPONENT = "main"
_RELEASE_LIMIT = 4 << 20
_ROLLING = frozenset({"sid", "unstable"})
_SNAPSHOT_LAG = (timedelta(hours=6), timedelta(hours=30), timedelta(0))
"""How long after a release's own date to look in the snapshot archive, which takes its pictures four times a day: the
first picture that holds a release is some hours younger than it. A picture before the asked time is what one gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrors:
    """Where Debian's archives are.

    `snapshot` is a template of `{archive}` (`debian`, `debian-security`) and `{date}`.
    """

    main: str = "http://deb.debian.org/debian"
    security: str = "http://deb.debian.org/debian-security"
    snapshot: str = "https://snapshot.debian.org/archive/{archive}/{date}/"

    def with_main(self, url: str) -> Mirrors:
        """Return these with another main archive; an empty URL changes nothing."""
        return replace(self, main=url) if url else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One suite of one archive: `bookworm-security` below `http://deb.debian.org/debian-security`."""

    name: str
    url: str
    archive: str

    @property
    def release_url(self) -> str:
        """Where its signed list of indexes is."""
        return f"{self.url}/dists/{self.name}/InRelease"


def suites_of(name: str, mirrors: Mirrors) -> tuple[Suite, ...]:
    """Return what a base of suite `name` is chosen from: the suite, its updates and its security updates."""
    main, security = mirrors.main.rstrip("/"), mirrors.security.rstrip("/")
    own = Suite(name=name, url=main, archive="debian")
    if name in _ROLLING:
        return (own,)
    updates = Suite(name=f"{name}-updates", url=main, archive="debian")
    return own, updates, Suite(name=f"{name}-security", url=security, archive="debian-security")


def snapshot_urls(package: DebianPackage, sources: Sequence[DebianSource], template: str) -> list[str]:
    """Return where the snapshot archive has a `.deb` that is gone from its mirror, likeliest first.

    `sources` are those of the root it is in; `template` is as in `Mirrors`. The hash in the lock decides whether what
    is found there is it.
    """
    own = [source for source in sources if package.url.startswith(source.url.rstrip("/") + "/")]
    found = []
    for source in sorted(own or sources, key=lambda source: source.date, reverse=True):
        path = _pool_path(package.url, source.url)
        found += [base + path for base in _pictures(template, archive_of(source.suite), source.date)]
    return list(dict.fromkeys(found))


def archive_of(suite: str) -> str:
    """Return the snapshot archive's name of the archive that a suite is in."""
    return "debian-security" if suite.endswith("-security") else "debian"


def _pool_path(url: str, root: str) -> str:
    prefix = root.rstrip("/") + "/"
    return url.removeprefix(prefix) if url.startswith(prefix) else "pool/" + url.partition("/pool/")[2]


def _pictures(template: str, archive: str, date: str) -> Iterator[str]:
    """Yield the roots of the pictures of an archive that may hold what a release of `date` listed."""
    moment = parse_snapshot_date(date)
    for lag in _SNAPSHOT_LAG:
        url = template.format(archive=archive, date=(moment + lag).strftime("%Y%m%dT%H%M%SZ"))
        yield url.rstrip("/") + "/"


@dataclass(slots=True, kw_only=True)
class Archive:
    """Downloads releases and indexes, each once, verified, and keeps them in the store."""

    http: Http
    store: Store
    report: Reporter
    mirrors: Mirrors
    now: datetime
    _releases: dict[str, Release] = field(default_factory=dict)

    def release(self, suite: Suite) -> Release:
        """Return the suite's release of today. Errors: `FetchError`, `IntegrityError`, `ResolutionError`."""
        if suite.release_url not in self._releases:
            try:
                data = self.http.get(suite.release_url, limit=_RELEASE_LIMIT)
            except NotFoundError as error:
                raise ResolutionError(
                    f"{strip_credentials(suite.url)} has no suite {suite.name}",
                    str(error),
                    'name a suite by its code name, such as debian = "bookworm"; an old one needs a mirror that has it',
                ) from error
            release = read_release(data, place=strip_credentials(suite.release_url), codename=suite.name)
            check_current(release, place=strip_credentials(suite.release_url), now=self.now)
            self.store.add(data)
            self._releases[suite.release_url] = release
        return self._releases[suite.release_url]

    def current(self, suite: Suite, platform: Platform) -> tuple[DebianSource, bytes]:
        """Return the index of today. Errors: as `release`, and `ResolutionError` for an unknown architecture."""
        release = self.release(suite)
        path = _index_path(platform)
        if path not in release.files:
            raise ResolutionError(f"{suite.name} has no packages for {platform}")
        source = DebianSource(
            url=strip_credentials(suite.url),
            suite=suite.name,
            component=COMPONENT,
            date=release.snapshot,
            release=release.digest,
            index=release.files[path].sha256,
        )
        if self.store.has(source.index, release.files[path].size):
            return source, self.store.read(source.index)
        return source, self._download(suite.url, suite.name, release, platform)

    def pinned(self, source: DebianSource, suite: Suite, platform: Platform) -> bytes | None:
        """Return the index that a lock pins, from wherever it can still be had, or None."""
        if self.store.has(source.index):
            return self.store.read(source.index)
        for root, release in self._releases_with(source, suite, platform):
            try:
                return self._download(root, source.suite, release, platform)
            except (FetchError, IntegrityError):
                continue  # the next place may have it; the caller says so if none has
        return None

    def _releases_with(self, source: DebianSource, suite: Suite, platform: Platform) -> Iterator[tuple[str, Release]]:
        """Yield the releases, and the archive roots they are found at, that list the pinned index."""
        path = _index_path(platform)
        for root, release in self._known_releases(source, suite):
            if path in release.files and release.files[path].sha256 == source.index:
                yield root, release

    def _known_releases(self, source: DebianSource, suite: Suite) -> Iterator[tuple[str, Release]]:
        if self.store.has(source.release):
            kept = self.store.read(source.release)
            yield suite.url, read_release(kept, place="the release in the store", codename=source.suite)
        with contextlib.suppress(ResolutionError, IntegrityError):  # a mirror may have moved an old suite away
            yield suite.url, self.release(suite)
        for root in _pictures(self.mirrors.snapshot, suite.archive, source.date):
            place = f"{root}dists/{source.suite}/InRelease"
            try:
                data = self.http.get(place, limit=_RELEASE_LIMIT)
                yield root.rstrip("/"), read_release(data, place=strip_credentials(place), codename=source.suite)
            except (FetchError, IntegrityError):
                continue  # as above

    def _download(self, root: str, suite: str, release: Release, platform: Platform) -> bytes:
        """Return an index that `release` lists, checked, and keep it in the store.

        Errors: `FetchError`, `IntegrityError`.
        """
        plain = _index_path(platform)
        title = f"index of {suite} for {platform}"
        data = self.listed(root, suite, release, f"{plain}.xz", title=title)
        index = _unpack(data, release.files[plain].size, suite)
        if self.store.add(index) != release.files[plain].sha256:
            raise IntegrityError(f"the index of {suite} unpacks to other bytes than its release names")
        return index

    def listed(self, root: str, suite: str, release: Release, path: str, *, title: str) -> bytes:
        """Return a file that `release` lists at `path`, checked. Errors: `FetchError`, `IntegrityError`."""
        listed = release.files.get(path)
        if listed is None:
            raise IntegrityError(f"{strip_credentials(root)}: the release of {suite} lists no {path}")
        plain = f"{root}/dists/{suite}/{path}"
        named = f"{plain.rpartition('/')[0]}/by-hash/SHA256/{listed.sha256.hex}"
        with self.report.task(title, listed.size) as task:
            try:
                data = self.http.get(named if release.by_hash else plain, limit=listed.size)
            except NotFoundError:
                data = self.http.get(plain, limit=listed.size)
            task.advance(len(data))
        if Digest.of(data) != listed.sha256:
            raise IntegrityError(
                f"{strip_credentials(root)}: {path} of {suite} is not the one its release names",
                f"expected {listed.sha256}, got {Digest.of(data)}",
                "the mirror may be in the middle of an update: try again in some minutes",
            )
        return data


def _index_path(platform: Platform) -> str:
    return f"{COMPONENT}/binary-{platform.debian}/Packages"


def _unpack(data: bytes, size: int, suite: str) -> bytes:
    """Return an xz file's content, of at most the declared size."""
    unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_XZ)
    try:
        index = unpacker.decompress(data, max_length=size + 1)
    except lzma.LZMAError as error:
        raise IntegrityError(f"the index of {suite} is damaged", str(error)) from error
    if len(index) != size or not unpacker.eof:
        raise IntegrityError(f"the index of {suite} does not unpack to the {size} bytes its release names")
    return index
