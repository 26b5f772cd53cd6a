"""A table of Apache Iceberg at a snapshot: `iceberg://NAMESPACE.TABLE`.

`revision` is a snapshot's id, a tag or a branch; by default it is the newest snapshot of `main`. The catalog's address
is in the variable that `connection` names (`https://...` of a REST catalog, `postgresql+psycopg://...` or
`sqlite:///...` of an SQL one), or `catalog` in options is the name of one in pyiceberg's own configuration
(`~/.pyiceberg.yaml`, `PYICEBERG_CATALOG__NAME__URI`). Tokens and credentials stay there.

A step sees a directory with the snapshot's very files, Parquet with all columns inside of each, where these are the
table: no delete files, and a schema that never changed. They have plain names, without the partitions' directories,
which readers would take for further columns. Elsewhere the files are not the rows: then the rows are read, as pyiceberg
has them, and become one file of Parquet that follows from them alone (`data.tables`), sorted by their values.
Source: https://iceberg.apache.org/spec/
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import re
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import unquote

from repro_env.data import manifest
from repro_env.data.sources.base import Context, RemoteFile, Request, Resolved, Source
from repro_env.data.sources.opened import Opened
from repro_env.data.sources.words import needs, no_option, passwords_of, scrubbed
from repro_env.data.tables.answer import Answer, refused, write_answer
from repro_env.edges.http import Body, NotFoundError
from repro_env.edges.http_files import FileBody
from repro_env.errors import ConfigError, FetchError

_ADDRESS = re.compile(r"iceberg://([^/?#.]+(?:\.[^/?#.]+)+)\Z")
_NAMES = "schema.name-mapping.default"
"""The property of tables whose files were made elsewhere, and may lack what their directories say."""
_SECRET = re.compile(r"(?i)^PYICEBERG_CATALOG__.*(TOKEN|CREDENTIAL|SECRET|PASSWORD|KEY)")
_KINDS = {
    "boolean": "bool",
    "int": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "string",
    "binary": "binary",
    "date": "date",
    "time": "time",
    "timestamp": "timestamp",
    "timestamptz": "timestamp[UTC]",
}


class Iceberg:
    """Tables that pyiceberg reads."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._load = needs("pyiceberg.catalog", "iceberg").load_catalog
        needs("pyarrow", "iceberg")
        self._errors = _errors()
        self._tables: dict[str, Any] = {}
        self._answers: dict[str, Answer] = {}

    def resolve(self, request: Request) -> Resolved:
        """Return the id of the snapshot."""
        no_option("iceberg", request.options, ("catalog", "warehouse"))
        with self._told(request):
            table = self._table(request)
            snapshot = _snapshot(table, request)
        revision = str(snapshot.snapshot_id)
        with self._told(request):
            rows = not _is_plain(table, snapshot)
        file = f"{request.name}.parquet" if rows else ""
        return Resolved(request=request, revision=revision, kind="file" if rows else "directory", file=file)

    def files(self, resolved: Resolved) -> Sequence[RemoteFile]:
        """List the snapshot's files, or the one that its rows become."""
        request = resolved.request
        with self._told(request, resolved.revision):
            table = self._table(request)
            snapshot = _snapshot(table, request, resolved.revision)
            if resolved.kind == "file":
                return (RemoteFile(path="", size=os.fstat(self._answer(resolved, table).stream.fileno()).st_size),)
            found = [task.file for task in table.scan(snapshot_id=snapshot.snapshot_id).plan_files()]
        return _listed([(file.file_path, file.file_size_in_bytes) for file in found])

    @contextlib.contextmanager
    def open(self, resolved: Resolved, file: RemoteFile, *, offset: int = 0) -> Iterator[Body]:
        """Open one file of the snapshot, or its rows."""
        request = resolved.request
        told = partial(self._told, request, resolved.revision, file.locator)
        with told():
            table = self._table(request)
        if resolved.kind == "file":
            answer = self._answer(resolved, table)
            yield FileBody(answer.stream, f"the rows of data {request.name}", offset)
            return
        with told():
            stream = table.io.new_input(file.locator).open()
        with stream:
            yield Opened(stream, offset, told)

    def _answer(self, resolved: Resolved, table: Any) -> Answer:
        """Return the rows of a snapshot, read once."""
        key = f"{resolved.request.name} {resolved.revision}"
        if key not in self._answers:
            request = resolved.request
            title = f"reading the rows of data {request.name}"
            with self._told(request, resolved.revision), self._context.report.task(title, None, unit="rows") as task:
                scan = table.scan(snapshot_id=int(resolved.revision))
                declared = {field.name: _kind(request.name, field) for field in scan.projection().fields}
                batches = _rows(scan.to_arrow_batch_reader(), task.advance)
                answer = write_answer(request.name, declared, batches, cache=self._context.cache, ordered=True)
            weakref.finalize(self, answer.stream.close)
            self._answers[key] = answer
        return self._answers[key]

    def _table(self, request: Request) -> Any:
        match = _ADDRESS.match(unquote(request.uri))
        if not match:
            hint = "write iceberg://NAMESPACE.TABLE, and connection = the variable that holds the catalog's address"
            raise ConfigError(f"data {request.name} names no Iceberg table", request.uri, hint)
        if request.name not in self._tables:
            catalog = self._load(request.options.get("catalog"), **self._properties(request))
            with contextlib.closing(catalog):
                self._tables[request.name] = catalog.load_table(match[1])
        return self._tables[request.name]

    def _properties(self, request: Request) -> Mapping[str, str]:
        found = {"warehouse": request.options["warehouse"]} if "warehouse" in request.options else {}
        if not request.connection:
            return found
        address = self._context.environ.get(request.connection, "").strip()
        if not address:
            why = f"data {request.name} is a table of the catalog whose address it holds"
            hint = f"export {request.connection}=https://HOST/..., or postgresql+psycopg://..., or sqlite:///..."
            raise FetchError(f"the environment variable {request.connection} is not set", why, hint)
        # A catalog that is only read needs no tables made in it, and a file that is missing must not be made.
        return {**found, "uri": self._existing(request, address), "init_catalog_tables": "false"}

    def _existing(self, request: Request, address: str) -> str:
        """Return an address, of a file of SQLite with its whole path. Errors: `NotFoundError` where that is missing."""
        if not address.startswith("sqlite:///"):
            return address
        path = self._context.root / address.removeprefix("sqlite:///")
        if not path.is_file():
            raise NotFoundError(f"there is no catalog at {path}", f"which {request.connection} names")
        return f"sqlite:///{path}"

    @contextlib.contextmanager
    def _told(self, request: Request, snapshot: str = "", path: str = "") -> Iterator[None]:
        """Turn what pyiceberg and the libraries below it raise into a `FetchError`."""
        of = f"snapshot {snapshot} of " if snapshot else ""
        try:
            yield
        except FileNotFoundError as error:
            hint = f"restore it, or pin another snapshot: `repro lock -D {request.name}`"
            raise NotFoundError(
                f"{of}{request.uri} is not whole any more", self._clean(request, path or str(error)), hint
            ) from error
        except self._errors as error:
            said = str(getattr(error, "orig", None) or error)
            hint = "check the address, the catalog, and the credentials in pyiceberg's own configuration"
            raise FetchError(f"cannot read {of}{request.uri}", self._clean(request, said), hint) from None

    def _clean(self, request: Request, text: str) -> str:
        environ = self._context.environ
        secrets = [value for name, value in environ.items() if _SECRET.match(name)]
        return scrubbed(text, [*secrets, *passwords_of(environ.get(request.connection, ""))])


