"""Libraries with code for GPUs, put together byte by byte: fat binaries, offload bundles, and the ELF file around them.

code = container(entry(SASS, 90, flags=THIS_ONE), entry(PTX, 90, version=(8, 4)))
library = gpu_elf((".nv_fatbin", code))
"""

from __future__ import annotations

import importlib
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from repro_env.image.gpu.observer import gpu_code
from repro_env.image.gpu.sink import GpuSink, Result
from repro_env.lock.gpu_code import GpuCode

PTX, SASS = 1, 2
THIS_ONE, FAMILY = 0x100000, 0x200000

MAGIC = 0xBA55ED50
PLAIN = b"__CLANG_OFFLOAD_BUNDLE__"
_PAGE = 4096


def entry(
    kind: int,
    architecture: int,
    *,
    version: tuple[int, int] = (1, 8),
    flags: int = 0,
    payload: bytes = b"code" * 10,
    width: int = 64,
    entry_version: int = 0x101,
) -> bytes:
    """Return one entry of a container; `width` is the size of its header."""
    major, minor = version
    padded = payload + bytes(-len(payload) % 8)
    head = struct.pack(
        "<HHIQIIHHIQQQQ",
        *(kind, entry_version, width, len(padded), len(payload), 0, minor, major, architecture, 0, flags | 0x11, 0, 0),
    )
    return head + b"\x48" * (width - 64) + padded


def container(*entries: bytes, version: int = 1, width: int = 16, size: int | None = None) -> bytes:
    """Return a container; `size` is what it says of itself, if that is not true."""
    content = b"".join(entries)
    head = struct.pack("<IHHQ", MAGIC, version, width, len(content) if size is None else size)
    return head + bytes(width - 16) + content


def bundle(*targets: str, codes: int = 600) -> bytes:
    """Return an offload bundle that lists the host and these targets, with `codes` bytes for each."""
    names = [b"host-x86_64-unknown-linux-gnu-", *map(str.encode, targets)]
    listed = len(PLAIN) + 8 + sum(24 + len(name) for name in names)
    place = listed + -listed % _PAGE
    rows = b""
    for index, name in enumerate(names):
        size = codes if index else 0
        rows += struct.pack("<QQQ", place, size, len(name)) + name
        place += size
    head = PLAIN + struct.pack("<Q", len(names)) + rows
    return head + bytes(-len(head) % _PAGE) + (b"\x7fcode objects" * 20_000)[: codes * len(targets)]


def packed(content: bytes, *, version: int = 3, method: int = 1) -> bytes:
    """Return a bundle as clang compresses it: with zlib, method 0, or with zstd."""
    zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    data = zlib.compress(content) if method == 0 else zstd.compress(content)
    widths = {1: "<IQ", 2: "<IIQ", 3: "<QQQ"}[version]
    total = 8 + struct.calcsize(widths) + len(data)
    lengths = (len(content), 7) if version == 1 else (total, len(content), 7)
    return b"CCOB" + struct.pack("<HH", version, method) + struct.pack(widths, *lengths) + data


def in_pages(parts: Iterable[bytes]) -> bytes:
    """Return parts, each at the beginning of a page."""
    return b"".join(part + bytes(-len(part) % _PAGE) for part in parts)


