"""The types of columns: which a database's values are of, and how Parquet has each.

| kind | Python's value | Parquet |
| --- | --- | --- |
| `bool` | bool | BOOLEAN |
| `int32`, `int64` | int | INT32, INT64 |
| `float32`, `float64` | float; every NaN is the same one | FLOAT, DOUBLE |
| `decimal(P,S)` | Decimal, int | FIXED_LEN_BYTE_ARRAY(16), DECIMAL |
| `string`, `json` | str, and documents as the database writes them | BYTE_ARRAY, STRING or JSON |
| `binary` | bytes | BYTE_ARRAY |
| `uuid` | UUID | FIXED_LEN_BYTE_ARRAY(16), UUID |
| `date`, `time` | date, time without a zone | INT32 DATE, INT64 TIME of microseconds |
| `timestamp`, `timestamp[UTC]` | datetime without and with a zone | INT64 TIMESTAMP of microseconds |
| `null` | None alone | INT32, UNKNOWN |

Source: https://github.com/apache/parquet-format (LogicalTypes.md, Encodings.md, parquet.thrift)
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, Inexact
from typing import Any
from uuid import UUID

from repro_env.data.tables import thrift
from repro_env.data.tables.thrift import Value
from repro_env.frozen import dataclass

_BOOLEAN, _INT32, _INT64, _FLOAT, _DOUBLE, _BYTES, _FIXED = 0, 1, 2, 4, 5, 6, 7
"""Parquet's physical types (parquet.thrift, `Type`)."""
_UTF8, _DECIMAL, _DATE, _TIME, _TIMESTAMP, _JSON = 0, 5, 6, 8, 10, 19
"""What readers before 2018 know the types by (parquet.thrift, `ConvertedType`)."""

DIGITS = 38
"""Digits that a decimal of 16 bytes can hold, whatever they are."""

_EPOCH, _EPOCH_UTC, _EPOCH_DAY = datetime(1970, 1, 1), datetime(1970, 1, 1, tzinfo=UTC), date(1970, 1, 1).toordinal()  # noqa: DTZ001 - of times without a zone
_MICROSECOND = timedelta(microseconds=1)
_NAN = struct.unpack("<d", bytes.fromhex("000000000000f87f"))[0]

_EXACT = Context(prec=2 * DIGITS, traps=[Inexact])

Encode = Callable[[Sequence[Any]], bytes]


class Json(str):
    """A JSON document's text, as the database writes it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """The type of a column, or of the elements of its lists.

    `encode` returns values that are not null in Parquet's PLAIN encoding; those of a `bool` as a byte each, because
    only a whole page can be packed into bits. `length` is that of a fixed number of bytes.
    """

    name: str
    physical: int
    encode: Encode
    length: int = 0
    converted: int | None = None
    logical: Value | None = None
    scale: int = 0
    precision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its name, its type, and whether each value is a list of values of that type."""

    name: str
    kind: Kind
    many: bool = False

    @property
    def type(self) -> str:
        """Its type in one word."""
        return f"list<{self.kind.name}>" if self.many else self.kind.name


def kind_of(name: str) -> Kind:
    """Return the kind of a name in the table above, such as `decimal(10,2)`."""
    if name.startswith("decimal("):
        precision, _, scale = name[8:-1].partition(",")
        return _decimal(int(precision), int(scale))
    return _KINDS[name]


def unscaled(value: Decimal | int, scale: int) -> int:
    """Return the whole number that a decimal is of units of the last of `scale` places.

    Errors: `decimal.Inexact` for one with more places.
    """
    if isinstance(value, int):
        units: int = 10**scale
        return value * units
    return int(_EXACT.to_integral_exact(_EXACT.scaleb(value, scale)))


def _packed(letter: str) -> Encode:
    return lambda values: struct.pack(f"<{len(values)}{letter}", *values)


