"""What is noted of a layer: while it is written, and when its tar is read later."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from elfmaker import apart, handmade_elf
from layers import SITE, keep_wheel, layer_of
from wheelmaker import WheelRecipe, make_wheel

from repro_env.errors import IntegrityError
from repro_env.image.base import PLAIN, ZSTD
from repro_env.image.base_facts import read_facts, recall_facts, remember_facts
from repro_env.image.decompress import zstd_module
from repro_env.image.elf import Elf
from repro_env.image.layer import MEDIA_TYPE, Layer, LayerWriter
from repro_env.image.libraries import LayerLibraries, Library, recall_libraries, remember_libraries
from repro_env.image.library_scan import libraries_of_layer
from repro_env.image.store import Store
from repro_env.values import Digest

ELF = Elf(machine=62, bits=64, soname="libx.so.1", needed=("liby.so",))
CONTENT = handmade_elf(soname="libx.so.1", needed=("liby.so",))


def keep_layer(store: Store, entries: list[tarfile.TarInfo], contents: dict[str, bytes], kind: str) -> Layer:
    """Put a layer made by the standard library into the store."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            data = contents.get(entry.name, b"")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    tar = buffer.getvalue()
    blob = {PLAIN: bytes, MEDIA_TYPE: gzip.compress, ZSTD: zstd_module().compress}[kind](tar)
    digest = store.add(blob)
    return Layer(digest=digest, diff_id=Digest.of(tar), size=len(blob), unpacked=len(tar), media_type=kind)


