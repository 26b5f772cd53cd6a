"""Rows in batches, as a database's driver gives them, made into the one file that they always are."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from decimal import Decimal
from io import BufferedRandom
from pathlib import Path
from typing import Any

from repro_env.data.tables.kinds import DIGITS, WORDS, Column, Json, Kind, kind_of
from repro_env.data.tables.parquet import write_parquet
from repro_env.data.tables.spool import Row, Spool
from repro_env.edges.files import os_errors
from repro_env.errors import ConfigError

_MIXTURES = (frozenset({"int64", "float64"}), frozenset({"int64", "decimal"}))
"""What one column may hold together: numbers that one type can hold all of."""
_EXACT_IN_FLOAT = 1 << 53
_FITS = {
    "int32": {"int64"},
    "float32": {"float64", "int64"},
    "float64": {"float64", "int64"},
    "json": {"json", "string"},
    "decimal": {"decimal", "int64"},
}
"""What of values a declared type takes besides those of its own name."""
_AS_TEXT = "cast it to text, or to a type that has a place in Parquet, in the query"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A table in a file without a name, read from its beginning on."""

    stream: BufferedRandom
    rows: int
    columns: tuple[Column, ...]

    @property
    def words(self) -> str:
        """How many rows and which columns it has, in one line: `1204 rows: id int64, name string`."""
        columns = ", ".join(f"{_printable(column.name)} {column.type}" for column in self.columns)
        return f"{self.rows} {'row' if self.rows == 1 else 'rows'}: {columns}"


@dataclass(slots=True, kw_only=True)
class _Seen:
    """What the values of one column were so far."""

    name: str
    declared: str = ""
    words: set[str] = field(default_factory=set)
    lists: set[bool] = field(default_factory=set)
    lowest: int = 0
    highest: int = 0
    places: int = 0
    digits: int = 0


def write_answer(
    data: str,
    declared: Mapping[str, str],
    batches: Iterable[Sequence[Row]],
    *,
    cache: Path,
    ordered: bool,
) -> Answer:
    """Write rows as Parquet, `ordered` by their values or as they come.

    `declared` has the columns with their types as far as they are known: names of `kinds`, `decimal` where its places
    are not known, `list<...>`, or nothing. Errors: `ConfigError` for values with no place in Parquet; `StoreError`.
    """
    seen = [_Seen(name=name, declared=kind) for name, kind in declared.items()]
    if not seen:
        raise ConfigError(f"the query of data {data} gives no columns")
    with os_errors(f"use {cache}"):
        cache.mkdir(parents=True, exist_ok=True)
    spool = Spool(cache, ordered=ordered)
    for batch in batches:
        values = [_normal(data, one, column) for one, column in zip(seen, zip(*batch, strict=True), strict=False)]
        spool.add(list(zip(*values, strict=True)))
    columns = tuple(_column(data, one) for one in seen)
    with os_errors(f"write in {cache}"):
        stream = tempfile.TemporaryFile(dir=cache)  # noqa: SIM115 - what is returned
        try:
            count = write_parquet(stream, columns, spool.rows())
            stream.seek(0)
        except UnicodeEncodeError as error:
            stream.close()
            raise ConfigError(f"data {data} holds text that is no Unicode", str(error), _AS_TEXT) from error
        except BaseException:
            stream.close()
            raise
    return Answer(stream=stream, rows=count, columns=columns)


def _normal(data: str, seen: _Seen, values: Sequence[Any]) -> Sequence[Any]:
    """Return the values of one column of a batch as plain ones, and note what they are."""
    types = set(map(type, values)) - {type(None)}
    if not types <= WORDS.keys():
        try:
            values = [value if value is None or type(value) in WORDS else _plain(value) for value in values]
        except ValueError as error:
            raise refused(data, seen.name, str(error)) from error
        types = set(map(type, values)) - {type(None)}
    seen.lists |= {kind is tuple for kind in types}
    if tuple in types:
        inner = [value for one in values if one is not None for value in (one if type(one) is tuple else (one,))]
        _look(data, seen, inner)
    else:
        _look(data, seen, values)
    return values