def _floats(letter: str) -> Encode:
    pack = _packed(letter)
    return lambda values: pack([_NAN if value != value else value for value in values])  # noqa: PLR0124 - what NaN is


def _byte_arrays(values: Sequence[bytes]) -> bytes:
    return b"".join([len(value).to_bytes(4, "little") + value for value in values])


def _texts(values: Sequence[str]) -> bytes:
    return _byte_arrays([value.encode() for value in values])


def _days(values: Sequence[date]) -> bytes:
    return _packed("i")([value.toordinal() - _EPOCH_DAY for value in values])


def _instants(epoch: datetime) -> Encode:
    pack = _packed("q")
    return lambda values: pack([(value - epoch) // _MICROSECOND for value in values])


def _clock(values: Sequence[time]) -> bytes:
    seconds = ((value.hour * 60 + value.minute) * 60 + value.second for value in values)
    return _packed("q")([one * 1_000_000 + value.microsecond for one, value in zip(seconds, values, strict=True)])


def _decimal(precision: int, scale: int) -> Kind:
    def encode(values: Sequence[Decimal | int]) -> bytes:
        return b"".join([unscaled(value, scale).to_bytes(16, "big", signed=True) for value in values])

    return Kind(
        name=f"decimal({precision},{scale})",
        physical=_FIXED,
        length=16,
        encode=encode,
        converted=_DECIMAL,
        logical=_logical(5, [(1, thrift.i32(scale)), (2, thrift.i32(precision))]),
        scale=scale,
        precision=precision,
    )


def _logical(number: int, fields: Sequence[tuple[int, Value]] = ()) -> Value:
    """Return a member of the union `LogicalType`."""
    return thrift.struct([(number, thrift.struct(fields))])


def _moment(number: int, *, utc: bool) -> Value:
    """Return TIME or TIMESTAMP of microseconds."""
    microseconds = thrift.struct([(2, thrift.struct([]))])
    return _logical(number, [(1, thrift.boolean(utc)), (2, microseconds)])


_KINDS = {
    kind.name: kind
    for kind in (
        Kind(name="bool", physical=_BOOLEAN, encode=bytes),
        Kind(name="int32", physical=_INT32, encode=_packed("i")),
        Kind(name="int64", physical=_INT64, encode=_packed("q")),
        Kind(name="float32", physical=_FLOAT, encode=_floats("f")),
        Kind(name="float64", physical=_DOUBLE, encode=_floats("d")),
        Kind(name="string", physical=_BYTES, encode=_texts, converted=_UTF8, logical=_logical(1)),
        Kind(name="json", physical=_BYTES, encode=_texts, converted=_JSON, logical=_logical(12)),
        Kind(name="binary", physical=_BYTES, encode=_byte_arrays),
        Kind(
            name="uuid",
            physical=_FIXED,
            length=16,
            encode=lambda values: b"".join(value.bytes for value in values),
            logical=_logical(14),
        ),
        Kind(name="date", physical=_INT32, encode=_days, converted=_DATE, logical=_logical(6)),
        # The older names for time mean UTC, so what has no zone goes without them.
        Kind(name="time", physical=_INT64, encode=_clock, logical=_moment(7, utc=False)),
        Kind(name="timestamp", physical=_INT64, encode=_instants(_EPOCH), logical=_moment(8, utc=False)),
        Kind(
            name="timestamp[UTC]",
            physical=_INT64,
            encode=_instants(_EPOCH_UTC),
            converted=_TIMESTAMP,
            logical=_moment(8, utc=True),
        ),
        Kind(name="null", physical=_INT32, encode=_packed("i"), logical=_logical(11)),
    )
}

WORDS: dict[type, str] = {
    bool: "bool",
    int: "int64",
    float: "float64",
    str: "string",
    Json: "json",
    bytes: "binary",
    Decimal: "decimal",
    date: "date",
    UUID: "uuid",
}
"""The kinds of values by their type, apart from times, which may have a zone."""
