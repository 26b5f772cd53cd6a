"""Whole resolutions against small signed archives on loopback."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from debmaker import ArchiveMaker, Signer, stanza_of
from locks import debian_root
from loopback import Fault, Server, serve

from repro_env.config.model import DebianBase
from repro_env.edges.http_client import HttpClient, Limits
from repro_env.edges.report import Silent
from repro_env.errors import FetchError, IntegrityError, ResolutionError
from repro_env.image.store import Store
from repro_env.lock.model import DebianPackage, DebianSource, LockedBase
from repro_env.resolve.debian import Mirrors, resolve_base, snapshot_urls
from repro_env.resolve.debian import release as release_module
from repro_env.resolve.debian.resolve import STANDARD
from repro_env.values import Digest, Platform, PythonVersion

AMD64, ARM64 = Platform("amd64"), Platform("arm64")
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
INDEX = "/debian/dists/tiny/main/binary-amd64/Packages.xz"


@dataclass(slots=True)
class World:
    """An archive, its security archive and a snapshot archive, served; and the one who asks."""

    root: Path
    server: Server
    store: Store
    signer: Signer
    main: ArchiveMaker = field(init=False)
    security: ArchiveMaker = field(init=False)
    report: Silent = field(default_factory=Silent)

    def __post_init__(self) -> None:
        self.main = ArchiveMaker(self.root / "debian", self.signer)
        self.security = ArchiveMaker(self.root / "debian-security", self.signer)
        self.main.add("tiny", *(stanza_of(name, "1.0-1") for name in STANDARD if name != "libc6"))
        self.main.add("tiny", stanza_of("libc6", "2.36-9"), stanza_of("extra", Depends="helper"), stanza_of("helper"))
        self.main.add("tiny", stanza_of("python3", "3.11.2-1", Depends="python3.11 (>= 3.11.2), libpython3-stdlib"))
        self.main.add("tiny", stanza_of("python3.11", "3.11.2-6+deb12u9"), stanza_of("libpython3-stdlib"))
        self.main.add("tiny", stanza_of("python3-distutils", "3.11.2-3"))
        self.publish()

    def publish(self, date: datetime = NOW, archive: str = "") -> None:
        main = ArchiveMaker(self.root / archive, self.signer, self.main.stanzas) if archive else self.main
        for suite in ("tiny", "tiny-updates"):
            main.publish(suite, date=date, architectures=("amd64", "arm64"))
        if not archive:
            self.security.publish("tiny-security", date=date, architectures=("amd64", "arm64"), valid=timedelta(days=7))

    @property
    def mirrors(self) -> Mirrors:
        url = self.server.url
        return Mirrors(
            main=f"{url}/debian", security=f"{url}/debian-security/", snapshot=f"{url}/archive/{{archive}}/{{date}}/"
        )

    def resolve(
        self,
        *packages: str,
        platforms: tuple[Platform, ...] = (AMD64,),
        python: bool = False,
        previous: LockedBase | None = None,
        upgrade: bool = False,
        suite: str = "tiny",
        mirror: str = "",
        now: datetime = NOW,
    ) -> LockedBase:
        return resolve_base(
            DebianBase(name="slim", debian=suite, packages=packages, mirror=mirror),
            platforms,
            pythons={PythonVersion(11)} if python else (),
            http=HttpClient(environ={}, limits=Limits(attempts=2, pause=0)),
            store=self.store,
            report=self.report,
            now=now,
            mirrors=self.mirrors,
            previous=previous,
            upgrade=upgrade,
        )


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def world(tmp_path: Path, store: Store, signer: Signer, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(release_module, "debian_certificates", lambda: (signer.certificate,))
    with serve(tmp_path) as server:
        yield World(tmp_path, server, store, signer)


def versions(base: LockedBase, platform: Platform = AMD64) -> dict[str, str]:
    return {package.name: package.version for package in debian_root(base, platform).packages}


def test_a_base_is_pinned_whole(world: World) -> None:
    base = world.resolve("extra", python=True, platforms=(AMD64, ARM64))
    root = debian_root(base, AMD64)
    assert (base.name, base.suite, root.glibc, root.python) == ("slim", "tiny", "2.36", "3.11.2")
    assert [package.name for package in root.packages] == sorted(package.name for package in root.packages)
    assert {package.name for package in root.packages if package.extra} == {"extra", "helper"}
    assert set(STANDARD) | {"python3", "python3.11", "python3-distutils"} < set(versions(base))
    assert [(source.suite, source.date) for source in root.sources] == [
        ("tiny", "20261120T120000Z"),
        ("tiny-updates", "20261120T120000Z"),
        ("tiny-security", "20261120T120000Z"),
    ]
    package = next(package for package in root.packages if package.name == "libc6")
    assert package.url == f"{world.server.url}/debian/pool/main/libc6_2.36-9.deb"
    assert package.sha256 == Digest.of(b"libc6 2.36-9")
    assert package.size == len(b"libc6 2.36-9")
    assert set(base.roots) == {AMD64, ARM64}


def test_without_python_none_is_there(world: World) -> None:
    base = world.resolve()
    assert base.roots[AMD64].python == ""
    assert not any(name.startswith("python") for name in versions(base))


def test_security_and_updates_count(world: World) -> None:
    world.security.add("tiny-security", stanza_of("libc6", "2.36-9+deb12u1"))
    world.main.add("tiny-updates", stanza_of("tzdata", "2.0-1"))
    world.publish()
    base = world.resolve()
    assert versions(base)["libc6"] == "2.36-9+deb12u1"
    assert versions(base)["tzdata"] == "2.0-1"
    pinned = next(package for package in debian_root(base, AMD64).packages if package.name == "libc6")
    assert pinned.url.startswith(f"{world.server.url}/debian-security/pool/")


def test_the_standard_set_does_not_depend_on_what_is_added(world: World) -> None:
    world.main.add("tiny", stanza_of("zz-tool"), stanza_of("aa-tool"))
    world.main.stanzas["tiny"] = [
        text.replace("Package: bash\n", "Package: bash\nDepends: aa-tool | zz-tool\n")
        for text in world.main.stanzas["tiny"]
    ]
    world.publish()
    alone, more = world.resolve(), world.resolve("zz-tool", "extra")
    standard = [package for package in debian_root(more, AMD64).packages if not package.extra]
    assert standard == list(debian_root(alone, AMD64).packages)


def test_the_same_request_gives_the_same_pins(world: World) -> None:
    assert world.resolve("extra") == world.resolve("extra")


def test_a_package_that_is_standard_anyway_is_no_extra(world: World) -> None:
    assert not any(package.extra for package in debian_root(world.resolve("bash"), AMD64).packages)


def test_a_virtual_package_must_leave_no_choice(world: World) -> None:
    world.main.add("tiny", stanza_of("p", Provides="v, one"), stanza_of("q", Provides="v"))
    world.publish()
    assert "p" in versions(world.resolve("one"))
    with pytest.raises(ResolutionError, match="base slim: v is not one package") as caught:
        world.resolve("v")
    assert "provided by p, q" in str(caught.value)


def test_unknown_suites_and_packages(world: World) -> None:
    with pytest.raises(ResolutionError, match="has no suite tinny"):
        world.resolve(suite="tinny")
    with pytest.raises(ResolutionError) as caught:
        world.resolve("extrra")
    assert "did you mean extra?" in caught.value.hint


def test_a_platform_without_packages(world: World) -> None:
    world.main.publish("tiny", date=NOW)
    with pytest.raises(ResolutionError, match="tiny has no packages for linux/arm64"):
        world.resolve(platforms=(ARM64,))


def test_the_bases_mirror_goes_before_the_users(world: World, tmp_path: Path) -> None:
    (tmp_path / "debian").rename(tmp_path / "elsewhere")
    base = world.resolve(mirror=f"{world.server.url}/elsewhere/")
    assert debian_root(base, AMD64).sources[0].url == f"{world.server.url}/elsewhere"


def test_no_credential_is_pinned(world: World) -> None:
    secret = world.server.url.replace("http://", "http://user:password@")
    base = world.resolve(mirror=f"{secret}/debian")
    assert "password" not in repr(base)


# Pins


def upgrade_archive(world: World) -> None:
    """Move the archive on: bash has a new version, and the index of before is gone from the mirror."""
    world.main.stanzas["tiny"] = [
        text for text in world.main.stanzas["tiny"] if not text.startswith(("Package: bash\n", "Package: dash\n"))
    ]
    world.main.add("tiny", stanza_of("bash", "2.0-1"), stanza_of("dash", "2.0-1"))
    world.publish(NOW + timedelta(days=1))


def forget(world: World) -> None:
    """Empty the store, as on another machine."""
    for blob in world.store.blobs.iterdir():
        blob.unlink()


def test_pins_are_kept_from_the_store(world: World) -> None:
    before = world.resolve()
    upgrade_archive(world)
    kept = world.resolve("extra", previous=before)
    assert versions(kept)["bash"] == "1.0-1"
    assert debian_root(kept, AMD64).sources == debian_root(before, AMD64).sources
    assert world.resolve(previous=before) == before


def test_an_upgrade_takes_what_is_new(world: World) -> None:
    before = world.resolve()
    upgrade_archive(world)
    assert versions(world.resolve(previous=before, upgrade=True))["bash"] == "2.0-1"


def test_another_suite_keeps_nothing(world: World) -> None:
    before = world.resolve()
    for suite in ("other", "other-updates"):
        world.main.stanzas[suite] = world.main.stanzas["tiny"]
        world.main.publish(suite, date=NOW)
    world.security.publish("other-security", date=NOW)
    assert world.resolve(previous=before, suite="other").suite == "other"


def test_pins_are_kept_by_hash_from_the_mirror(world: World) -> None:
    """The mirror has moved on, keeps the older index by its hash, and the store knows the older release alone."""
    before = world.resolve()
    upgrade_archive(world)
    for source in debian_root(before, AMD64).sources:
        world.store.blob(source.index).unlink(missing_ok=True)
    assert world.resolve(previous=before) == before


def test_pins_are_kept_from_the_snapshot_archive(world: World) -> None:
    before = world.resolve()
    date = (NOW + timedelta(hours=6)).strftime("%Y%m%dT%H%M%SZ")
    world.publish(NOW, archive=f"archive/debian/{date}")
    upgrade_archive(world)
    forget(world)
    for path in (world.root / "debian/dists/tiny/main/binary-amd64/by-hash/SHA256").iterdir():
        path.unlink()
    assert world.resolve(previous=before) == before
    assert world.server.asked(f"/archive/debian/{date}/dists/tiny/InRelease") == 1


def test_where_no_index_is_left_pins_are_kept_that_still_exist(world: World, recorded: Silent) -> None:
    before = world.resolve()
    upgrade_archive(world)
    world.main.add("tiny", stanza_of("sed", "2.0-1"))  # beside the pinned 1.0-1
    world.publish(NOW + timedelta(days=1))
    forget(world)
    world.report = recorded
    after = versions(world.resolve(previous=before))
    assert (after["bash"], after["sed"]) == ("2.0-1", "1.0-1")
    warnings = recorded.warnings  # type: ignore[attr-defined]
    assert any("the index of tiny of 20261120T120000Z can be had nowhere any more" in text for text in warnings)


# Faults


def test_an_index_other_than_the_signed_one_is_refused(world: World) -> None:
    for path in [path for path in world.root.rglob("by-hash/SHA256/*") if path.is_file()]:
        path.write_bytes(lzma.compress(b"Package: evil\n"))
    with pytest.raises((IntegrityError, FetchError)) as caught:
        world.resolve()
    assert "evil" not in str(caught.value)


def test_a_mirror_without_hashed_names_is_asked_by_plain_name(world: World) -> None:
    for path in [path for path in world.root.rglob("by-hash/SHA256/*") if path.is_file()]:
        path.unlink()
    world.resolve()
    assert world.server.asked(INDEX) == 1


def test_an_old_release_is_refused(world: World) -> None:
    with pytest.raises(IntegrityError, match="was valid until"):
        world.resolve(now=NOW + timedelta(days=30))


def test_a_server_that_fails(world: World) -> None:
    world.server.fault("/debian/dists/tiny/InRelease", Fault(status=503, times=99))
    with pytest.raises(FetchError):
        world.resolve()


def test_a_missing_security_suite_is_an_error_and_not_ignored(world: World) -> None:
    (world.root / "debian-security/dists/tiny-security/InRelease").unlink()
    with pytest.raises(ResolutionError, match="has no suite tiny-security"):
        world.resolve()


# The snapshot archive


def test_where_a_deb_is_looked_for_when_its_mirror_has_dropped_it() -> None:
    digest = Digest.of(b"")
    sources = [
        DebianSource(url=url, suite=suite, component="main", date=date, release=digest, index=digest)
        for url, suite, date in (
            ("http://deb.debian.org/debian", "bookworm", "20260711T101637Z"),
            ("http://deb.debian.org/debian", "bookworm-updates", "20261121T021046Z"),
            ("http://deb.debian.org/debian-security", "bookworm-security", "20261121T005302Z"),
        )
    ]

    def urls(url: str) -> list[str]:
        package = DebianPackage(name="a", version="1", architecture="all", url=url, sha256=digest, size=0)
        return snapshot_urls(package, sources, "https://snapshot.debian.org/archive/{archive}/{date}/")

    assert urls("http://deb.debian.org/debian/pool/main/a/a_1_all.deb") == [
        f"https://snapshot.debian.org/archive/debian/{date}/pool/main/a/a_1_all.deb"
        for date in (
            *("20261121T081046Z", "20261122T081046Z", "20261121T021046Z"),
            *("20260711T161637Z", "20260712T161637Z", "20260711T101637Z"),
        )
    ]
    security = urls("http://deb.debian.org/debian-security/pool/updates/main/a/a_1_all.deb")
    assert security[0].startswith("https://snapshot.debian.org/archive/debian-security/20261121T065302Z/pool/updates/")
    assert len(urls("http://mirror.invalid/x/pool/main/a/a_1_all.deb")) == 9
