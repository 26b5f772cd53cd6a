"""Parquet files, through pyarrow."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from repro_env.config.comparison import Comparison
from repro_env.record.comparison.base import ComparisonError, UnreadableError, Verdict, optional, reading
from repro_env.record.comparison.documents import compare_values
from repro_env.record.comparison.tally import Tally

_ROWS = 1 << 17  # in memory at a time


class Tables:
    """Compares columns, their types, and values row by row; a null equals only a null.

    How a file is cut into row groups, compressed and annotated is no difference. With `order=any` both are sorted by
    all columns first, those of floating point last, and are in memory as a whole.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".pq")
    """The ends of the names of the files that it reads."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._arrow = optional("pyarrow", "comparing Parquet files")
        self._parquet = optional("pyarrow.parquet", "comparing Parquet files")

    def compare(self, then: Path, now: Path) -> Verdict:
        """Compare two files. Errors: `UnreadableError`, `ComparisonError`, `StoreError`."""
        tally = Tally(self._comparison)
        with self._opened(then) as before, self._opened(now) as after:
            _compare_schemas(tally, before.schema_arrow, after.schema_arrow)
            rows = before.metadata.num_rows, after.metadata.num_rows
            if not tally.differs and rows[0] != rows[1]:
                tally.tell("the table", f"of {rows[0]:,} rows then, {rows[1]:,} now")
            if not tally.differs:
                self._compare_rows(tally, (then, before), (now, after))
        return tally.verdict()

    @contextlib.contextmanager
    def _opened(self, path: Path) -> Iterator[Any]:
        with self._reading(path):
            file = self._parquet.ParquetFile(path)
        with file:
            yield file

    def _reading(self, path: Path) -> contextlib.AbstractContextManager[None]:
        return reading(path, self._arrow.ArrowException)

    def _compare_rows(self, tally: Tally, then: tuple[Path, Any], now: tuple[Path, Any]) -> None:
        names = then[1].schema_arrow.names
        start = 0
        for before, after in itertools.zip_longest(self._pieces(*then), self._pieces(*now)):
            rows = before.num_rows if before else 0, after.num_rows if after else 0
            if rows[0] != rows[1]:
                raise UnreadableError(then[0] if rows[0] < rows[1] else now[0], "it ends before all of its rows")
            for index, name in enumerate(names):
                columns = (then[0], before.column(index)), (now[0], after.column(index))
                self._compare_column(tally, name, start, *columns)
            start += rows[0]

    def _pieces(self, path: Path, file: Any) -> Iterator[Any]:
        """Yield a file's rows in tables of one size, wherever its row groups end."""
        if self._comparison.any_order:
            with self._reading(path):
                whole = file.read()
            yield self._sorted(whole)
            return
        waiting: list[Any] = []
        count = 0
        batches = file.iter_batches(batch_size=_ROWS)
        while True:
            with self._reading(path):
                batch = next(batches, None)
            if batch is None:
                break
            waiting.append(batch)
            count += batch.num_rows
            while count >= _ROWS:
                table = self._arrow.Table.from_batches(waiting)
                yield table.slice(0, _ROWS)
                waiting, count = table.slice(_ROWS).to_batches(), count - _ROWS
        if count:
            yield self._arrow.Table.from_batches(waiting)

    def _sorted(self, table: Any) -> Any:
        types = self._arrow.types
        fields = sorted(enumerate(table.schema), key=lambda pair: types.is_floating(pair[1].type))
        numbered = table.rename_columns([str(index) for index in range(table.num_columns)])
        keys = [(str(index), "ascending") for index, _field in fields]
        try:
            return table.take(self._compute.sort_indices(numbered, sort_keys=keys)) if keys else table
        except self._arrow.ArrowException as error:
            hint = "leave out order=any, or write the rows in one order"
            raise ComparisonError("the rows of a table cannot be sorted", str(error).splitlines()[0], hint) from error

    @property
    def _compute(self) -> Any:
        return optional("pyarrow.compute", "comparing Parquet files")

    def _compare_column(
        self, tally: Tally, name: str, start: int, before: tuple[Path, Any], after: tuple[Path, Any]
    ) -> None:
        then, now = before[1], after[1]
        if then.equals(now):
            tally.same(len(then))
            return
        types, kind = self._arrow.types, then.type
        if (types.is_integer(kind) or types.is_floating(kind)) and not (then.null_count or now.null_count):
            rows = lambda index: _row(name, start + index)  # noqa: E731 - a name for the one argument
            tally.array(then.to_numpy(), now.to_numpy(), rows)
            return
        for index, (one, other) in enumerate(zip(self._listed(*before), self._listed(*after), strict=True)):
            compare_values(tally, one, other, place=_row(name, start + index))

    def _listed(self, path: Path, column: Any) -> list[Any]:
        with self._reading(path):  # what says that it is text may be none
            found: list[Any] = column.to_pylist()
        return found


def _row(column: str, index: int) -> str:
    return f"column {column}, row {index + 1}"


def _compare_schemas(tally: Tally, then: Any, now: Any) -> None:
    before, after = dict(zip(then.names, then.types, strict=True)), dict(zip(now.names, now.types, strict=True))
    for name in dict.fromkeys((*then.names, *now.names)):
        if name not in after or name not in before:
            tally.tell(f"column {name}", "is missing" if name in before else "is new")
        elif before[name] != after[name]:
            tally.tell(f"column {name}", f"of type {before[name]} then, {after[name]} now")
    if then.names != now.names:
        tally.tell("the columns", f"are {', '.join(then.names)} then, {', '.join(now.names)} now")
