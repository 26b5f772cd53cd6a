"""Zip archives as wheels are: what is read, what is refused, and that damage is never a traceback."""

from __future__ import annotations

import contextlib
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from repro_env.errors import IntegrityError, StoreError
from repro_env.image.archive import Archive, Member

LABEL = "probe-1.0-py3-none-any.whl"
TEXT = b"print('hello')\n" * 50


def make_zip(path: Path, members: dict[str, bytes], *, stored: bool = False) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=archive.compression)
    return path


def make_members(path: Path, *members: tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members:
            archive.writestr(member, content)
    return path


def read_all(path: Path) -> dict[str, bytes]:
    with Archive(path, LABEL) as archive:
        return {member.name: archive.read(member) for member in archive.members}


def refusal(path: Path) -> str:
    with pytest.raises(IntegrityError) as caught:
        read_all(path)
    assert LABEL in caught.value.what
    return caught.value.why


def replace(path: Path, old: bytes, new: bytes, *, count: int = -1, last: bool = False) -> Path:
    data = path.read_bytes()
    if last:
        before, _, after = data.rpartition(old)
        path.write_bytes(before + new + after)
    else:
        path.write_bytes(data.replace(old, new, count))
    return path


# What is read


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("size", [0, 1, 1000, (1 << 20) - 1, 1 << 20, (1 << 20) + 258, 3 << 20])
def test_members_are_read_whole(tmp_path: Path, size: int, stored: bool) -> None:
    for content in (random.Random(size).randbytes(size), bytes(size)):
        path = make_zip(tmp_path / "a.whl", {"a": content, "b": TEXT}, stored=stored)
        assert read_all(path) == {"a": content, "b": TEXT}


def test_names_of_every_script_are_read(tmp_path: Path) -> None:
    members = {"pkg/größe.py": TEXT, "pkg/名前.py": b"", "pkg/a b,c'\"d.txt": b"1", "pkg/" + "x" * 200: b"2"}
    assert read_all(make_zip(tmp_path / "a.whl", members)) == members


def test_a_name_without_the_flag_for_utf_8_is_code_page_437(tmp_path: Path) -> None:
    path = replace(make_zip(tmp_path / "a.whl", {"pkg/XX.py": TEXT}), b"XX", b"\x81\xe1")
    assert read_all(path) == {"pkg/üß.py": TEXT}


def test_directories_are_left_out(tmp_path: Path) -> None:
    folder = zipfile.ZipInfo("pkg/")
    folder.external_attr = 0o40755 << 16
    assert read_all(make_members(tmp_path / "a.whl", (folder, b""), (zipfile.ZipInfo("pkg/a"), b"1"))) == {
        "pkg/a": b"1"
    }


@pytest.mark.parametrize(
    ("mode", "executable"), [(0, False), (0o100644, False), (0o100755, True), (0o100654, True), (0o755, True)]
)
def test_any_executable_bit_counts(tmp_path: Path, mode: int, executable: bool) -> None:
    member = zipfile.ZipInfo("a")
    member.external_attr = mode << 16
    with Archive(make_members(tmp_path / "a.whl", (member, b"")), LABEL) as archive:
        assert archive.members[0].executable is executable


def test_members_with_data_descriptors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.whl"

    class Unseekable:
        """A stream that cannot go back to fill in a size, so zipfile writes it after the content."""

        def __init__(self) -> None:
            self.data = bytearray()

        def write(self, data: bytes) -> int:
            self.data += data
            return len(data)

        def flush(self) -> None:
            pass

    stream = Unseekable()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        archive.writestr("a", TEXT)
        archive.writestr("b", b"")
    path.write_bytes(stream.data)
    with zipfile.ZipFile(path) as check:
        assert check.infolist()[0].flag_bits & 0x8
    assert read_all(path) == {"a": TEXT, "b": b""}


def test_zip64_members_and_extra_fields_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("big", "w", force_zip64=True) as stream:
            stream.write(TEXT)
        member = zipfile.ZipInfo("extra")
        member.extra = struct.pack("<HH", 0xCAFE, 500) + bytes(500)
        archive.writestr(member, TEXT)
    assert read_all(path) == {"big": TEXT, "extra": TEXT}


def test_bytes_before_the_archive_do_no_harm(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.whl", {"a": TEXT, "b": b"1"})
    path.write_bytes(b"#!/bin/sh\n" * 100 + path.read_bytes())
    assert read_all(path) == {"a": TEXT, "b": b"1"}


def test_streams_are_those_of_the_file(tmp_path: Path) -> None:
    content = random.Random(0).randbytes(3 << 20)
    path = make_zip(tmp_path / "a.whl", {"a": content}, stored=True)
    with Archive(path, LABEL) as archive:
        pieces = list(archive.stream(archive.members[0]))
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= 1 << 20


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"#!python\n", True), (b"#!python", True), (b"#!pytho", False), (b"", False), (b"x#!python", False)],
)
@pytest.mark.parametrize("stored", [True, False])
def test_how_a_member_begins(tmp_path: Path, content: bytes, expected: bool, stored: bool) -> None:
    with Archive(make_zip(tmp_path / "a.whl", {"a": content}, stored=stored), LABEL) as archive:
        assert archive.begins_with(archive.members[0], b"#!python") is expected