def entry(name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_a_wheels_libraries_are_noted_with_their_package(store: Store, tmp_path: Path) -> None:
    files = {"shape/core.so": CONTENT, "shape/stored.so": CONTENT, "shape/data.bin": b"\x7fEL, nearly", "shape/e": b""}
    recipe = WheelRecipe(name="shape", version="2.1", files=files, stored=frozenset({"shape/stored.so"}))
    made = layer_of(store, make_wheel(tmp_path, recipe))
    assert recall_libraries(store, made.layer.digest) == LayerLibraries(
        files=tuple(
            Library(path=f"{SITE}/{name}", package="shape 2.1", elf=ELF)
            for name in ("shape/core.so", "shape/stored.so")
        )
    )


def test_a_malformed_library_is_noted_as_there_and_unknown(store: Store, tmp_path: Path) -> None:
    recipe = WheelRecipe(name="shape", files={"shape/core.so": CONTENT[:130]})
    made = layer_of(store, make_wheel(tmp_path, recipe))
    known = recall_libraries(store, made.layer.digest)
    assert known is not None
    assert known.files == (Library(path=f"{SITE}/shape/core.so", package="shape 1.0", elf=None),)


def test_looking_changes_no_byte(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = WheelRecipe(name="shape", files={"shape/core.so": CONTENT + bytes(3 << 20), "shape/a.py": b"a = 1\n"})
    path = make_wheel(tmp_path, recipe)
    seen = layer_of(store, path).layer

    class Blind(LayerWriter):
        def __init__(self, stream: object, observer: object = None) -> None:
            super().__init__(stream)  # type: ignore[arg-type]

    monkeypatch.setattr("repro_env.image.wheel_layer.LayerWriter", Blind)
    blind_store = Store(tmp_path / "blind")
    assert layer_of(blind_store, path).layer == seen


def test_a_damaged_member_is_noted_nowhere(store: Store, tmp_path: Path) -> None:
    path = make_wheel(tmp_path, WheelRecipe(name="shape", files={"shape/core.so": CONTENT}))
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("shape/core.so").header_offset
    data = bytearray(path.read_bytes())
    at = place + 30 + len("shape/core.so") + 20
    data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(IntegrityError):
        layer_of(store, path)
    assert not (store.root / "derived" / "libraries").exists()
    keep_wheel(store, path)


@pytest.mark.parametrize("kind", [MEDIA_TYPE, PLAIN, ZSTD])
def test_a_layer_of_somebody_elses_is_read_once(store: Store, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        entry("./usr/lib/", kind=tarfile.DIRTYPE),
        entry("./usr/lib/libx.so.1.2"),
        entry("usr/lib/libx.so.1", kind=tarfile.SYMTYPE, link="libx.so.1.2"),
        entry("usr/lib/same.so", kind=tarfile.LNKTYPE, link="./usr/lib/libx.so.1.2"),
        entry("usr/share/zoneinfo/UTC", kind=tarfile.SYMTYPE, link="Etc/UTC"),
        entry("etc/ld.so.conf.d/own.conf"),
        entry("opt/.wh.gone"),
        entry("srv/.wh..wh..opq"),
        entry(".wh.top"),
        entry("dev/null", kind=tarfile.CHRTYPE),
        entry("etc/text"),
    ]
    contents = {"./usr/lib/libx.so.1.2": CONTENT, "etc/ld.so.conf.d/own.conf": b"/opt/lib\n", "etc/text": b"text"}
    layer = keep_layer(store, entries, contents, kind)
    expected = LayerLibraries(
        files=(Library(path="usr/lib/libx.so.1.2", elf=ELF), Library(path="usr/lib/same.so", elf=ELF)),
        links={"usr/lib/libx.so.1": "libx.so.1.2"},
        configuration={"etc/ld.so.conf.d/own.conf": "/opt/lib\n"},
        removed=("opt/gone", "top"),
        emptied=("srv",),
    )
    assert libraries_of_layer(store, layer) == expected
    store.blob(layer.digest).unlink()
    assert libraries_of_layer(store, layer) == expected


def test_a_layer_whose_notes_were_lost_names_the_same_packages(store: Store, tmp_path: Path) -> None:
    files = {"shape/core.so": CONTENT, "the_shape-2.1.data/scripts/tool": CONTENT, "a, b.so": CONTENT}
    made = layer_of(store, make_wheel(tmp_path, WheelRecipe(name="the-shape", version="2.1", files=files)))
    noted = recall_libraries(store, made.layer.digest)
    assert noted is not None
    (store.root / "derived" / "libraries" / f"{made.layer.digest.hex}.json").unlink()
    found = libraries_of_layer(store, made.layer)
    assert found is not None
    odd = f"{SITE}/a, b.so"
    assert [one for one in found.files if one.path != odd] == [one for one in noted.files if one.path != odd]
    assert {one.package for one in noted.files} == {"the-shape 2.1"}


def test_names_far_inside_a_layers_file_are_fetched_from_it_again(store: Store) -> None:
    far = apart(CONTENT, 12 << 20)
    layer = keep_layer(store, [entry("a"), entry("far.so"), entry("z")], {"a": b"a" * 700, "far.so": far}, MEDIA_TYPE)
    found = libraries_of_layer(store, layer)
    assert found is not None
    assert [(library.path, library.elf) for library in found.files] == [("far.so", ELF)]


def test_of_a_layer_that_cannot_be_read_nothing_is_known(store: Store) -> None:
    digest = store.add(b"something")
    layer = Layer(digest=digest, diff_id=digest, size=9, unpacked=0, media_type="application/vnd.example")
    assert libraries_of_layer(store, layer) is None


@pytest.mark.parametrize("kind", [MEDIA_TYPE, PLAIN, ZSTD])
def test_a_layer_that_is_none_is_said(store: Store, kind: str) -> None:
    digest = store.add(b"something, which is no layer")
    with pytest.raises(IntegrityError, match="is damaged"):
        libraries_of_layer(store, Layer(digest=digest, diff_id=digest, size=28, unpacked=0, media_type=kind))


def test_names_that_are_no_text_are_noted_with_escapes(store: Store) -> None:
    names = {name: name.encode("latin-1").decode("utf-8", "surrogateescape") for name in ("\xe9.so", "\xe9/.wh.\xfc")}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        library, gone = (entry(name) for name in names.values())
        library.size = len(CONTENT)
        archive.addfile(library, io.BytesIO(CONTENT))
        archive.addfile(gone)
    digest = store.add(buffer.getvalue())
    layer = Layer(digest=digest, diff_id=digest, size=len(buffer.getvalue()), unpacked=0, media_type=PLAIN)
    found = libraries_of_layer(store, layer)
    assert found == recall_libraries(store, digest)
    assert found == LayerLibraries(files=(Library(path="\\xe9.so", elf=ELF),), removed=("\\xe9/\\xfc",))
    remember_facts(store, digest, read_facts(io.BytesIO(buffer.getvalue())))
    facts = recall_facts(store, digest)
    assert facts is not None
    assert facts.removed == ["\\xe9/\\xfc"]


def test_of_a_layer_that_is_not_here_nothing_is_known(store: Store) -> None:
    digest = Digest.of(b"elsewhere")
    assert libraries_of_layer(store, Layer(digest=digest, diff_id=digest, size=9, unpacked=0)) is None


@pytest.mark.parametrize("cut", [10, 600, 1500])
def test_a_damaged_layer_is_an_error(store: Store, cut: int) -> None:
    layer = keep_layer(
        store, [entry("libx.so"), entry("b")], {"libx.so": CONTENT, "b": hashlib.sha512(b"").digest() * 40}, MEDIA_TYPE
    )
    data = store.blob(layer.digest).read_bytes()
    store.blob(layer.digest).write_bytes(data[: min(cut, len(data) - 20)])
    with pytest.raises(IntegrityError, match="is damaged"):
        libraries_of_layer(store, layer)


def test_what_is_remembered_comes_back(store: Store) -> None:
    full = Elf(
        machine=183,
        bits=64,
        executable=True,
        soname="libé.so",
        needed=("a", "b"),
        rpath="/a",
        runpath="$ORIGIN",
        interpreter="/lib/ld.so",
        needs={"libc.so.6": ("GLIBC_2.17", "GLIBC_2.34")},
        defines=("X_1",),
    )
    libraries = LayerLibraries(
        files=(Library(path="a", package="p 1", elf=full), Library(path="b", elf=None), Library(path="c", elf=ELF)),
        links={"l": "a"},
        configuration={"etc/ld.so.conf": "/opt\n"},
        removed=("gone",),
        emptied=("empty",),
    )
    digest = Digest.of(b"layer")
    remember_libraries(store, digest, libraries)
    assert recall_libraries(store, digest) == libraries


@pytest.mark.parametrize("document", [{}, {"version": 0, "files": []}, {"version": 1, "files": [{"path": 1}]}])
def test_what_another_version_remembered_is_as_good_as_nothing(store: Store, document: dict[str, object]) -> None:
    digest = Digest.of(b"layer")
    store.remember("libraries", digest.hex, document)
    assert recall_libraries(store, digest) is None
