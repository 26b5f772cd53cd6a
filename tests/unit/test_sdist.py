"""Source distributions, well made and hostile."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from repro_env.errors import IntegrityError
from repro_env.image.sdist import pyproject_of, unpack_sdist

Entry = tuple[str, bytes]


def make_tar(path: Path, entries: Sequence[Entry], *more: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o775 if name.endswith(".sh") else 0o664
            archive.addfile(info, io.BytesIO(content))
        for info in more:
            archive.addfile(info)
    return path


def make_zip(path: Path, entries: Sequence[Entry]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a-1/", b"")
        for name, content in entries:
            archive.writestr(name, content)
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


ENTRIES = [("a-1/pyproject.toml", b"[project]\n"), ("a-1/src/a.py", b"x"), ("a-1/run.sh", b"#!"), ("a-1/é", b"")]


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_files_are_written_without_their_directory(tmp_path: Path, kind: str) -> None:
    file = f"a-1.{kind}"
    path = (make_zip if kind == "zip" else make_tar)(tmp_path / "blob", ENTRIES)
    target = tmp_path / "out"
    unpack_sdist(path, file, target)
    found = {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert found == {"pyproject.toml": b"[project]\n", "src/a.py": b"x", "run.sh": b"#!", "é": b""}
    assert pyproject_of(path, file) == "[project]\n"


def test_modes_are_two_and_links_are_copies(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "blob", ENTRIES, link("a-1/copy.py", "src/a.py"))
    target = tmp_path / "out"
    unpack_sdist(path, "a-1.tar.gz", target)
    assert stat.S_IMODE((target / "src" / "a.py").stat().st_mode) == 0o644
    assert stat.S_IMODE((target / "run.sh").stat().st_mode) == 0o755
    assert (target / "copy.py").read_bytes() == b"x"
    assert not (target / "copy.py").is_symlink()


def test_one_without_a_pyproject(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "blob", [("a-1/setup.py", b""), ("a-1/sub/pyproject.toml", b"x")])
    assert pyproject_of(path, "a-1.tar.gz") == ""


@pytest.mark.parametrize("name", ["a-1/../../x", "/etc/x", "../x", "a-1/a\\..\\b"])
@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    path = (make_zip if kind == "zip" else make_tar)(tmp_path / "blob", [(name, b"x")])
    with pytest.raises(IntegrityError, match="leads out of it"):
        unpack_sdist(path, f"a-1.{kind}", tmp_path / "out")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "missing"])
def test_links_out_are_left_out(tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").write_text("secret")
    path = make_tar(tmp_path / "blob", ENTRIES, link("a-1/sub/link", target))
    unpack_sdist(path, "a-1.tar.gz", tmp_path / "out")
    assert not (tmp_path / "out" / "sub" / "link").exists()


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    path = tmp_path / "blob"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(link("a-1/dir", str(outside)))
        info = tarfile.TarInfo("a-1/dir/x")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    unpack_sdist(path, "a-1.tar.gz", tmp_path / "out")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "entries",
    [[("a-1/x", b"1"), ("a-1/x", b"2")], [("a-1/x", b"1"), ("a-1/x/y", b"2")]],
    ids=["twice", "file as folder"],
)
def test_contradictions_are_refused(tmp_path: Path, entries: Sequence[Entry]) -> None:
    path = make_tar(tmp_path / "blob", entries)
    with pytest.raises(IntegrityError, match="not a usable source distribution"):
        unpack_sdist(path, "a-1.tar.gz", tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x1f\x8b\x08\x00"])
@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_damage_is_said(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "blob").write_bytes(content)
    with pytest.raises(IntegrityError, match="not a usable source distribution"):
        pyproject_of(tmp_path / "blob", f"a-1.{kind}")


def test_one_cut_short(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "blob", [("a-1/x", bytes(range(256)) * 400)])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(IntegrityError):
        unpack_sdist(path, "a-1.tar.gz", tmp_path / "out")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
def test_one_whose_compression_is_damaged(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    with tarfile.open(tmp_path / "tar", "w") as archive:
        info = tarfile.TarInfo("a-1/x")
        info.size = 300_000
        archive.addfile(info, io.BytesIO(random.Random(1).randbytes(300_000)))
    data = pack((tmp_path / "tar").read_bytes())
    (tmp_path / "blob").write_bytes(data[:200_000] + b"P" * 70_000 + data[270_000:])
    with pytest.raises(IntegrityError, match="not a usable source distribution"):
        unpack_sdist(tmp_path / "blob", "a-1.tar.gz", tmp_path / "out")


def test_an_encrypted_one_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "blob", ENTRIES)
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02", data.find(b"PK\x01\x02") + 1)  # of the first file in the directory
    data[at + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="not a usable source distribution"):
        unpack_sdist(path, "a-1.zip", tmp_path / "out")


def test_a_link_to_no_name_is_refused(tmp_path: Path) -> None:
    odd = link("a-1/x", "a")
    odd.pax_headers = {"linkpath": "a\0b"}
    path = make_tar(tmp_path / "blob", ENTRIES, odd)
    with pytest.raises(IntegrityError, match="not a usable source distribution"):
        unpack_sdist(path, "a-1.tar.gz", tmp_path / "out")


def test_copies_of_links_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro_env.image.sdist._LARGEST", 1 << 20)
    links = [link(f"a-1/{number}", "large") for number in range(40)]
    path = make_tar(tmp_path / "blob", [("a-1/large", bytes(100_000))], *links)
    with pytest.raises(IntegrityError, match="unpacks to more than"):
        unpack_sdist(path, "a-1.tar.gz", tmp_path / "out")
    assert sum(file.stat().st_size for file in (tmp_path / "out").iterdir()) <= 1 << 20


def test_a_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro_env.image.sdist._LARGEST", 1 << 20)
    path = make_tar(tmp_path / "blob", [("a-1/zeros", bytes(2 << 20))])
    with pytest.raises(IntegrityError, match="unpacks to more than"):
        unpack_sdist(path, "a-1.tar.gz", tmp_path / "out")
    assert not (tmp_path / "out" / "zeros").exists()
