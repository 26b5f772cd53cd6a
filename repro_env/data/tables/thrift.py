"""The compact protocol of Apache Thrift, in which Parquet's own structures are written: what of it they need.

Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from repro_env.frozen import dataclass

_TRUE, _FALSE, _BYTE, _I32, _I64, _BINARY, _LIST, _STRUCT = 1, 2, 3, 5, 6, 8, 9, 12
_SHORT_LIST, _LONGEST_STEP, _LOW_BITS = 15, 15, 0x7F
_STOP = b"\0"


@dataclass(frozen=True, slots=True)
class Value:
    """A value with its type, as a field of a structure or an element of a list has it."""

    kind: int
    content: bytes


def varint(number: int) -> bytes:
    """Return a number that is not negative, seven bits a byte, the lowest first (ULEB128)."""
    found = bytearray()
    while number > _LOW_BITS:
        found.append(number & _LOW_BITS | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _zigzag(number: int) -> bytes:
    return varint(number * 2 if number >= 0 else -number * 2 - 1)


def boolean(truth: bool) -> Value:  # noqa: FBT001 - the one value it is about
    """Return a boolean field, whose type is its value."""
    return Value(_TRUE if truth else _FALSE, b"")


def byte(number: int) -> Value:
    """Return a number of 8 bits."""
    return Value(_BYTE, number.to_bytes(1, "little", signed=True))


def i32(number: int) -> Value:
    """Return a number of 32 bits, or an enumeration's."""
    return Value(_I32, _zigzag(number))


def i64(number: int) -> Value:
    """Return a number of 64 bits."""
    return Value(_I64, _zigzag(number))


def text(words: str) -> Value:
    """Return a string."""
    content = words.encode()
    return Value(_BINARY, varint(len(content)) + content)


def many(values: Sequence[Value]) -> Value:
    """Return a list, which holds one or more values of one type."""
    kind, count = values[0].kind, len(values)
    head = bytes([count << 4 | kind]) if count < _SHORT_LIST else bytes([0xF0 | kind]) + varint(count)
    return Value(_LIST, head + b"".join(value.content for value in values))


def none_of_structs() -> Value:
    """Return a list of structures that is empty."""
    return Value(_LIST, bytes([_STRUCT]))


def struct(fields: Iterable[tuple[int, Value]]) -> Value:
    """Return a structure of fields by their numbers, which ascend."""
    found, last = bytearray(), 0
    for number, value in fields:
        step = number - last
        assert 0 < step <= _LONGEST_STEP, "fields ascend, and none is far from the one before"
        found.append(step << 4 | value.kind)
        found += value.content
        last = number
    return Value(_STRUCT, bytes(found) + _STOP)