# What is refused


@pytest.mark.parametrize(
    "name", ["../a", "a/../b", "/a", "a//b", "./a", "a/./b", "..", ".", "a/..", "//", "", "a/../", "/"]
)
def test_a_name_that_could_land_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    assert "not a plain relative path" in refusal(make_zip(tmp_path / "a.whl", {"x": b"", name: b"1"}))


def test_a_name_with_a_nul_is_refused(tmp_path: Path) -> None:
    path = replace(make_zip(tmp_path / "a.whl", {"pkg/a_b": TEXT}), b"a_b", b"a\0b")
    assert "not a plain relative path" in refusal(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    path = make_members(tmp_path / "a.whl", (zipfile.ZipInfo("a"), b"1"), (zipfile.ZipInfo("a"), b"2"))
    assert refusal(path) == "a: named twice"


@pytest.mark.parametrize("mode", [0o120777, 0o060644, 0o020644, 0o010644, 0o140755, 0o040755])
def test_what_is_no_regular_file_is_refused(tmp_path: Path, mode: int) -> None:
    member = zipfile.ZipInfo("link")
    member.external_attr = mode << 16
    assert refusal(make_members(tmp_path / "a.whl", (member, b"/etc/passwd"))) == "link: not a regular file"


@pytest.mark.parametrize(("method", "name"), [(zipfile.ZIP_BZIP2, "12"), (zipfile.ZIP_LZMA, "14")])
def test_another_compression_is_refused(tmp_path: Path, method: int, name: str) -> None:
    path = tmp_path / "a.whl"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a", TEXT)
    assert f"compression method {name}" in refusal(path)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.whl", {"a": TEXT})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert refusal(path) == "a: encrypted"


def test_a_local_header_of_another_name_is_refused(tmp_path: Path) -> None:
    path = replace(make_zip(tmp_path / "a.whl", {"good.py": TEXT}), b"good.py", b"evil.py", count=1)
    assert refusal(path) == "good.py: its local header has another name"


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.whl", {"a": TEXT, "b": TEXT, "c": TEXT})
    data = bytearray(path.read_bytes())
    entries = [at for at in range(len(data)) if data[at : at + 4] == b"PK\x01\x02"]
    data[entries[2] + 42 : entries[2] + 46] = data[entries[1] + 42 : entries[1] + 46]
    path.write_bytes(data)
    assert refusal(path) == "c: overlaps the member before it"


@pytest.mark.parametrize("field", [16, 20, 24])
def test_a_lie_about_crc_or_size_is_refused(tmp_path: Path, field: int) -> None:
    """Offsets in a central directory entry: CRC-32, compressed and uncompressed size."""
    path = make_zip(tmp_path / "a.whl", {"a": TEXT, "b": TEXT})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + field] ^= 1
    path.write_bytes(data)
    assert refusal(path)