def make(context: Context) -> Source:
    """Return the source of `iceberg:` addresses."""
    return Iceberg(context)


def _errors() -> tuple[type[Exception], ...]:
    """Return what pyiceberg raises, which has no class in common, and what it lets through from below."""
    own = vars(needs("pyiceberg.exceptions", "iceberg")).values()
    raised = [one for one in own if isinstance(one, type) and issubclass(one, Exception)]
    below: list[type[Exception]] = [needs("requests", "iceberg").RequestException]
    with contextlib.suppress(FetchError):  # which only catalogs in SQL databases need
        below.append(needs("sqlalchemy.exc", "iceberg").SQLAlchemyError)
    return (*raised, *below, OSError, ValueError, ImportError)


def _snapshot(table: Any, request: Request, revision: str = "") -> Any:
    """Return a snapshot by its id or name. Errors: `NotFoundError`."""
    asked = revision or request.revision
    if asked.isdecimal():
        found = table.snapshot_by_id(int(asked))
    else:
        found = table.snapshot_by_name(asked) if asked else table.current_snapshot()
    if found is None:
        what = f"{request.uri} has no snapshot {asked}" if asked else f"{request.uri} is empty: it has no snapshot yet"
        why = "snapshots go when they are expired" if asked else ""
        raise NotFoundError(what, why, f"pin another: `repro lock -D {request.name}`" if revision else "")
    return found


def _is_plain(table: Any, snapshot: Any) -> bool:
    """Whether a snapshot's files are its rows: each has all columns under their names, and nothing was taken out."""
    # Schemas are numbered from 0 on as they change.
    if snapshot.schema_id != 0 or _NAMES in table.properties:
        return False
    tasks = list(table.scan(snapshot_id=snapshot.snapshot_id).plan_files())
    return bool(tasks) and all(not task.delete_files and task.file.file_format == "PARQUET" for task in tasks)


def _listed(files: Sequence[tuple[str, int]]) -> Sequence[RemoteFile]:
    """Return files under their base names; a path is never written twice, so that it tells one."""
    counts = Counter(posixpath.basename(path) for path, _size in files)
    found = []
    for path, size in files:
        key, name = hashlib.sha256(path.encode()).hexdigest()[:16], posixpath.basename(path)
        name = name if counts[name] == 1 else f"{key}-{name}"
        written = manifest.escape(name.encode()).decode()
        found.append(RemoteFile(path=written, size=size, pin=f"version:{key}", locator=path))
    return found


def _kind(data: str, field: Any) -> str:
    """Return the kind of a column. Errors: `ConfigError` for one of columns of its own."""
    text = str(field.field_type)
    if text.startswith("decimal("):
        return text.replace(" ", "")
    if text.startswith("list<"):
        return f"list<{_KINDS[text[5:-1]]}>" if text[5:-1] in _KINDS else ""
    if text.startswith(("struct<", "map<")):
        why = f"it is a {text.partition('<')[0]}, and this snapshot's files alone are not its rows"
        hint = "rewrite the table's files (rewrite_data_files) under a schema that stays, or pin an earlier snapshot"
        raise refused(data, field.name, why, hint)
    return _KINDS.get(text, "")


def _rows(batches: Any, advance: Any) -> Iterator[Sequence[tuple[Any, ...]]]:
    for batch in batches:
        advance(batch.num_rows)
        yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