def gpu_elf(
    *sections: tuple[str, bytes],
    text: bytes = b"\x90" * 64,
    together: bool = False,
    kind: int = 3,
    section_type: int = 1,
    section_flags: int = 2,
    gap: int = 24,
    extended: bool = False,
) -> bytes:
    """Return a 64-bit little-endian shared library with these sections, each `gap` zeros after the one before.

    `together`: what is only read shares a segment with the code, as older linkers have it. `extended`: the number of
    sections and the index of their names stand in the first section header.
    """
    count = 2 if together else 4
    body = bytearray(64 + 56 * count)
    begin = len(body)
    body += text
    code_end = len(body)
    body += bytes(-len(body) % 8)
    names, rows = b"\0.shstrtab\0", []
    for name, content in sections:
        body += bytes(gap + -(len(body) + gap) % 8)
        rows.append((len(names), section_type, section_flags, 0, len(body), len(content)))
        names += name.encode() + b"\0"
        body += content
    read_end = len(body)
    body += b"written" * 9
    rows.append((1, 3, 0, 0, len(body), len(names)))
    body += names
    body += bytes(-len(body) % 8)
    table = len(body)
    first = (0, 0, 0, 0, 0, len(rows) + 1 if extended else 0, len(rows) if extended else 0)
    body += struct.pack("<IIQQQQIIQQ", *first, 0, 0, 0)
    for row in rows:
        body += struct.pack("<IIQQQQIIQQ", *row, 0, 0, 8, 0)
    loads = [(5, 0, read_end)] if together else [(4, 0, begin), (5, begin, code_end), (4, code_end, read_end)]
    for index, (flags, start, end) in enumerate([*loads, (6, read_end, len(body))]):
        struct.pack_into("<IIQQQQQQ", body, 64 + 56 * index, 1, flags, start, start, start, end - start, end - start, 8)
    numbers = (0, 0xFFFF) if extended else (len(rows) + 1, len(rows))
    ident = b"\x7fELF\x02\x01\x01"
    struct.pack_into("<16sHHIQQQIHHHHHH", body, 0, ident, kind, 62, 1, 0, 64, table, 0, 64, 56, count, 64, *numbers)
    return bytes(body)


def write_large_elf(path: Path, *, size: int, count: int, together: bool = False) -> None:
    """Write a library whose fat binary takes `size` bytes, most of them holes: `count` containers of equal size."""
    small = gpu_elf((".nv_fatbin", b"12345678"), together=together)
    place = small.index(b"12345678")
    head, tail = bytearray(small[:place]), bytearray(small[place + 8 :])
    grown = size - 8
    (table,) = struct.unpack_from("<Q", head, 40)
    struct.pack_into("<Q", head, 40, table + grown)
    first = table - len(head) - 8
    for row, at, value in ((1, 32, size), (2, 24, None)):
        where = first + 64 * row + at
        struct.pack_into("<Q", tail, where, value or struct.unpack_from("<Q", tail, where)[0] + grown)
    read_only = 64 + 56 * (0 if together else 2)
    (length,) = struct.unpack_from("<Q", head, read_only + 32)
    struct.pack_into("<QQ", head, read_only + 32, length + grown, length + grown)
    each = size // count
    one = container(entry(SASS, 90, payload=b""), size=each - 16)
    one = one[:24] + struct.pack("<Q", each - 16 - 64) + one[32:]
    with path.open("wb") as stream:
        stream.write(head)
        for index in range(count):
            stream.seek(place + index * each)
            stream.write(one)
        stream.seek(place + size)
        stream.write(tail)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """Yield a file's content as a layer's writer shows it."""
    return (data[at : at + size] for at in range(0, len(data), size))


def read_gpu_code(
    data: bytes, *, size: int = 1 << 18, expected: bool = False, cuts: Sequence[int] = ()
) -> tuple[GpuCode | None, int]:
    """Return what is read of a file that streams past, and how often it was streamed again.

    The pieces are of one `size`, or end at the `cuts`.
    """
    results: list[Result] = []
    passes = 0

    def again() -> Iterator[bytes]:
        nonlocal passes
        passes += 1
        return pieces(data, size)

    sink = GpuSink(len(data), expected=expected, again=again, done=results.append)
    ends = [*sorted(cuts), len(data)]
    parts = map(data.__getitem__, map(slice, [0, *ends], ends)) if cuts else pieces(data, size)
    for part in filter(None, parts):
        sink.feed(part)
    sink.close()
    assert len(results) <= 1
    return (gpu_code("x.so", results[0]) if results else None), passes
