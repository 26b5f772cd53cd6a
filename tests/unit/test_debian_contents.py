"""Which package has a library: from a suite's list of files, verified, read once and kept small."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from debmaker import ArchiveMaker, Signer, stanza_of
from loopback import Fault, Server, serve

from repro_env.edges.http_client import HttpClient, Limits
from repro_env.edges.report import Silent
from repro_env.errors import FetchError, IntegrityError, ReproError
from repro_env.image.store import Store
from repro_env.lock.model import DebianRoot
from repro_env.resolve.debian import release as release_module
from repro_env.resolve.debian.archive import Archive, Mirrors, suites_of
from repro_env.resolve.debian.contents import LibraryPackages, library_packages, read_contents
from repro_env.values import Platform

AMD64 = Platform("amd64")
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LIST = "/debian/dists/tiny/main/Contents-amd64.gz"

CONTENTS = b"""\
etc/libfake.so.1                                            libs/none
lib/x86_64-linux-gnu/libold.so.1                            libs/libold1
usr/bin/program                                             utils/program
usr/lib/aarch64-linux-gnu/libarm.so.1                       libs/libarm1
usr/lib/libflat.so.4                                        libs/libflat4
usr/lib/x86_64-linux-gnu/libGL.so.1                         libs/libgl1
usr/lib/x86_64-linux-gnu/libX11.so.6                        x11/libx11-6
usr/lib/x86_64-linux-gnu/libX11.so.6.4.0-gdb.py             debug/libx11-6-dbg
usr/lib/x86_64-linux-gnu/libdev.so                          libdevel/libdev-dev
usr/lib/x86_64-linux-gnu/libglib-2.0.so.0                   libs/libglib2.0-0
usr/lib/x86_64-linux-gnu/libmany.so.2                non-free/libs/libmany2-nonfree,libs/libmany2,libs/libmany2-b
usr/lib/x86_64-linux-gnu/libplugin.so                       gnome/plugin
usr/lib/x86_64-linux-gnu/primus/libGL.so.1                  utils/primus-libs
usr/lib/libGL.so.1                                          libs/legacy
usr/lib/x86_64-linux-gnu/with space.so.1                    libs/space
usr/lib32/libGL.so.1                                        libs/lib32gl1
"""


def test_only_what_the_linker_finds_is_read() -> None:
    assert read_contents([CONTENTS], AMD64) == {
        "libGL.so.1": "libgl1",
        "libX11.so.6": "libx11-6",
        "libflat.so.4": "libflat4",
        "libglib-2.0.so.0": "libglib2.0-0",
        "libmany.so.2": "libmany2",
        "libold.so.1": "libold1",
        "libplugin.so": "plugin",
    }
    assert read_contents([CONTENTS], Platform("arm64"))["libarm.so.1"] == "libarm1"


@dataclass(slots=True)
class World:
    """A signed archive with a list of files, served."""

    maker: ArchiveMaker
    server: Server
    store: Store

    def publish(self, contents: bytes = CONTENTS, *, declared: int | None = None, by_hash: bool = True) -> None:
        plain = contents if declared is None else b"x" * declared
        others = {"main/Contents-amd64.gz": gzip.compress(contents), "main/Contents-amd64": plain}
        self.maker.publish("tiny", date=NOW, others=others, by_hash=by_hash)

    def archive(self) -> Archive:
        mirrors = Mirrors(main=f"{self.server.url}/debian")
        http = HttpClient(environ={}, limits=Limits(attempts=2, pause=0))
        return Archive(http=http, store=self.store, report=Silent(), mirrors=mirrors, now=NOW)

    def ask(self, *libraries: str) -> LibraryPackages:
        archive = self.archive()
        source, _text = archive.current(suites_of("tiny", archive.mirrors)[0], AMD64)
        root = DebianRoot(glibc="2.36", python="3.11.2", sources=(source,), packages=())
        return library_packages(archive, "tiny", root, AMD64, libraries)


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def world(tmp_path: Path, store: Store, signer: Signer, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(release_module, "debian_certificates", lambda: (signer.certificate,))
    maker = ArchiveMaker(tmp_path / "debian", signer)
    maker.add("tiny", stanza_of("libgl1", Depends="libglx0 | other, libc6"), stanza_of("libglx0", Depends="libx11-6"))
    maker.add("tiny", stanza_of("libx11-6", Pre_Depends="libgl1"), stanza_of("libglib2.0-0", Depends="libc6"))
    with serve(tmp_path) as server:
        made = World(maker, server, store)
        made.publish()
        yield made


def test_packages_and_what_they_bring_along(world: World) -> None:
    found = world.ask("libGL.so.1", "libglib-2.0.so.0", "libX11.so.6", "libnowhere.so.1", "libdev.so")
    assert found.names == {"libGL.so.1": "libgl1", "libglib-2.0.so.0": "libglib2.0-0", "libX11.so.6": "libx11-6"}
    assert found.brings == {"libgl1": ["libx11-6"], "libx11-6": ["libgl1"]}


def test_the_list_is_fetched_once(world: World) -> None:
    world.ask("libGL.so.1")
    before = len(world.server.log)
    assert world.ask("libglib-2.0.so.0").names == {"libglib-2.0.so.0": "libglib2.0-0"}
    asked = [path for _method, path, _range in world.server.log[before:]]
    assert asked == ["/debian/dists/tiny/InRelease"]


@pytest.mark.parametrize("by_hash", [True, False])
def test_a_list_other_than_the_signed_one_is_refused(world: World, by_hash: bool) -> None:
    world.publish(by_hash=by_hash)
    forged = gzip.compress(CONTENTS[:100])
    for path in (world.maker.root / "dists/tiny").rglob("*"):
        if path.is_file() and gzip.compress(CONTENTS)[:20] == path.read_bytes()[:20]:
            path.write_bytes(forged)
    with pytest.raises(IntegrityError, match="is not the one its release names"):
        world.ask("libGL.so.1")


def test_a_list_that_unpacks_beyond_its_declared_size_is_refused(world: World) -> None:
    world.publish(CONTENTS + b"a" * 100 + b" libs/a\n" * (1 << 16), declared=1000)
    with pytest.raises(IntegrityError, match="does not unpack to what its release names"):
        world.ask("libGL.so.1")


def test_a_list_of_one_endless_line_is_refused(world: World) -> None:
    world.publish(b"a" * (3 << 20))
    with pytest.raises(IntegrityError, match="does not unpack to what its release names"):
        world.ask("libGL.so.1")


def test_a_list_that_is_no_gzip_file_is_refused(world: World) -> None:
    world.maker.publish("tiny", date=NOW, others={"main/Contents-amd64.gz": b"text", "main/Contents-amd64": b"text"})
    with pytest.raises(IntegrityError, match="is damaged"):
        world.ask("libGL.so.1")


def test_a_suite_without_a_list_is_an_error(world: World) -> None:
    world.maker.publish("tiny", date=NOW)
    with pytest.raises(IntegrityError, match=r"lists no main/Contents-amd64.gz"):
        world.ask("libGL.so.1")


def test_no_network_is_an_error_that_callers_can_tell(world: World) -> None:
    world.server.fault("/debian/dists/tiny/InRelease", Fault(status=503, times=99))
    with pytest.raises(FetchError) as caught:
        world.ask("libGL.so.1")
    assert isinstance(caught.value, ReproError)
