"""Gzip members put together without a compressor, so that no compressor's version can move a layer's digest.

A gzip file may hold many members in a row (RFC 1952, section 2.2). Three kinds are written here:

- `copied`: another program's DEFLATE stream, a wheel member's, as it stands;
- `stored`: bytes in stored blocks (RFC 1951, section 3.2.4), for content that nobody has compressed yet;
- `packed`: tar headers and padding, which are short texts between runs of zeros: one block of the fixed Huffman code
  (RFC 1951, section 3.2.6), where each ASCII byte is eight bits and a run of zeros is a match at distance 1.
"""

from __future__ import annotations

import re
from functools import lru_cache

from isal import isal_zlib

HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""No name, no time, operating system unknown."""

_STORED_LIMIT = 65535
_LONGEST_MATCH = 258
_SHORTEST_MATCH = 3
_FIRST_NINE_BIT_LITERAL = 144
_LONG = 1 << 16  # bits


def trailer(crc: int, size: int) -> bytes:
    """Return what ends a member: the content's CRC-32 and its size modulo 2**32."""
    return crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")


def stored(data: bytes) -> bytes:
    """Return one whole member that holds `data` uncompressed."""
    view = memoryview(data)
    parts = [HEADER]
    for start in range(0, max(len(data), 1), _STORED_LIMIT):
        piece = view[start : start + _STORED_LIMIT]
        parts += (stored_head(len(piece), last=start + _STORED_LIMIT >= len(data)), bytes(piece))
    parts.append(trailer(isal_zlib.crc32(data), len(data)))
    return b"".join(parts)


def stored_head(size: int, *, last: bool) -> bytes:
    """Return the five bytes before a stored block of up to 65535 bytes."""
    return bytes([last]) + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little")


def packed(data: bytes) -> bytes:
    """Return one whole member that holds `data`, with its runs of zeros as matches; stored if it is not ASCII."""
    if not data.isascii():
        return stored(data)
    done: list[bytes] = []
    bits, count = 0b011, 3  # last block, fixed Huffman code
    place = 0
    for run in _ZEROS.finditer(data):
        literal = data[place : run.start()]
        bits |= int.from_bytes(literal.translate(_LITERALS), "little") << count
        count += 8 * len(literal)
        value, width = _zero_run(run.end() - run.start())
        bits |= value << count
        count += width
        place = run.end()
        if count > _LONG:  # a longer number would make this quadratic
            whole, count = divmod(count, 8)
            done.append((bits & ((1 << 8 * whole) - 1)).to_bytes(whole, "little"))
            bits >>= 8 * whole
    rest = data[place:]
    bits |= int.from_bytes(rest.translate(_LITERALS), "little") << count
    count += 8 * len(rest) + 7  # the end-of-block symbol is seven zero bits
    done.append(bits.to_bytes((count + 7) // 8, "little"))
    return b"".join((HEADER, *done, trailer(isal_zlib.crc32(data), len(data))))


_ZEROS = re.compile(rb"\x00{4,}")


def _reversed(value: int, width: int) -> int:
    return int(f"{value:0{width}b}"[::-1], 2)


_LITERALS = bytes(_reversed(0x30 + byte, 8) if byte < _FIRST_NINE_BIT_LITERAL else 0 for byte in range(256))


@lru_cache(maxsize=2048)
def _zero_run(length: int) -> tuple[int, int]:
    """Return the bits, and how many, that stand for `length` zeros: one literal, then matches at distance 1."""
    pieces = [(_LITERALS[0], 8)]
    left = length - 1
    while left >= _SHORTEST_MATCH:
        size = min(left, _LONGEST_MATCH)
        if 0 < left - size < _SHORTEST_MATCH:
            size -= _SHORTEST_MATCH
        pieces.append(_match(size))
        left -= size
    pieces += [(_LITERALS[0], 8)] * left
    bits = count = 0
    for value, width in pieces:
        bits |= value << count
        count += width
    return bits, count


# RFC 1951, section 3.2.5: the first length of each length symbol from 257, with its number of extra bits.
_LENGTHS = [(3 + index, 0) for index in range(8)]
for _extra in range(1, 6):
    _first = 3 + (4 << _extra)
    _LENGTHS += [(_first + (step << _extra), _extra) for step in range(4)]
_LENGTHS[-1:] = [(_LENGTHS[-1][0], 5), (_LONGEST_MATCH, 0)]


def _match(length: int) -> tuple[int, int]:
    """Return the bits of one match of `length` bytes at distance 1, whose distance code is five zero bits."""
    index = max(place for place, (first, _extra) in enumerate(_LENGTHS) if first <= length)
    first, extra = _LENGTHS[index]
    symbol = 257 + index
    code, width = (symbol - 256, 7) if symbol < 280 else (0xC0 + symbol - 280, 8)  # noqa: PLR2004 - RFC 1951
    return _reversed(code, width) | (length - first) << width, width + extra + 5
