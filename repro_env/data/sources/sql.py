"""The answer to a query: `query = "SELECT ..."` of the database whose address the variable `connection` holds.

The answer is one file of Parquet that follows from its rows and columns alone (`data.tables`), so that the same rows
are the same bytes on any machine. SQLAlchemy connects, by the driver that the address names. The query runs in one
transaction that may not write: PostgreSQL's is read-only and REPEATABLE READ, SQLite's file is opened read-only.

Option `order`: `values` to sort rows by their values, `query` to keep them as they come; by default, the latter if the
query itself says ORDER BY. An order that leaves rows undecided is not the same tomorrow.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import itertools
import os
import re
import sqlite3
import sys
import weakref
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from repro_env.data.sources.base import Context, RemoteFile, Request, Resolved, Source
from repro_env.data.sources.words import needs, no_option, passwords_of, scrubbed
from repro_env.data.tables import postgres
from repro_env.data.tables.answer import Answer, refused, write_answer
from repro_env.data.tables.kinds import Json
from repro_env.edges.http import Body
from repro_env.edges.http_files import FileBody
from repro_env.edges.report import Task
from repro_env.errors import ConfigError, FetchError, VerificationError

_FIRST_BATCH, _BATCH, _BATCH_BYTES = 50, 5000, 16 << 20
"""Rows that are fetched at first, and at most; and about how many bytes of them, which the rows before tell."""
_CONNECTING = 10
_APART = re.compile(
    r"--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\[[^\]]*\]", re.DOTALL
)
"""Comments, quoted texts and quoted names."""
_INNERMOST = re.compile(r"\([^()]*\)")
_ORDER = re.compile(r"\border\s+by\b", re.IGNORECASE)


class Sql:
    """Databases that SQLAlchemy knows."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._answers: dict[str, Answer] = {}

    def resolve(self, request: Request) -> Resolved:
        """Run the query, whose answer then waits for `open`; its rows and columns are the revision."""
        no_option("sql", request.options, ("order",))
        if not request.query or not request.connection or request.uri or request.revision:
            hint = 'write query = "SELECT ...", and connection = "NAME" of the variable that holds the address'
            raise ConfigError(f"data {request.name} is no query", "a query has no uri and no revision", hint)
        answer = self._ask(request)
        self._answers[request.name] = answer
        return Resolved(request=request, revision=answer.words, kind="file", file=f"{request.name}.parquet")

    def files(self, resolved: Resolved) -> Sequence[RemoteFile]:
        """Return the one file, whose content is known once the query has run."""
        answer = self._answers.get(resolved.request.name)
        size = os.fstat(answer.stream.fileno()).st_size if answer else None
        return (RemoteFile(path="", size=size),)

    @contextlib.contextmanager
    def open(self, resolved: Resolved, file: RemoteFile, *, offset: int = 0) -> Iterator[Body]:
        """Open the answer. Errors: `VerificationError`, with counts, where it is not the one that was pinned."""
        name = resolved.request.name
        answer = self._answers.get(name)
        if answer is None:
            self._answers[name] = answer = self._ask(resolved.request)
        answer.stream.seek(0)
        if file.digest is not None and hashlib.file_digest(answer.stream, "sha256").hexdigest() != file.digest.hex:
            raise _changed(resolved, answer)
        yield FileBody(answer.stream, f"the answer to the query of data {name}", offset)

    def _ask(self, request: Request) -> Answer:
        address = _Address(self._context, request)
        cache = self._context.cache
        title = f"running the query of data {request.name}"
        with address.told(), self._context.report.task(title, None, unit="rows") as task, address.rows(task) as found:
            answer = write_answer(request.name, found.columns, found.batches, cache=cache, ordered=not _keeps(request))
        weakref.finalize(self, answer.stream.close)
        return answer


