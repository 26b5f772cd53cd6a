"""Packages that were made to measure become layers: merging, order, determinism."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from debmaker import Entry, Made, make_deb

from repro_env.errors import BuildError, IntegrityError, ReproError
from repro_env.image.debian import build_base_layers
from repro_env.image.debian.deb import Deb, read_deb
from repro_env.image.debian.order import unpack_order
from repro_env.image.debian.spool import Spools
from repro_env.image.layer import Layer
from repro_env.image.store import Store
from repro_env.lock.model import DebianRoot
from repro_env.values import Digest

POSTINST = b"update-alternatives --install /usr/bin/e e /usr/bin/c 5\n"
DIRECTORY = Entry(kind=tarfile.DIRTYPE, mode=0o755)


def link(target: str) -> Entry:
    return Entry(kind=tarfile.SYMTYPE, link=target)


def root_of(store: Store, standard: Sequence[Made], extra: Sequence[Made] = ()) -> DebianRoot:
    for made in (*standard, *extra):
        store.add(made.data)
    packages = [made.pin() for made in standard] + [made.pin(extra=True) for made in extra]
    return DebianRoot(glibc="2.36", python="", sources=(), packages=tuple(packages))


def build(store: Store, standard: Sequence[Made], extra: Sequence[Made] = ()) -> tuple[Layer, ...]:
    return build_base_layers(root_of(store, standard, extra), store)


def members(store: Store, layer: Layer) -> dict[str, tarfile.TarInfo]:
    """Return a layer's entries, after checking its digests, and that parents come before children."""
    blob = store.blob(layer.digest).read_bytes()
    data = gzip.decompress(blob)
    assert (Digest.of(blob), Digest.of(data)) == (layer.digest, layer.diff_id)
    assert (len(blob), len(data)) == (layer.size, layer.unpacked)
    found: dict[str, tarfile.TarInfo] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for entry in archive:
            parent = entry.name.rpartition("/")[0]
            assert not parent or found[parent].isdir(), f"{entry.name} comes before its directory"
            assert entry.mtime == 315532800
            assert not entry.uname
            assert entry.name not in found
            found[entry.name] = entry
    assert list(found) == sorted(found, key=str.encode)
    return found


def content(store: Store, layer: Layer, path: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(store.blob(layer.digest).read_bytes()))) as archive:
        file = archive.extractfile(path)
        assert file is not None
        return file.read()


def refusal(store: Store, *made: Made) -> str:
    with pytest.raises(ReproError) as caught:
        build(store, made)
    return str(caught.value)


def test_usr_is_merged(store: Store) -> None:
    made = make_deb(
        "a",
        files={
            "bin/tool": b"1",
            "usr/bin/other": b"2",
            "lib/x86_64-linux-gnu/libx.so.1": b"3",
            "lib64/ld.so": link("/lib/x86_64-linux-gnu/libx.so.1"),
            "sbin/admin": Entry(kind=tarfile.LNKTYPE, link="./bin/tool"),
        },
    )
    found = members(store, build(store, [made])[0])
    links = {path: entry.linkname for path, entry in found.items() if entry.issym()}
    assert links == {
        "bin": "usr/bin",
        "lib": "usr/lib",
        "lib64": "usr/lib64",
        "sbin": "usr/sbin",
        "usr/lib64/ld.so": "/lib/x86_64-linux-gnu/libx.so.1",
    }
    assert {"usr/bin/tool", "usr/bin/other", "usr/lib/x86_64-linux-gnu/libx.so.1", "usr/sbin/admin"} < set(found)
    assert found["usr/sbin/admin"].linkname == "usr/bin/tool"
    assert found["usr/sbin/admin"].islnk()
    assert "lib32" not in found


def test_a_link_of_the_merged_usr_comes_with_the_first_package_that_needs_it(store: Store) -> None:
    layers = build(store, [make_deb("a", files={"usr/bin/x": b"1"})], [make_deb("b", files={"lib32/y": b"2"})])
    assert "lib32" not in members(store, layers[0])
    assert members(store, layers[1])["lib32"].linkname == "usr/lib32"


def test_suites_that_ship_the_links_themselves(store: Store) -> None:
    base = make_deb("base-files", files={"bin": link("usr/bin"), "usr/bin/x": b"1", "lib": link("usr/lib")})
    found = members(store, build(store, [base, make_deb("a", files={"bin/y": b"2"})])[0])
    assert found["bin"].linkname == "usr/bin"
    assert "usr/bin/y" in found


