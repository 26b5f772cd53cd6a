"""A `.deb` is read whole or refused by name."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from debmaker import Entry, Made, make_ar, make_deb, make_tar

from repro_env.errors import IntegrityError
from repro_env.image.debian import ar
from repro_env.image.debian.deb import Deb, read_deb
from repro_env.image.debian.spool import Spools
from repro_env.image.decompress import zstd_module

CONTROL = b"Package: a\nVersion: 1.0-1\nArchitecture: amd64\n"


class Reader:
    """Reads packages that were made, into spools that the fixture closes."""

    def __init__(self, folder: Path, spools: Spools) -> None:
        self._folder, self._spools = folder, spools

    def read(self, made: Made, pinned: Made | None = None) -> Deb:
        blob = self._folder / "blob"
        blob.write_bytes(made.data)
        return read_deb((pinned or made).pin(), blob, self._spools)

    def refusal(self, made: Made) -> str:
        with pytest.raises(IntegrityError) as caught:
            self.read(made)
        assert caught.value.what == "a is not a valid Debian package"
        return caught.value.why


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with Spools(tmp_path, 1) as spools:
        yield Reader(tmp_path, spools)


def whole(parts: Mapping[str, bytes]) -> Made:
    return Made(data=make_ar(parts), fields={"Package": "a", "Version": "1.0-1", "Architecture": "amd64"})


def control_part(text: bytes = CONTROL) -> bytes:
    return lzma.compress(make_tar([("./control", Entry(content=text))]))


def with_members(*members: tuple[str, Entry]) -> Made:
    return make_deb("a", members=members)


def test_a_good_package(reader: Reader) -> None:
    large = bytes(range(256)) * 9000
    made = make_deb(
        "a",
        files={
            "usr/bin/tool": Entry(content=b"#!", mode=0o4755),
            "usr/bin/same": Entry(kind=tarfile.LNKTYPE, link="./usr/bin/tool", mode=0o4755),
            "usr/lib/large": large,
            "usr/lib/link": Entry(kind=tarfile.SYMTYPE, link="../bin/tool"),
            "var/mail": Entry(kind=tarfile.DIRTYPE, mode=0o2775, group=8),
        },
        control={"postinst": b"#!/bin/sh\n"},
        depends="libc6 (>= 2.36)",
    )
    deb = reader.read(made)
    members = {member.path: member for member in deb.members}
    assert (deb.name, deb.version, deb.control["postinst"]) == ("a", "1.0-1", b"#!/bin/sh\n")
    assert [str(group[0]) for group in deb.relations("pre-depends", "depends")] == ["libc6 (>= 2.36)"]
    tool, same, content = members["usr/bin/tool"], members["usr/bin/same"], members["usr/lib/large"].content
    assert tool.mode == 0o755  # setuid is dropped
    assert same.kind == "file"
    assert same.content is tool.content
    assert content is not None
    assert content.read() == b"".join(content.chunks()) == large
    assert content.read(4, 255) == b"\xff\x00\x01\x02"
    assert content.read(10, len(large)) == b""
    assert members["usr/lib/link"].link == "../bin/tool"
    assert (members["var/mail"].mode, members["var/mail"].group) == (0o2775, 8)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstd_module().compress,
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_compressions(reader: Reader, suffix: str) -> None:
    pack = PACKERS[suffix]
    data = pack(make_tar([("./", Entry(kind=tarfile.DIRTYPE)), ("./x", Entry(content=b"1"))]))
    control = pack(make_tar([("./control", Entry(content=CONTROL))]))
    parts = {"debian-binary": b"2.0\n", f"control.tar{suffix}": control, f"data.tar{suffix}": data, "_later": b""}
    assert [member.path for member in reader.read(whole(parts)).members] == ["x"]


DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda data: data[:-9],
    lambda data: data[:40] + b"XXXX" + data[44:],
    lambda _data: b"",
]


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_compression_is_refused(reader: Reader, suffix: str, damage: Callable[[bytes], bytes]) -> None:
    control = PACKERS[suffix](make_tar([("./control", Entry(content=CONTROL))]))
    data = damage(PACKERS[suffix](make_tar([("./x", Entry(content=bytes(range(256)) * 99))])))
    parts = {"debian-binary": b"2.0\n", f"control.tar{suffix}": control, f"data.tar{suffix}": data}
    assert reader.refusal(whole(parts))


def test_an_unknown_compression_is_refused(reader: Reader) -> None:
    parts = {"debian-binary": b"2.0\n", "control.tar.lz5": b"", "data.tar.lz5": b""}
    assert "compressed in a way" in reader.refusal(whole(parts))


def test_other_bytes_than_the_pinned_ones(reader: Reader) -> None:
    made, pinned = make_deb("a", files={"x": b"2"}), make_deb("a", files={"x": b"1"})
    with pytest.raises(IntegrityError, match="the store's copy of a is damaged"):
        reader.read(made, pinned)


def test_a_package_that_is_cut_anywhere_is_refused(reader: Reader) -> None:
    made = make_deb("a", files={"usr/x": b"content " * 300})
    for length in range(0, len(made.data) - 1, 7):
        reader.refusal(Made(data=made.data[:length], fields=made.fields))


def test_a_data_archive_that_is_cut_at_a_block_is_refused(reader: Reader) -> None:
    data = make_tar([("./", Entry(kind=tarfile.DIRTYPE)), ("./x", Entry(content=b"1" * 2000)), ("./y", Entry())])
    head = {"debian-binary": b"2.0\n", "control.tar.xz": control_part()}
    for length in range(0, 512 * 7, 512):
        reader.refusal(whole({**head, "data.tar.xz": lzma.compress(data[:length])}))
    damaged = bytearray(data)
    damaged[512 * 6 + 5] ^= 1  # in y's header, whose checksum no longer holds
    assert "damaged or cut short" in reader.refusal(whole({**head, "data.tar.xz": lzma.compress(bytes(damaged))}))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/etc/passwd", "leaves its root"),
        ("./../x", "leaves its root"),
        ("./a/../../x", "leaves its root"),
        ("./a//b", "not plain"),
    ],
)
def test_names_that_leave_the_root(reader: Reader, name: str, expected: str) -> None:
    assert expected in reader.refusal(with_members((name, Entry(content=b"x"))))


@pytest.mark.parametrize("target", ["../x", "../../x", "a/../../../x", ""])
def test_links_that_leave_the_root(reader: Reader, target: str) -> None:
    why = reader.refusal(with_members(("./d/l" if "a/" in target else "./l", Entry(kind=tarfile.SYMTYPE, link=target))))
    assert "link" in why


def test_an_absolute_link_stays_in_the_image(reader: Reader) -> None:
    deb = reader.read(with_members(("./l", Entry(kind=tarfile.SYMTYPE, link="/etc/passwd"))))
    assert deb.members[0].link == "/etc/passwd"


@pytest.mark.parametrize("target", ["./nothing", "/etc/passwd", "../x", "./d"])
def test_hard_links_lead_to_a_file_before_them(reader: Reader, target: str) -> None:
    members = [("./d/", Entry(kind=tarfile.DIRTYPE)), ("./l", Entry(kind=tarfile.LNKTYPE, link=target))]
    reader.refusal(with_members(*members))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices(reader: Reader, kind: bytes) -> None:
    assert "neither file, directory nor link" in reader.refusal(with_members(("./dev", Entry(kind=kind))))


def test_a_name_twice(reader: Reader) -> None:
    assert "holds x twice" in reader.refusal(with_members(("./x", Entry(content=b"1")), ("x", Entry(content=b"2"))))


def test_a_name_that_is_not_utf8(reader: Reader) -> None:
    data = make_tar([("./xx", Entry(content=b"1"))]).replace(b"./xx", b"./\xff\xfe")
    header = bytearray(data[:512])
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": control_part()}
    reader.refusal(whole({**parts, "data.tar.xz": lzma.compress(bytes(header) + data[512:])}))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"debian-binary": b"2.0\n"}, "does not consist of"),
        ({"debian-binary": b"3.0\n", "control.tar": b"", "data.tar": b""}, "another format"),
        ({"debian-binary": b"2.0\n", "data.tar": b"", "control.tar": b""}, "instead of control.tar"),
        ({"debian-binary": b"2.0\n", "control.tar.xz": control_part(), "data.tar.rar": b""}, "does not know"),
        ({"debian-binary": b"2.0\n", "control.tar.xz": b"nonsense", "data.tar.xz": b""}, ""),
        (
            {"debian-binary": b"2.0\n", "control.tar.xz": control_part(b"Package: b\nVersion: 2\n"), "data.tar": b""},
            "b 2",
        ),
        ({"debian-binary": b"2.0\n", "control.tar.xz": lzma.compress(make_tar([])), "data.tar": b""}, "control"),
    ],
)
def test_parts(reader: Reader, parts: dict[str, bytes], expected: str) -> None:
    assert expected in reader.refusal(whole(parts))


def test_ar() -> None:
    data = make_ar({"one": b"abc", "two": b"defg"})
    found = list(ar.members(io.BytesIO(data)))
    assert [(member.name, data[member.offset : member.offset + member.size]) for member in found] == [
        ("one", b"abc"),
        ("two", b"defg"),
    ]
    for damaged in (
        b"",
        b"!<arch>",
        data[:-1],
        data.replace(b"`\n", b"``"),
        data.replace(b"3         `", b"-3        `"),
    ):
        with pytest.raises(ValueError, match=r"^(it|its) "):
            list(ar.members(io.BytesIO(damaged)))


def test_part_reads_onward_and_stops() -> None:
    part = ar.Part(io.BytesIO(b"0123456789"), 2, 5)
    assert part.readable()
    assert (part.read(3), part.read(10), part.read(1)) == (b"234", b"56", b"")