class _Found:
    """What a query found: its columns with their types as far as the database tells, and its rows."""

    def __init__(self, data: str, result: Any, dialect: str, task: Task) -> None:
        self._result, self._task = result, task
        self.columns: dict[str, str] = {}
        for name, described in zip(result.keys(), result.cursor.description, strict=True):
            if name in self.columns:
                raise ConfigError(f"the query of data {data} has two columns {name}", "", "name them apart with AS")
            if dialect == "postgresql" and described[1] in postgres.UNUSABLE:
                raise refused(data, name, postgres.UNUSABLE[described[1]])
            self.columns[name] = postgres.declared(described) if dialect == "postgresql" else ""

    @property
    def batches(self) -> Iterator[Sequence[Any]]:
        count = _FIRST_BATCH
        while batch := self._result.fetchmany(count):
            self._task.advance(len(batch))
            yield batch
            some = batch[-_FIRST_BATCH:]
            size = sum(map(sys.getsizeof, itertools.chain.from_iterable(some))) // len(some)
            count = max(1, min(_BATCH, _BATCH_BYTES // max(1, size)))


class _Address:
    """The database that a request's variable names. Its address and password stay in here."""

    def __init__(self, context: Context, request: Request) -> None:
        self._request, self._root = request, context.root
        self._sqlalchemy = needs("sqlalchemy", "sql")
        self._text = context.environ.get(request.connection, "").strip()
        if not self._text:
            why = f"data {request.name} is a query of the database whose address it holds"
            hint = f"export {request.connection}=postgresql://USER:PASSWORD@HOST/DATABASE, or another of SQLAlchemy's"
            raise FetchError(f"the environment variable {request.connection} is not set", why, hint)
        self._timeout = "" if context.environ.get("PGCONNECT_TIMEOUT") else str(_CONNECTING)
        self._url = self._parsed()

    @contextlib.contextmanager
    def rows(self, task: Task) -> Iterator[_Found]:
        """Run the query for as long as its rows are read."""
        engine = self._engine()
        dialect = engine.dialect.name
        query = self._request.query.strip().rstrip(";")
        with engine.connect() as connection:
            if dialect == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                for words in postgres.SESSION:
                    connection.exec_driver_sql(words)
            plain = {"stream_results": True, "max_row_buffer": _BATCH, "no_parameters": True}
            with connection.exec_driver_sql(query, execution_options=plain) as result:
                if not result.returns_rows:
                    raise ConfigError(f"the query of data {self._request.name} has no answer", "it returns no rows")
                yield _Found(self._request.name, result, dialect, task)

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Turn what SQLAlchemy and drivers raise into a `FetchError` that holds neither address nor password."""
        name, variable = self._request.name, self._request.connection
        try:
            yield
        except ImportError as error:
            driver = error.name or "the driver"
            why = f"the address in {variable} is of {self._url.drivername}"
            hint = f"install it: pip install {driver}, or name another, as in postgresql+psycopg://"
            raise FetchError(f"asking the database of data {name} needs the package {driver}", why, hint) from None
        except self._sqlalchemy.exc.SQLAlchemyError as error:
            # The error's own text quotes the statement, and its cause may quote the address: neither is passed on.
            said = str(getattr(error, "orig", None) or error)
            hint = f"check the query, and the address in {variable} with the database's own client"
            raise FetchError(f"the query of data {name} failed", self._clean(said), hint) from None

    def _parsed(self) -> Any:
        text = re.sub(r"^postgres://", "postgresql://", self._text)
        try:
            return self._sqlalchemy.make_url(text)
        except (self._sqlalchemy.exc.ArgumentError, ValueError):
            hint = "write it as DIALECT://USER:PASSWORD@HOST/DATABASE, special characters of the password as %XX"
            raise FetchError(f"{self._request.connection} holds no address of a database", "", hint) from None

    def _engine(self) -> Any:
        dialect, _, driver = self._url.drivername.partition("+")
        own: dict[str, Any] = {}
        url = self._url.set(drivername="postgresql+psycopg") if self._has_psycopg() else self._url
        if dialect == "sqlite" and driver in ("", "pysqlite") and self._url.database not in (None, "", ":memory:"):
            own["creator"], url = self._sqlite, url.set(query={})
        if dialect == "postgresql":
            own["json_deserializer"] = _json
            if driver in ("", "psycopg", "psycopg2") and self._timeout:
                own["connect_args"] = {"connect_timeout": self._url.query.get("connect_timeout", self._timeout)}
        return self._sqlalchemy.create_engine(url, poolclass=self._sqlalchemy.pool.NullPool, **own)

    def _has_psycopg(self) -> bool:
        """Whether psycopg 3 is there for an address that names no driver: before 2.1, SQLAlchemy takes psycopg2."""
        if self._url.drivername != "postgresql":
            return False
        with contextlib.suppress(ImportError):
            importlib.import_module("psycopg")
            return True
        return False

    def _sqlite(self) -> sqlite3.Connection:
        """Open a database file for reading only; sqlite3 itself would make one that is missing."""
        path = self._root / self._url.database.removeprefix("file:").partition("?")[0]
        return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)

    def _clean(self, text: str) -> str:
        return scrubbed(text, passwords_of(self._text))


def make(context: Context) -> Source:
    """Return the source of queries."""
    return Sql(context)


def orders_itself(query: str) -> bool:
    """Whether a query says ORDER BY of its answer, and not just inside of parentheses, texts or comments."""
    plain, inside = _APART.sub(" ", query), ""
    while plain != inside:
        inside, plain = plain, _INNERMOST.sub(" ", plain)
    return _ORDER.search(plain) is not None


def _keeps(request: Request) -> bool:
    """Whether rows stay in the order in which they come. Errors: `ConfigError`."""
    order = request.options.get("order", "query" if orders_itself(request.query) else "values")
    if order not in ("query", "values"):
        raise ConfigError(f"data {request.name}: order is {order!r}", "query and values are known")
    return order == "query"


def _json(content: bytes | str) -> Json:
    """Return a document as the database writes it: parsed, it would lose digits of numbers and keys told twice."""
    return Json(content if isinstance(content, str) else bytes(content).decode())


def _changed(resolved: Resolved, answer: Answer) -> VerificationError:
    """Return the error for an answer that is not the pinned one, with what is known of either."""
    request = resolved.request
    rows, _, columns = resolved.revision.partition(": ")
    now, _, columns_now = answer.words.partition(": ")
    lines = [f"pinned {rows}, found {now}" if rows != now else f"as many rows, {now}, with other values"]
    if columns != columns_now:
        before, after = columns.split(", "), columns_now.split(", ")
        lines += [f"column {one} is gone" for one in before if one not in after]
        lines += [f"column {one} is new" for one in after if one not in before]
    elif rows == now and _keeps(request):
        lines.append(
            "or in another order: the query orders them itself, which rows that it takes for equal may not keep"
        )
    hint = f"restore the rows, or run `repro lock -D {request.name}` to pin what is there now"
    return VerificationError(f"the query of data {request.name} has another answer by now", "\n".join(lines), hint)