def test_a_link_to_its_own_place_once_usr_is_merged_is_left_out(store: Store) -> None:
    made = make_deb("a", files={"bin/touch": b"1", "usr/bin/touch": link("/bin/touch")})
    assert members(store, build(store, [made])[0])["usr/bin/touch"].isfile()


def test_owners_and_modes_are_those_of_the_package(store: Store) -> None:
    made = make_deb(
        "a",
        files={
            "tmp": Entry(kind=tarfile.DIRTYPE, mode=0o1777),
            "var/mail": Entry(kind=tarfile.DIRTYPE, mode=0o2775, group=8),
            "usr/bin/su": Entry(content=b"x", mode=0o4755),
            "etc/secret": Entry(content=b"x", mode=0o640, owner=1, group=42),
        },
    )
    found = members(store, build(store, [made])[0])
    shown = {path: (entry.mode, entry.uid, entry.gid) for path, entry in found.items()}
    assert shown["tmp"] == (0o1777, 0, 0)
    assert shown["var/mail"] == (0o2775, 0, 8)
    assert shown["usr/bin/su"] == (0o755, 0, 0)
    assert shown["etc/secret"] == (0o640, 1, 42)


def test_a_directory_keeps_the_mode_of_the_first_package(store: Store) -> None:
    one = make_deb("a", files={"srv": Entry(kind=tarfile.DIRTYPE, mode=0o700)})
    two = make_deb("b", files={"srv": Entry(kind=tarfile.DIRTYPE, mode=0o755), "srv/x": b""}, depends="a")
    assert members(store, build(store, [two, one])[0])["srv"].mode == 0o700


def test_what_only_a_person_at_a_desk_reads_is_left_out(store: Store) -> None:
    made = make_deb(
        "a",
        files={
            "usr/share/man/man1/a.1.gz": b"",
            "usr/share/info/a.info.gz": b"",
            "usr/share/locale/de/LC_MESSAGES/a.mo": b"",
            "usr/share/locale/locale.alias": b"",
            "usr/share/lintian/overrides/a": b"",
            "usr/share/doc/a/changelog.gz": b"",
            "usr/share/doc/a/copyright": b"licence",
            "usr/share/doc/a-other": link("a"),
            "usr/share/docs": b"",
        },
    )
    found = [path for path, entry in members(store, build(store, [made])[0]).items() if not entry.isdir()]
    assert [path for path in found if path.startswith("usr/")] == [
        "usr/share/doc/a-other",
        "usr/share/doc/a/copyright",
        "usr/share/docs",
        "usr/share/locale/locale.alias",
    ]


def test_hard_links_stay_valid_when_what_they_link_to_is_left_out(store: Store) -> None:
    made = make_deb(
        "a", files={"usr/share/man/x": b"same", "usr/lib/x": Entry(kind=tarfile.LNKTYPE, link="./usr/share/man/x")}
    )
    layer = build(store, [made])[0]
    assert members(store, layer)["usr/lib/x"].isreg()
    assert content(store, layer, "usr/lib/x") == b"same"


def test_the_first_of_hard_linked_files_holds_the_content(store: Store) -> None:
    made = make_deb(
        "a",
        members=[
            ("./z", Entry(content=b"same")),
            ("./a", Entry(kind=tarfile.LNKTYPE, link="z")),
            ("./m", Entry(kind=tarfile.LNKTYPE, link="./a")),
        ],
    )
    found = members(store, build(store, [made])[0])
    assert [found[name].linkname for name in "amz"] == ["", "a", "a"]
    assert content(store, build(store, [made])[0], "z") == b"same"


def test_two_packages_with_one_path(store: Store) -> None:
    one, two = make_deb("a", files={"etc/x": b"1"}), make_deb("b", files={"etc/x": b"1"})
    text = refusal(store, one, two)
    assert "a and b both hold /etc/x" in text
    assert "neither says it replaces the other" in text


def test_one_path_by_two_names(store: Store) -> None:
    one, two = make_deb("a", files={"bin/x": b"1"}), make_deb("b", files={"usr/bin/x": b"1"})
    assert "a and b both hold /usr/bin/x" in refusal(store, one, two)


