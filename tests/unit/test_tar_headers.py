"""Tar headers, read back by the standard library and by GNU tar."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from repro_env.image import tar

DEEP = "/".join(["directory"] * 12)  # 119 characters


def read_back(data: bytes) -> tarfile.TarInfo:
    """Return the one entry of an archive whose content, if any, need not be there."""
    with tarfile.open(fileobj=io.BytesIO(data + tar.END_OF_ARCHIVE)) as archive:
        entry = archive.next()
    assert entry is not None
    return entry


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "a" * 99,
        "a" * 100,
        "a" * 101,
        f"{DEEP}/{'b' * 100}",
        f"{DEEP}/{'b' * 101}",
        f"{'a' * 155}/{'b' * 100}",
        f"{'a' * 156}/{'b' * 99}",
        f"{'a' * 156}/{'b' * 100}",
        f"{DEEP}/" * 3 + "name",
        "größe.txt",
        "名前/" * 60 + "x",
        "a b\tc\nd=e",
        "trailing space ",
        "é" * 50,
    ],
)
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_path_of_any_length_and_script_is_read_back(path: str, kind: str) -> None:
    mode = 0o755 if kind == "directory" else 0o644
    found = read_back(tar.header(tar.Entry(path=path, kind=kind, mode=mode)))
    assert (found.name, found.isdir(), found.mode) == (path, kind == "directory", mode)
    assert (found.uid, found.gid, found.uname, found.gname, found.mtime) == (0, 0, "", "", tar.MTIME)


def test_a_path_that_ustar_can_say_takes_one_block() -> None:
    assert len(tar.header(tar.Entry(path="a" * 100))) == tar.BLOCK
    assert len(tar.header(tar.Entry(path=f"{'a' * 155}/{'b' * 100}"))) == tar.BLOCK
    assert len(tar.header(tar.Entry(path="a" * 99, kind="directory"))) == tar.BLOCK
    assert len(tar.header(tar.Entry(path="a" * 101))) == 3 * tar.BLOCK
    assert len(tar.header(tar.Entry(path="ä"))) == 3 * tar.BLOCK


@pytest.mark.parametrize("size", [0, 1, 8 * 2**30 - 1, 8 * 2**30, 2**40 + 3])
def test_a_size_from_8_gib_up_is_read_back(size: int) -> None:
    assert read_back(tar.header(tar.Entry(path="weights", size=size))).size == size


@pytest.mark.parametrize("identity", [0, 65534, 2097151, 2097152, 2**32 - 2])
def test_an_owner_of_any_number_is_read_back(identity: int) -> None:
    found = read_back(tar.header(tar.Entry(path="a", owner=identity, group=identity)))
    assert (found.uid, found.gid) == (identity, identity)


@pytest.mark.parametrize("link", ["python3", "x" * 100, "x" * 101, "../" * 60 + "name", "ä/ö"])
@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
def test_a_link_of_any_length_is_read_back(link: str, kind: str) -> None:
    found = read_back(tar.header(tar.Entry(path="a", kind=kind, link=link)))
    assert (found.linkname, found.issym(), found.islnk()) == (link, kind == "symlink", kind == "hardlink")


def test_everything_at_once_is_read_back() -> None:
    path, link = "ä" * 300, "ö" * 300
    found = read_back(tar.header(tar.Entry(path=path, kind="symlink", link=link, mode=0o777, owner=2**31, group=2**30)))
    assert (found.name, found.linkname, found.uid, found.gid) == (path, link, 2**31, 2**30)


@pytest.mark.parametrize(("size", "expected"), [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511)])
def test_padding_fills_a_block(size: int, expected: int) -> None:
    assert tar.padding(size) == bytes(expected)


@pytest.mark.parametrize("value", ["x" * count for count in range(80, 102)] + ["x" * 985, "x" * 990, "x" * 10000])
def test_a_pax_record_counts_its_own_length(value: str) -> None:
    record = tar._record(b"path", value.encode())
    assert int(record.split(b" ", 1)[0]) == len(record)


def test_gnu_tar_reads_and_unpacks_them(tmp_path: Path) -> None:
    entries = [
        (tar.Entry(path="d", kind="directory", mode=0o755), b""),
        (tar.Entry(path="d/" + "a" * 120, size=3), b"abc"),
        (tar.Entry(path=f"d/{'x' * 120}", kind="directory", mode=0o755), b""),
        (tar.Entry(path=f"d/{'x' * 120}/{'y' * 99}", size=600), b"z" * 600),
        (tar.Entry(path="d/größe", mode=0o755, size=1), b"!"),
        (tar.Entry(path="d/link", kind="symlink", mode=0o777, link="größe"), b""),
        (tar.Entry(path="d/same", kind="hardlink", link="d/größe"), b""),
    ]
    parts = [tar.header(entry) + content + tar.padding(len(content)) for entry, content in entries]
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"".join(parts) + tar.END_OF_ARCHIVE)
    target = tmp_path / "out"
    target.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", target, "--no-same-owner"], check=True, capture_output=True)
    assert (target / "d" / ("a" * 120)).read_bytes() == b"abc"
    assert (target / "d" / ("x" * 120) / ("y" * 99)).read_bytes() == b"z" * 600
    assert (target / "d/link").read_bytes() == b"!"
    assert (target / "d/größe").stat().st_mode & 0o777 == 0o755
    assert (target / "d/same").stat().st_ino == (target / "d/größe").stat().st_ino
    assert int((target / "d/größe").stat().st_mtime) == tar.MTIME
