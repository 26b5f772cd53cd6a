"""Gzip members written without a compressor, inflated by everybody else's programs."""

from __future__ import annotations

import gzip
import random
import subprocess
import zlib
from collections.abc import Callable

import pytest
from isal import igzip

from repro_env.image import deflate, tar

READERS: list[Callable[[bytes], bytes]] = [gzip.decompress, igzip.decompress, lambda data: zlib.decompress(data, 31)]


def chance(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize("size", [0, 1, 65534, 65535, 65536, 131070, 131071, 1 << 20])
@pytest.mark.parametrize("read", READERS)
def test_stored_members_hold_their_bytes(size: int, read: Callable[[bytes], bytes]) -> None:
    assert read(deflate.stored(chance(size))) == chance(size)


@pytest.mark.parametrize("zeros", [*range(1, 800), 4096, 65535, 65536, 100_000])
def test_packed_members_hold_runs_of_zeros(zeros: int) -> None:
    for data in (bytes(zeros), b"a" + bytes(zeros) + b"b", b"\x7f" * 3 + bytes(zeros), bytes(zeros) + b"0"):
        assert gzip.decompress(deflate.packed(data)) == data


@pytest.mark.parametrize("read", READERS)
def test_packed_members_hold_every_ascii_byte_and_no_data(read: Callable[[bytes], bytes]) -> None:
    for data in (b"", bytes(range(128)), bytes(range(127, -1, -1)) * 9, b"\0", b"\0\0\0", b"\0\0\0\0"):
        assert read(deflate.packed(data)) == data


def test_what_is_not_ascii_is_stored() -> None:
    data = "größe".encode() + bytes(900)
    assert deflate.packed(data) == deflate.stored(data)


def test_a_header_is_packed_small() -> None:
    head = tar.padding(1) + tar.header(tar.Entry(path="opt/env/lib/python3.11/site-packages/numpy/__init__.py"))
    assert len(deflate.packed(head)) < 200


def test_packing_many_headers_takes_time_in_proportion() -> None:
    """A directory of a hundred thousand links is one member: its bits must not be one number that grows."""
    data = b"".join(tar.header(tar.Entry(path=f"zoneinfo/{n:06}", kind="symlink", link="UTC")) for n in range(20_000))
    packed = deflate.packed(data)
    assert gzip.decompress(packed) == data
    assert len(packed) < len(data) / 4


def test_members_in_a_row_pass_gzip_itself() -> None:
    contents = [b"a" * 600, chance(70_000), bytes(1024), b"", "é".encode()]
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    copied = deflate.HEADER + raw.compress(contents[1]) + raw.flush() + deflate.trailer(zlib.crc32(contents[1]), 70_000)
    blob = b"".join([deflate.packed(contents[0]), copied, *map(deflate.packed, contents[2:]), deflate.stored(b"end")])
    subprocess.run(["gzip", "-t"], input=blob, check=True, capture_output=True)
    found = subprocess.run(["gzip", "-dc"], input=blob, check=True, capture_output=True).stdout
    assert found == b"".join([*contents, b"end"])


def test_a_size_is_kept_modulo_2_to_the_32() -> None:
    assert deflate.trailer(0, 2**32 + 5) == deflate.trailer(0, 5)