@pytest.mark.parametrize(("replaces", "winner"), [("a", b"2"), ("a (<< 2)", b"2"), ("a (<< 1.0)", None)])
def test_a_later_package_may_replace(store: Store, replaces: str, winner: bytes | None) -> None:
    one = make_deb("a", files={"etc/x": b"1"})
    two = make_deb("b", files={"etc/x": b"2"}, fields={"Replaces": replaces})
    if winner is None:
        refusal(store, one, two)
    else:
        assert content(store, build(store, [one, two])[0], "etc/x") == winner


def test_an_earlier_package_may_replace_too(store: Store) -> None:
    one = make_deb("a", files={"etc/x": b"1"}, fields={"Replaces": "b"})
    two = make_deb("b", files={"etc/x": b"2"})
    assert content(store, build(store, [one, two])[0], "etc/x") == b"1"


def test_an_extra_package_that_replaces_leaves_the_standard_layer_alone(store: Store) -> None:
    one = make_deb("a", files={"etc/x": b"1"})
    two = make_deb("b", files={"etc/x": b"2"}, fields={"Replaces": "a"})
    alone, both = build(store, [one]), build(store, [one], [two])
    assert both[0] == alone[0]
    assert content(store, both[1], "etc/x") == b"2"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"srv/x": b"1"}, {"srv": b"2"}),
        ({"srv": b"1"}, {"srv/x": b"2"}),
        ({"srv/x": b"1"}, {"srv": link("opt")}),
        ({"srv": b"1"}, {"srv": DIRECTORY}),
    ],
)
def test_a_file_is_no_directory(store: Store, first: dict[str, bytes], second: dict[str, bytes | Entry]) -> None:
    later = make_deb("b", members=[(f"./{path}", _entry(value)) for path, value in second.items()])
    assert "/srv" in refusal(store, make_deb("a", files=first), later)


def _entry(value: bytes | Entry) -> Entry:
    return Entry(content=value) if isinstance(value, bytes) else value


def test_a_package_is_put_through_a_link_that_is_there(store: Store) -> None:
    one = make_deb("a", files={"opt/real/y": b"1", "opt/name": link("real")})
    two = make_deb("b", files={"opt/name/x": b"2"})
    found = members(store, build(store, [one, two])[0])
    assert found["opt/name"].issym()
    assert found["opt/real/x"].isfile()


def test_a_circle_of_links_is_refused(store: Store) -> None:
    made = make_deb("a", members=[("./p", link("q")), ("./q", link("p")), ("./p/x", Entry(content=b"1"))])
    assert "circle of links" in refusal(store, made)


def test_a_damaged_package_is_named(store: Store) -> None:
    good, other = make_deb("a", files={"x": b"1"}), make_deb("b", files={"y": b"1"})
    root = root_of(store, [good, other])
    store.blob(Digest.of(other.data)).write_bytes(other.data[:-1])
    with pytest.raises(IntegrityError, match=r"the store's copy of b 1\.0-1 is damaged"):
        build_base_layers(root, store)
    assert not list(store.temporary.iterdir())


# Layers


def test_three_layers_or_two(store: Store) -> None:
    standard, extra = [make_deb("a", files={"x": b"1"})], [make_deb("b", files={"usr/share/b/y": b"2"})]
    two, three = build(store, standard), build(store, standard, extra)
    assert (len(two), len(three)) == (2, 3)
    assert two[0] == three[0]
    assert "usr/share/b/y" in members(store, three[1])
    assert "x" not in members(store, three[1])
    assert three[1].comment == "Debian: b 1.0-1"


def test_a_directory_is_described_alike_in_every_layer(store: Store) -> None:
    standard = [make_deb("a", files={"srv": Entry(kind=tarfile.DIRTYPE, mode=0o750, group=33), "srv/x": b"1"})]
    layers = build(store, standard, [make_deb("b", files={"srv/y": b"2", "var/lib/dpkg": DIRECTORY})])
    entry = members(store, layers[1])["srv"]
    assert (entry.mode, entry.gid) == (0o750, 33)


def test_what_was_built_once_is_found_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    root = root_of(store, [make_deb("a", files={"x": b"1"})], [make_deb("b")])
    layers = build_base_layers(root, store)

    def never(*_arguments: object) -> None:
        raise AssertionError

    monkeypatch.setattr("repro_env.image.debian.base.read_deb", never)
    assert build_base_layers(root, store) == layers
    store.blob(layers[2].digest).unlink()
    with pytest.raises(AssertionError):
        build_base_layers(root, store)