def test_a_member_too_large_to_be_read_at_once_is_refused(tmp_path: Path) -> None:
    with Archive(make_zip(tmp_path / "a.whl", {"a": bytes(2000)}), LABEL) as archive:
        with pytest.raises(IntegrityError, match="damaged"):
            archive.read(archive.members[0], limit=1999)
        assert archive.read(archive.members[0], limit=2000) == bytes(2000)


def test_a_bomb_gives_no_more_than_it_declares(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.whl", {"a": bytes(100 << 20)})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    with Archive(path, LABEL) as archive:
        given: list[int] = []
        with pytest.raises(IntegrityError):
            given.extend(map(len, archive.content(archive.members[0])))
    assert sum(given) <= 1000


@pytest.mark.parametrize("content", [b"", b"PK", b"<!DOCTYPE html>" * 100, bytes(10_000), b"PK\x05\x06" + bytes(17)])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.whl"
    path.write_bytes(content)
    assert refusal(path)


def test_a_missing_file_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"cannot read {LABEL}"):
        Archive(tmp_path / "absent.whl", LABEL)


# Damage of every kind ends in IntegrityError or in the right content


def survives(path: Path, expected: dict[str, bytes]) -> bool:
    """Whether the archive is still read; what is read must be true."""
    with contextlib.suppress(IntegrityError):
        found = read_all(path)
        for name, content in found.items():
            assert content in expected.values(), name
        return True
    return False


@pytest.fixture
def sample(tmp_path: Path) -> tuple[Path, dict[str, bytes]]:
    members = {
        "pkg/a.py": TEXT,
        "pkg/größe.txt": b"1" * 300,
        "pkg/empty": b"",
        "pkg/r": random.Random(3).randbytes(200),
    }
    return make_zip(tmp_path / "a.whl", members), members


def test_an_archive_cut_off_anywhere_is_refused(sample: tuple[Path, dict[str, bytes]]) -> None:
    path, _members = sample
    data = path.read_bytes()
    for end in range(len(data)):
        path.write_bytes(data[:end])
        assert refusal(path)


def test_a_file_cut_off_under_an_open_archive_is_refused(sample: tuple[Path, dict[str, bytes]]) -> None:
    path, _members = sample
    data = path.read_bytes()
    for end in range(0, len(data), 7):
        path.write_bytes(data)
        with Archive(path, LABEL) as archive:
            path.write_bytes(data[:end])
            for member in archive.members:
                check_member(archive, member, data, end)


def check_member(archive: Archive, member: Member, data: bytes, end: int) -> None:
    try:
        content = archive.read(member)
    except IntegrityError:
        return
    assert len(content) == member.size
    assert member.offset < end


@pytest.mark.parametrize("change", [lambda byte: byte ^ 0xFF, lambda byte: byte ^ 1, lambda byte: 0])
def test_a_changed_byte_anywhere_is_refused_or_harmless(
    sample: tuple[Path, dict[str, bytes]], change: Callable[[int], int]
) -> None:
    path, members = sample
    data = path.read_bytes()
    refused = 0
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([change(data[place])]) + data[place + 1 :])
        refused += not survives(path, members)
    assert refused > len(data) / 4


def test_random_damage_is_refused_or_harmless(sample: tuple[Path, dict[str, bytes]]) -> None:
    path, members = sample
    data = path.read_bytes()
    chance = random.Random(4)
    for _ in range(1500):
        bad = bytearray(data)
        for _ in range(chance.randrange(1, 6)):
            start = chance.randrange(len(bad))
            bad[start : start + chance.randrange(9)] = chance.randbytes(chance.randrange(9))
        path.write_bytes(bad)
        survives(path, members)
