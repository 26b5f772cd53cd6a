"""A table of Delta Lake at a version: `delta+s3://BUCKET/TABLE`, `delta+file:///PATH`.

`delta+file:PATH` is below the project. `revision` is a version's number or a time; by default it is the newest version.

A step sees a Delta table that has that one version: its very files, each under its own path and pinned by its SHA-256,
and a log of one entry that lists them. So columns that only the paths hold, the schema and column mapping are as in the
table, and nothing is decoded, sorted or written anew, which another version of a library would do in another way. The
log is made here and not taken over, because Delta Lake removes the old entries of its own (`logRetentionDuration`).
What ignores `_delta_log` can read each file as Parquet.

Source: https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import contextlib
import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from repro_env.data import manifest
from repro_env.data.sources.base import Context, RemoteFile, Request, Resolved, Source
from repro_env.data.sources.opened import Opened
from repro_env.data.sources.words import needs, no_option, scrubbed
from repro_env.edges.http import Body, NotFoundError
from repro_env.edges.http_files import FileBody
from repro_env.errors import ConfigError, FetchError, VerificationError
from repro_env.frozen import dataclass
from repro_env.values import Digest

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
LOG = "_delta_log/00000000000000000000.json"
_OPTIONS = {"endpoint-url": "AWS_ENDPOINT_URL", "region": "AWS_REGION", "anonymous": "AWS_SKIP_SIGNATURE"}
"""What deltalake calls the options that `s3:` addresses have, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A table at a version: its log of one entry, and its files with the path of each in the storage."""

    log: bytes
    files: tuple[RemoteFile, ...]


class Delta:
    """Tables that deltalake reads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._library = needs("deltalake", "delta")
        needs("pyarrow", "delta")
        self._tables: dict[tuple[str, str], _Table] = {}

    def resolve(self, request: Request) -> Resolved:
        """Return the number of the version."""
        no_option("delta", request.options, tuple(_OPTIONS))
        address = self._address(request)
        if request.path and self._local(address) == (self._root / request.path).resolve():
            hint = "leave path out, or name a place to put the version at; the table stays where it is"
            raise ConfigError(f"data {request.name}: path is the table itself", request.path, hint)
        version = request.revision
        with self._told(request):
            table = self._open(request, int(version) if version.isdecimal() else None)
            if version and not version.isdecimal():
                table.load_as_version(version)
        revision = str(table.version())
        self._tables[address, revision] = self._read(request, table)
        return Resolved(request=request, revision=revision)

    def files(self, resolved: Resolved) -> Sequence[RemoteFile]:
        """List the version's files, and the log."""
        table = self._table(resolved)
        log = RemoteFile(path=LOG, size=len(table.log), digest=Digest.of(table.log))
        return (*table.files, log)

    @contextlib.contextmanager
    def open(self, resolved: Resolved, file: RemoteFile, *, offset: int = 0) -> Iterator[Body]:
        """Open one file. Errors: `NotFoundError` where it was vacuumed."""
        if file.path == LOG:
            yield _Text(self._table(resolved).log)
            return
        request = resolved.request
        told = partial(self._told, request, resolved.revision, file.locator)
        local = self._local(self._address(request))
        if local is not None:
            with told():
                stream = (local / file.locator).open("rb")
            with stream:
                yield FileBody(stream, file.path, offset)
            return
        with told():
            handler = needs("deltalake.fs", "delta").DeltaStorageHandler(self._address(request), _storage(request))
            opened = handler.open_input_file(file.locator)
        with opened:
            yield Opened(opened, offset, told)

    def _table(self, resolved: Resolved) -> _Table:
        key = self._address(resolved.request), resolved.revision
        if key not in self._tables:
            with self._told(resolved.request, resolved.revision):
                found = self._open(resolved.request, int(resolved.revision))
            self._tables[key] = self._read(resolved.request, found)
        return self._tables[key]

    def _open(self, request: Request, version: int | None) -> Any:
        return self._library.DeltaTable(self._address(request), version=version, storage_options=_storage(request))

    def _read(self, request: Request, table: Any) -> _Table:
        with self._told(request, str(table.version())):
            if any(batch.num_rows for batch in table.deletion_vectors()):
                why = f"version {table.version()} keeps rows in its files that deletion vectors take out"
                hint = "run REORG TABLE ... APPLY (PURGE) on it, and pin the version that makes"
                raise FetchError(f"the files of data {request.name} are not its rows", why, hint)
            entries = _entries(table)
            log = [_protocol(table), _metadata(table), *({"add": entry} for entry in entries)]
            identity = table.metadata().id
        files = tuple(_file(request, entry, identity) for entry in entries)
        text = "".join(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n" for line in log)
        return _Table(log=text.encode(), files=files)

    def _address(self, request: Request) -> str:
        scheme, _, rest = request.uri.partition("+")[2].partition(":")
        if scheme != "file":
            if request.uri.startswith("delta+") and rest.startswith("//"):
                return f"{scheme}:{rest}"
            hint = "write delta+s3://BUCKET/TABLE, delta+file:///PATH, or delta+file:PATH below the project"
            raise ConfigError(f"data {request.name} names no Delta table", request.uri, hint)
        return str(self._root / unquote(urlsplit(f"file:{rest}").path))

    def _local(self, address: str) -> Path | None:
        return None if "://" in address else Path(address).resolve()

    @contextlib.contextmanager
    def _told(self, request: Request, version: str = "", path: str = "") -> Iterator[None]:
        """Turn what deltalake raises into a `FetchError`."""
        of = f"version {version} of " if version else ""
        try:
            yield
        except FileNotFoundError as error:
            hint = f"restore it, or pin another version: `repro lock -D {request.name}`"
            raise NotFoundError(f"{of}{request.uri} is not whole any more: it was vacuumed", path, hint) from error
        except (self._library.exceptions.DeltaError, OSError, ValueError, OverflowError) as error:
            hint = "check the address, the version, and the credentials that its storage takes (AWS_PROFILE, ...)"
            raise FetchError(f"cannot read {of}{request.uri}", scrubbed(_plain(str(error))), hint) from error


class _Text:
    """A text in memory, from its beginning."""

    offset = 0

    def __init__(self, content: bytes) -> None:
        self._content = content

    def chunks(self) -> Iterator[bytes]:
        """Yield all of it."""
        yield self._content


def make(context: Context) -> Source:
    """Return the source of Delta tables."""
    return Delta(context.root)


def _storage(request: Request) -> Mapping[str, str]:
    found = {_OPTIONS[name]: value for name, value in request.options.items()}
    plain = found.get("AWS_ENDPOINT_URL", "").startswith("http:")
    return {**found, "AWS_ALLOW_HTTP": "true"} if plain else found


def _protocol(table: Any) -> Mapping[str, Any]:
    protocol = table.protocol()
    found: dict[str, Any] = {
        "minReaderVersion": protocol.min_reader_version,
        "minWriterVersion": protocol.min_writer_version,
    }
    for name, features in (("readerFeatures", protocol.reader_features), ("writerFeatures", protocol.writer_features)):
        if features is not None:
            found[name] = sorted(features)
    return {"protocol": found}


def _metadata(table: Any) -> Mapping[str, Any]:
    metadata = table.metadata()
    schema = json.dumps(json.loads(table.schema().to_json()), sort_keys=True, separators=(",", ":"))
    found = {
        "id": metadata.id,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema,
        "partitionColumns": list(metadata.partition_columns),
        "configuration": dict(metadata.configuration),
        "createdTime": metadata.created_time,
    }
    return {"metaData": {key: value for key, value in found.items() if value is not None}}


def _entries(table: Any) -> Sequence[Mapping[str, Any]]:
    """Return what the log says of each file, by its path as the log has it."""
    actions = table.get_add_actions(flatten=False)
    columns = {name: actions.column(name).to_pylist() for name in actions.column_names if name in _ASKED}
    columns.setdefault("partition", [{}] * len(columns["path"]))
    names = _physical_names(json.loads(table.schema().to_json()))
    found = [
        {
            "path": path,
            "size": size,
            "modificationTime": changed,
            "dataChange": True,
            "partitionValues": {names.get(name, name): _partition_value(value) for name, value in where.items()},
        }
        for path, size, changed, where in zip(*(columns[name] for name in _ASKED), strict=True)
    ]
    return sorted(found, key=lambda entry: str(entry["path"]))


_ASKED = ("path", "size_bytes", "modification_time", "partition")


def _physical_names(schema: Mapping[str, Any]) -> Mapping[str, str]:
    """Return what mapped columns are called in the files and the log. Source: PROTOCOL.md, Column Mapping."""
    key = "delta.columnMapping.physicalName"
    return {field["name"]: field["metadata"][key] for field in schema["fields"] if key in field.get("metadata", {})}


def _partition_value(value: Any) -> str | None:
    """Return a value as a log has it. Source: PROTOCOL.md, Partition Value Serialization."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case datetime():
            moment = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo is not None else value
            text = moment.isoformat(sep=" ", timespec="microseconds")
            return f"{text.replace(' ', 'T')}Z" if value.tzinfo is not None else text
        case date():
            return value.isoformat()
        case bytes():
            return "".join(f"\\u{one:04x}" for one in value)
        case _:
            return str(value)


def _file(request: Request, entry: Mapping[str, Any], table: str) -> RemoteFile:
    """Return a file of the log as one to download: a path is never written twice, so table and time tell it."""
    path = unquote(str(entry["path"]))
    if "://" in path or path.startswith(("/", "file:")) or ".." in path.split("/"):
        why = f"{posixpath.basename(path)} belongs to another table, of which this one is a shallow clone"
        raise VerificationError(
            f"data {request.name} has files outside of its table", why, "clone it whole (DEEP CLONE)"
        )
    pin = f"version:{table}/{entry['modificationTime']}"
    name = manifest.escape(path.encode()).decode()
    return RemoteFile(path=name, size=int(entry["size"]), pin=pin, locator=path)


def _plain(text: str) -> str:
    """Return a message without the colours that deltalake gives it."""
    return "\n".join(line for line in _COLOURS.sub("", text).splitlines() if line.strip())
