"""AMD's code objects as clang bundles them: one bundle a source file, plain or compressed as a whole.

A bundle lists its code objects at its beginning, so that of a compressed one only the beginning is decompressed.
Source: https://clang.llvm.org/docs/ClangOffloadBundler.html, "Bundled Binary File Layout", "Compressed Bundled Code".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from repro_env.image.decompress import zstd_module
from repro_env.image.gpu.walk import BETWEEN, Found, Skip, Steps, Take, TooManyError, UnreadableError

SECTIONS = frozenset({".hip_fatbin"})

_PLAIN = b"__CLANG_OFFLOAD_BUNDLE__"
_COMPRESSED = b"CCOB"
_LENGTHS = {2: struct.Struct("<IIQ"), 3: struct.Struct("<QQQ")}
"""By version: size of the whole bundle, size when decompressed, hash. The first version says no size of the whole."""

_HEAD = struct.Struct("<4sHH")
_ENTRY = struct.Struct("<QQQ")
_ZLIB, _ZSTD = 0, 1
_MOST_BUNDLES = 1 << 16
_MOST_CODES = 1 << 10
_NAME = 1 << 10
_TRIPLE = 4
_BEGINNING = 256 << 10
"""Bytes taken of a compressed bundle: more than a block of zstd, the least that can be decompressed."""

_LISTED = 64 << 10
_WINDOW = 29  # the decompressor's own limit is less than the largest bundles have


def bundles(take: Callable[[Found], None]) -> Steps:
    """Read bundles one after another; `take` gets what is in each, once it is whole. Errors: `UnreadableError`."""
    for _turn in range(_MOST_BUNDLES):
        yield BETWEEN
        head = yield Take(_HEAD.size)
        inner = Found()
        if head.startswith(_COMPRESSED):
            yield from _compressed(head, inner)
        elif _PLAIN.startswith(head):
            yield from _plain(inner)
        else:
            raise UnreadableError("something else stands between its bundles of GPU code")
        take(inner)
    raise TooManyError("it has too many bundles of GPU code")


def _plain(found: Found) -> Steps:
    place = _HEAD.size
    if (yield Take(len(_PLAIN) - place)) != _PLAIN[place:]:
        raise UnreadableError("something else stands between its bundles of GPU code")
    count = _count((yield Take(8)))
    place, end = len(_PLAIN) + 8, 0
    for _turn in range(count):
        offset, size, length = _ENTRY.unpack((yield Take(_ENTRY.size)))
        found.amd |= _processors((yield Take(_name(length))))
        place, end = place + _ENTRY.size + length, max(end, offset + size)
    yield Skip(max(end - place, 0))


def _compressed(head: bytes, found: Found) -> Steps:
    _magic, version, method = _HEAD.unpack(head)
    lengths = _LENGTHS.get(version)
    if lengths is None:
        raise UnreadableError(f"its GPU code is compressed in version {version} of clang's bundles")
    size, _decompressed, _hash = lengths.unpack((yield Take(lengths.size)))
    size -= _HEAD.size + lengths.size
    if size <= 0:
        raise UnreadableError("a bundle of its GPU code is smaller than its header")
    packed = yield Take(min(size, _BEGINNING))
    _listed(_Listing(_decompressed_beginning(method, packed)), found)
    yield Skip(size - len(packed))


def _decompressed_beginning(method: int, packed: bytes) -> bytes:
    if method == _ZLIB:
        try:
            return zlib.decompressobj().decompress(packed, _LISTED)
        except zlib.error as error:
            raise UnreadableError("a compressed bundle of its GPU code is damaged") from error
    if method != _ZSTD:
        raise UnreadableError(f"its GPU code is compressed by method {method}, which is not known")
    zstd = zstd_module()
    options = {zstd.DecompressionParameter.window_log_max: _WINDOW}
    try:
        return bytes(zstd.ZstdDecompressor(options=options).decompress(packed, _LISTED))
    except zstd.ZstdError as error:
        raise UnreadableError("a compressed bundle of its GPU code is damaged") from error


@dataclass(slots=True)
class _Listing:
    """The beginning of a bundle, and how far it was read."""

    data: bytes
    place: int = 0

    def take(self, size: int) -> bytes:
        taken = self.data[self.place : self.place + size]
        if len(taken) < size:
            raise UnreadableError("the list of a bundle of its GPU code is cut short")
        self.place += size
        return taken


def _listed(listing: _Listing, found: Found) -> None:
    if listing.take(len(_PLAIN)) != _PLAIN:
        raise UnreadableError("a compressed bundle of its GPU code holds something else")
    for _turn in range(_count(listing.take(8))):
        _offset, _size, length = _ENTRY.unpack(listing.take(_ENTRY.size))
        found.amd |= _processors(listing.take(_name(length)))


def _count(data: bytes) -> int:
    count = int.from_bytes(data, "little")
    if count > _MOST_CODES:
        raise UnreadableError(f"a bundle of its GPU code lists {count} code objects")
    return count


def _name(length: int) -> int:
    if not 0 < length <= _NAME:
        raise UnreadableError(f"a code object's name in its GPU code is {length} bytes long")
    return length


def _processors(name: bytes) -> set[str]:
    """Return the AMD processor that a code object is for; none for the host's entry, which is empty.

    The name is KIND-ARCHITECTURE-VENDOR-SYSTEM-ENVIRONMENT-PROCESSOR, and older bundles leave the environment out.
    """
    kind, *triple = name.decode(errors="replace").split("-", 4)
    if kind == "host":
        return set()
    if triple[1:3] != ["amd", "amdhsa"] or len(triple) != _TRIPLE:
        raise UnreadableError("a code object in its GPU code is for no AMD processor")
    return {triple[-1].removeprefix("unknown").lstrip("-")}
