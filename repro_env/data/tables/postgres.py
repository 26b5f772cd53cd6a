"""The types of PostgreSQL's columns, by the numbers its protocol has for them.

Source: PostgreSQL's src/include/catalog/pg_type.dat, whose numbers never change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from repro_env.data.tables.kinds import DIGITS

_NUMERIC, _MONEY = 1700, 790

_SCALARS = {
    16: "bool",
    17: "binary",  # bytea
    18: "string",  # "char"
    19: "string",  # name
    20: "int64",
    21: "int32",  # smallint
    23: "int32",
    25: "string",  # text
    26: "int64",  # oid, which is unsigned
    114: "json",
    142: "string",  # xml
    700: "float32",
    701: "float64",
    1042: "string",  # character(n)
    1043: "string",  # character varying
    1082: "date",
    1083: "time",
    1114: "timestamp",
    1184: "timestamp[UTC]",
    _NUMERIC: "decimal",
    2950: "uuid",
    3802: "json",  # jsonb
}
_ARRAYS = {
    199: 114,
    1000: 16,
    1001: 17,
    1003: 19,
    1005: 21,
    1007: 23,
    1009: 25,
    1014: 1042,
    1015: 1043,
    1016: 20,
    1021: 700,
    1022: 701,
    1115: 1114,
    1182: 1082,
    1183: 1083,
    1185: 1184,
    1231: _NUMERIC,
    2951: 2950,
    3807: 3802,
}
"""The arrays of each, whatever their dimensions."""

SESSION = (
    "SET LOCAL TIME ZONE 'UTC'",
    "SET LOCAL DateStyle = 'ISO, YMD'",
    "SET LOCAL IntervalStyle = 'postgres'",
    "SET LOCAL bytea_output = 'hex'",
    "SET LOCAL extra_float_digits = 3",
)
"""What a user's, a role's or a machine's settings would otherwise decide: how values become text and days."""

UNUSABLE = {_MONEY: "what money looks like depends on the server's locale"}


def declared(described: Sequence[Any]) -> str:
    """Return the kind of a column as a cursor describes it (PEP 249), or nothing where only its values can tell."""
    number, precision, scale = described[1], described[4], described[5]
    if number == _NUMERIC and precision and scale is not None and 0 <= scale <= precision <= DIGITS:
        return f"decimal({precision},{scale})"
    if number in _ARRAYS:
        return f"list<{_SCALARS[_ARRAYS[number]]}>"
    return _SCALARS.get(number, "")