def _look(data: str, seen: _Seen, values: Sequence[Any]) -> None:
    types = set(map(type, values)) - {type(None)}
    seen.words |= {_word(kind, values) for kind in types}
    if (len(seen.words) > 1 and seen.words not in _MIXTURES) or (len(seen.lists) > 1):
        found = ", ".join(sorted(seen.words | ({"list"} if len(seen.lists) > 1 else set())))
        raise refused(data, seen.name, f"its values are of more than one type: {found}", "cast it in the query")
    if int in types:
        whole = [value for value in values if type(value) is int]
        seen.lowest, seen.highest = min(seen.lowest, *whole), max(seen.highest, *whole)
    if Decimal in types:
        _look_at_decimals(data, seen, [value for value in values if type(value) is Decimal])


def _look_at_decimals(data: str, seen: _Seen, values: Sequence[Decimal]) -> None:
    for value in values:
        _sign, digits, exponent = value.as_tuple()
        if not isinstance(exponent, int):
            raise refused(data, seen.name, f"{value} is no decimal number", "cast it to double precision in the query")
        seen.places = max(seen.places, -exponent)
        seen.digits = max(seen.digits, len(digits) + exponent)


def _word(kind: type, values: Sequence[Any]) -> str:
    if kind is not datetime:
        return WORDS.get(kind, kind.__name__)
    zones = {value.tzinfo is not None for value in values if type(value) is datetime}
    if len(zones) > 1:
        return "timestamp with and without zone"
    return "timestamp[UTC]" if True in zones else "timestamp"


def _plain(value: Any) -> Any:
    """Return a value as one of `WORDS`' types, a datetime or a tuple of these. Errors: `ValueError`."""
    match value:
        case datetime():
            moment = value.astimezone(UTC) if value.tzinfo is not None else value
            return moment if type(moment) is datetime else datetime.combine(moment.date(), moment.timetz())
        case time():
            if value.tzinfo is not None:
                raise ValueError("a time of day with a zone has no place in Parquet")
            return value
        case memoryview() | bytearray():
            return bytes(value)
        case dict():
            return Json(json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str))
        case list() | tuple():
            return _plain_list(value)
    kinds: tuple[type[int], type[float], type[str]] = (int, float, str)
    for kind in kinds:
        if isinstance(value, kind):
            return kind(value)
    raise ValueError(f"values of {type(value).__module__}.{type(value).__qualname__} have no place in Parquet")


def _plain_list(values: Sequence[Any]) -> tuple[Any, ...]:
    found = tuple(value if value is None or type(value) in WORDS else _plain(value) for value in values)
    if tuple in map(type, found):
        raise ValueError("lists of lists are not written")
    return found


def _column(data: str, seen: _Seen) -> Column:
    """Return the type of a column, from what is known of it and what its values were."""
    declared = seen.declared
    many = True in seen.lists
    if declared.startswith("list<"):
        declared, many = declared[5:-1], many or not seen.lists
    return Column(name=seen.name, kind=_kind(data, seen, declared), many=many)


def _kind(data: str, seen: _Seen, declared: str) -> Kind:
    if declared == "int32" and not -(2**31) <= seen.lowest <= seen.highest < 2**31:
        declared = "int64"
    base = declared.partition("(")[0]
    if base and seen.words <= {base} | _FITS.get(base, set()) and (base != "decimal" or "(" in declared):
        return kind_of(declared)
    if not seen.words:
        return kind_of("null" if base in ("", "decimal") else declared)
    if seen.words == {"int64", "float64"}:
        if max(-seen.lowest, seen.highest) > _EXACT_IN_FLOAT:
            raise refused(data, seen.name, "a float cannot hold its whole numbers exactly", "cast it in the query")
        return kind_of("float64")
    large = not -(2**63) <= seen.lowest <= seen.highest < 2**63
    if "decimal" in seen.words or large:
        return _decimal(data, seen)
    return kind_of(next(iter(seen.words)))


def _decimal(data: str, seen: _Seen) -> Kind:
    whole = len(str(max(-seen.lowest, seen.highest)))
    if max(seen.digits, whole if "int64" in seen.words else 0) + seen.places > DIGITS:
        why = f"its numbers need more than {DIGITS} digits, {seen.places} of them after the point"
        raise refused(data, seen.name, why, f"cast it to numeric({DIGITS}, ...), double precision or text in the query")
    return kind_of(f"decimal({DIGITS},{seen.places})")


def refused(data: str, column: str, why: str, hint: str = _AS_TEXT) -> ConfigError:
    """Return the error for a column that has no place in Parquet."""
    return ConfigError(f"column {_printable(column)} of data {data} cannot be written as Parquet", why, hint)


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in name)