def test_bytes_do_not_depend_on_who_builds(store: Store, tmp_path: Path) -> None:
    """The same packages, in another order, in other processes: other umask, hash seed, time zone, locale, cores."""
    standard = [
        make_deb("base-files", files={"etc/debian_version": b"12", "usr/share/base-files/motd": b"hi"}),
        make_deb("a", files={f"usr/share/a/{n}": bytes([n]) * n for n in range(60)}, depends="b"),
        make_deb("b", files={"usr/bin/b": b"b", "usr/share/zä": "ü".encode()}, depends="a | c"),
        make_deb("c", files={"usr/bin/c": b"c"}, control={"postinst": POSTINST}),
    ]
    root = root_of(store, standard, [make_deb("x", files={"usr/bin/x": b"x"})])
    expected = build_base_layers(root, store)
    program = """
import os, sys, pathlib
os.umask(int(sys.argv[2], 8))
if sys.argv[3] == "1":
    os.cpu_count = lambda: 1
from repro_env.image.debian import build_base_layers
from repro_env.image.store import Store
from repro_env.lock.model import DebianPackage, DebianRoot
from repro_env.values import Digest
packages = eval(sys.argv[4])
root = DebianRoot(glibc="2.36", python="", sources=(), packages=tuple(packages))
store = Store(pathlib.Path(sys.argv[1]))
print([str(layer.digest) for layer in build_base_layers(root, store)])
"""
    circumstances = [("077", "0", "UTC", "C"), ("000", "1", "Asia/Tokyo", "de_DE.UTF-8"), ("027", "2", "EST5", "tr_TR")]
    for turn, (umask, seed, zone, locale) in enumerate(circumstances):
        elsewhere = Store(tmp_path / f"store{turn}")
        for package in root.packages:
            elsewhere.add(store.read(package.sha256))
        order = root.packages[turn:] + root.packages[:turn]
        done = subprocess.run(
            [sys.executable, "-c", program, elsewhere.root, umask, str(turn % 2), repr(list(order))],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": locale},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str([str(layer.digest) for layer in expected])


# The order of unpacking


@pytest.fixture
def ordered(tmp_path: Path) -> Iterator[object]:
    with Spools(tmp_path, 1) as spools:

        def order(*made: Made) -> list[str]:
            debs = []
            for one in made:
                (tmp_path / "blob").write_bytes(one.data)
                debs.append(read_deb(one.pin(), tmp_path / "blob", spools))
            forward = [deb.name for deb in unpack_order(debs)]
            assert [deb.name for deb in unpack_order(reversed(debs))] == forward
            return forward

        yield order


def test_dependencies_come_first_and_equals_by_name(ordered: object) -> None:
    assert callable(ordered)
    a = make_deb("a", depends="z")
    b = make_deb("b", fields={"Pre-Depends": "virtual", "Depends": "a"})
    assert ordered(b, a, make_deb("z"), make_deb("m", fields={"Provides": "virtual"}), make_deb("c")) == [
        "z",
        "a",
        "m",
        "b",
        "c",
    ]


def test_a_circle_is_cut_the_same_way_each_time(ordered: object) -> None:
    assert callable(ordered)
    made = [make_deb(name, depends=other) for name, other in ("ab", "bc", "ca")]
    assert ordered(*made) == ["c", "b", "a"]


def test_a_long_chain_needs_no_deep_stack() -> None:
    count = 3000
    names = [f"p{number:04}" for number in range(count)]
    debs = [
        Deb(
            name=name,
            version="1",
            architecture="amd64",
            extra=False,
            fields={"depends": after} if after else {},
            control={},
            members=(),
        )
        for name, after in zip(names, [*names[1:], ""], strict=True)
    ]
    assert [deb.name for deb in unpack_order(debs)] == list(reversed(names))


def test_errors_are_the_right_ones(store: Store) -> None:
    with pytest.raises(BuildError):
        build(store, [make_deb("a", files={"etc/x": b"1"}), make_deb("b", files={"etc/x": b"1"})])
    with pytest.raises(IntegrityError, match="b is not a valid Debian package"):
        build(store, [make_deb("b", files={"y": b"1"}, depends="not (a relation")])
