"""Delta Lake's and Iceberg's tables as data, made with their own libraries; what is pulled is read with those, too."""

from __future__ import annotations

import base64
import http.server
import json
import struct
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from buckets import KEYS, client, s3_server
from pulling import Machine

from repro_env.edges.http import NotFoundError
from repro_env.errors import ConfigError, FetchError, IntegrityError, ReproError, VerificationError
from repro_env.lock.model import LockedData

deltalake = pytest.importorskip("deltalake")
pyiceberg = pytest.importorskip("pyiceberg.catalog")
pyiceberg_config = pytest.importorskip("pyiceberg.utils.config")

LOG = "_delta_log/00000000000000000000.json"
MOMENT = datetime(2026, 1, 1, 1, 2, 3, 45, tzinfo=UTC)
ROWS = pa.table(
    {
        "id": [1, 2, 3, 4],
        "where": ["a b", "ü/x", None, "a b"],
        "day": [date(2026, 1, 1)] * 4,
        "at": pa.array([MOMENT] * 4, pa.timestamp("us", "UTC")),
        "local": pa.array([MOMENT.replace(tzinfo=None)] * 4, pa.timestamp("us")),
        "flag": [True, False, True, None],
        "price": [Decimal("1.50")] * 4,
        "x": [1.5, None, 2.0, 3.0],
    }
)
PARTS = ["where", "day", "at", "local", "flag", "price"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(root=tmp_path / "here")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A Delta table of two versions, whose paths hold columns of all kinds."""
    place = tmp_path / "my tables" / "events"
    deltalake.write_deltalake(str(place), ROWS, partition_by=PARTS)
    deltalake.write_deltalake(str(place), ROWS.slice(0, 1), mode="append")
    return place


def lock_delta(machine: Machine, table: Path, **keys: Any) -> LockedData:
    return machine.lock(uri=f"delta+file://{str(table).replace(' ', '%20')}", **keys)


def rows_of(place: Path | str, version: int | None = None) -> Any:
    found = deltalake.DeltaTable(str(place), version=version).to_pyarrow_table()
    return found.sort_by("id").to_pylist()


def test_a_delta_table_is_pinned_at_its_version_and_pulled_as_one(table: Path, machine: Machine) -> None:
    locked = lock_delta(machine, table)
    assert (locked.kind, locked.revision, locked.pin, locked.files) == ("directory", "1", "sha256", 6)
    deltalake.write_deltalake(str(table), ROWS, mode="append")
    machine.pull(locked)
    pulled = deltalake.DeltaTable(str(machine.place(locked)))
    assert rows_of(machine.place(locked)) == rows_of(table, version=1)
    assert pulled.schema() == deltalake.DeltaTable(str(table)).schema()
    assert pulled.metadata().partition_columns == PARTS
    assert sum(pq.read_metadata(path).num_rows for path in machine.place(locked).rglob("*.parquet")) == 5
    assert lock_delta(machine, table).revision == "2"


def test_the_same_version_is_the_same_anywhere_and_whatever_became_of_its_log(table: Path, machine: Machine) -> None:
    locked = lock_delta(machine, table, revision="1")
    found = deltalake.DeltaTable(str(table))
    found.create_checkpoint()
    (table / "_delta_log" / "00000000000000000000.json").unlink()
    there = machine.elsewhere()
    assert there.have(locked) == locked
    assert lock_delta(machine.elsewhere("again"), table) == locked


def test_a_version_by_number_by_time_and_below_the_project(table: Path, machine: Machine, tmp_path: Path) -> None:
    first = lock_delta(machine, table, revision="0")
    assert (first.revision, first.files) == ("0", 5)
    assert lock_delta(machine, table, revision="2200-01-01T00:00:00Z").revision == "1"
    here = Machine(root=tmp_path / "with")
    here.project.mkdir(parents=True)
    table.rename(here.project / "events")
    assert here.lock(uri="delta+file:events", revision="0").digest == first.digest
    with pytest.raises(ConfigError, match="path is the table itself"):
        here.lock(uri="delta+file:events", path="events")


def test_a_delta_table_pinned_by_its_version_is_not_read(table: Path, machine: Machine) -> None:
    locked = lock_delta(machine, table, pin="version")
    assert (locked.pin, locked.files) == ("version", 6)
    assert locked.content is None
    machine.pull(locked)
    assert rows_of(machine.place(locked)) == rows_of(table)


def test_what_was_vacuumed_is_told(table: Path, machine: Machine) -> None:
    locked = lock_delta(machine, table)
    found = deltalake.DeltaTable(str(table))
    found.delete("id = 2")
    machine.elsewhere("before").pull(locked)
    found.vacuum(0, enforce_retention_duration=False, dry_run=False)
    with pytest.raises(
        NotFoundError, match=r"version 1 of delta\+file:.* is not whole any more: it was vacuumed"
    ) as error:
        machine.elsewhere("after").pull(locked)
    assert "part-" in error.value.why
    assert "repro lock -D raw" in error.value.hint
    machine.pull(locked)


def test_a_file_of_a_delta_table_that_changed_is_refused(table: Path, machine: Machine) -> None:
    locked = lock_delta(machine, table)
    path = next(table.rglob("part-*.parquet"))
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(IntegrityError, match="is not what was pinned"):
        machine.elsewhere().pull(locked)


def test_delta_tables_that_are_none(table: Path, machine: Machine, tmp_path: Path) -> None:
    for uri, revision, error in (
        (f"delta+file://{tmp_path}/nosuch", "", "cannot read"),
        ("delta:nosuch", "", "names no Delta table"),
        (f"delta+file://{str(table).replace(' ', '%20')}", "99", "cannot read"),
        (f"delta+file://{str(table).replace(' ', '%20')}", "yesterday", "cannot read"),
    ):
        with pytest.raises((FetchError, ConfigError), match=error) as found:
            machine.lock(uri=uri, revision=revision)
        assert "\x1b" not in str(found.value)


def test_columns_that_were_renamed_by_mapping_keep_their_names(tmp_path: Path, machine: Machine) -> None:
    place = tmp_path / "mapped"
    rows = pa.table({"col-1": [1, 2], "col-2": ["a", "b"]})
    deltalake.write_deltalake(str(place), rows, partition_by=["col-2"])
    log = place / "_delta_log" / "00000000000000000000.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps(mapped(line)) + "\n" for line in lines if "commitInfo" not in line))
    locked = lock_delta(machine, place)
    machine.pull(locked)
    found = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(str(machine.place(locked))))
    read = pa.table(found.execute("SELECT * FROM t ORDER BY number").read_all())
    assert read.to_pylist() == [{"number": 1, "letter of": "a"}, {"number": 2, "letter of": "b"}]


def mapped(line: dict[str, Any]) -> dict[str, Any]:
    """Give the columns of a log's line other names. Source: PROTOCOL.md, Column Mapping."""
    if "protocol" in line:
        return {"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}}
    if "metaData" in line:
        schema = json.loads(line["metaData"]["schemaString"])
        for number, (column, name) in enumerate(zip(schema["fields"], ["number", "letter of"], strict=True), 1):
            key = "delta.columnMapping"
            column["metadata"] = {f"{key}.id": number, f"{key}.physicalName": column["name"]}
            column["name"] = name
        settings = {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "2"}
        own = {"schemaString": json.dumps(schema), "partitionColumns": ["letter of"], "configuration": settings}
        return {"metaData": {**line["metaData"], **own}}
    return {"add": {key: value for key, value in line["add"].items() if key != "stats"}}


def test_rows_taken_out_by_deletion_vectors_are_not_given_out_as_data(tmp_path: Path, machine: Machine) -> None:
    place = tmp_path / "events"
    deltalake.write_deltalake(str(place), ROWS.select(["id"]))
    log = place / "_delta_log" / "00000000000000000000.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "protocol" in line:
            features = ["deletionVectors"]
            versions = {"minReaderVersion": 3, "minWriterVersion": 7}
            line["protocol"] = {**versions, "readerFeatures": features, "writerFeatures": features}
        if "add" in line:
            line["add"]["deletionVector"] = deletion_vector(1)
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(FetchError, match="are not its rows") as error:
        lock_delta(machine, place)
    assert "PURGE" in error.value.hint


def deletion_vector(row: int) -> dict[str, Any]:
    """Take one row out of a file, in the log itself. Source: PROTOCOL.md, Deletion Vector Format."""
    bitmap = struct.pack("<IIHHIH", 12346, 1, 0, 0, 16, row)
    content = struct.pack("<IQI", 1681511377, 1, 0) + bitmap
    content += bytes(-len(content) % 4)
    theirs = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    ours = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
    text = base64.b85encode(content).translate(bytes.maketrans(ours, theirs)).decode()
    return {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(content), "cardinality": 1}


@pytest.mark.xdist_group("moto")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_delta_table_in_s3(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with s3_server() as endpoint:
        client(endpoint).create_bucket(Bucket="lake")
        options = {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1", **KEYS}
        deltalake.write_deltalake("s3://lake/events", ROWS, partition_by=PARTS, storage_options=options)
        asked = {"endpoint-url": endpoint, "region": "us-east-1"}
        locked = machine.lock(uri="delta+s3://lake/events", options=asked)
        there = machine.elsewhere()
        there.pull(locked)
        expected = deltalake.DeltaTable("s3://lake/events", storage_options=options).to_pyarrow_table()
        assert rows_of(there.place(locked)) == expected.sort_by("id").to_pylist()


EVENTS = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int64()),
        "where": ["a", "b", "a"],
        "at": pa.array([MOMENT] * 3, pa.timestamp("us", "UTC")),
        "price": [Decimal("1.5")] * 3,
        "many": [[1], [], None],
        "few": pa.array([1, 2, None], pa.int32()),
    }
)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "warehouse").mkdir()
    address = f"sqlite:///{tmp_path}/catalog.db"
    made = pyiceberg.load_catalog("default", uri=address, warehouse=f"file://{tmp_path}/warehouse")
    made.create_namespace("lake")
    yield made
    made.close()


@pytest.fixture
def events(catalog: Any) -> Any:
    """An Iceberg table of two snapshots, cut by a column."""
    table = catalog.create_table("lake.events", schema=EVENTS.schema)
    with table.update_spec() as spec:
        spec.add_identity("where")
    table.append(EVENTS)
    table.append(EVENTS)
    return table


@pytest.fixture
def reader(tmp_path: Path) -> Machine:
    return Machine(root=tmp_path / "here", environ={"CATALOG": f"sqlite:///{tmp_path}/catalog.db"})


def lock_iceberg(machine: Machine, **keys: Any) -> LockedData:
    return machine.lock(**{"uri": "iceberg://lake.events", "connection": "CATALOG", **keys})


def sorted_rows(found: Any) -> list[Any]:
    return sorted(found.to_pylist(), key=lambda row: (row["id"], row["few"] or 0))


def test_a_snapshot_is_pinned_with_its_very_files(events: Any, reader: Machine) -> None:
    locked = lock_iceberg(reader)
    assert (locked.kind, locked.files, locked.pin) == ("directory", 4, "sha256")
    assert locked.revision == str(events.current_snapshot().snapshot_id)
    there = reader.elsewhere()
    events.append(EVENTS)
    there.pull(locked)
    pulled = pq.read_table(there.place(locked))
    assert pulled.column_names == EVENTS.column_names
    assert sorted_rows(pulled) == sorted_rows(pa.concat_tables([EVENTS, EVENTS]))
    assert lock_iceberg(reader.elsewhere("again")).revision != locked.revision


def test_a_snapshot_by_its_id_and_by_a_tag(events: Any, reader: Machine) -> None:
    first = events.snapshots()[0].snapshot_id
    events.manage_snapshots().create_tag(first, "v1").commit()
    locked = lock_iceberg(reader, revision="v1")
    assert (locked.revision, locked.files) == (str(first), 2)
    assert lock_iceberg(reader, revision=str(first)) == locked
    assert lock_iceberg(reader, pin="version").pin == "version"


def test_a_schema_that_changed_is_applied_to_all_rows(events: Any, reader: Machine) -> None:
    with events.update_schema() as change:
        change.rename_column("where", "place")
    events.append(EVENTS.rename_columns(["id", "place", *EVENTS.column_names[2:]]))
    locked = lock_iceberg(reader)
    assert (locked.kind, locked.path) == ("file", ".repro/data/raw/raw.parquet")
    there = reader.elsewhere()
    assert there.have(locked) == locked, "the same rows are the same bytes"
    found = pq.ParquetFile(there.place(locked)).read()
    assert found.column("id").to_pylist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert found.schema == pa.schema(
        [EVENTS.schema.field(0), pa.field("place", pa.string()), *[EVENTS.schema.field(i) for i in range(2, 6)]]
    ).set(4, pa.field("many", pa.list_(pa.field("element", pa.int64()))))
    assert sorted_rows(found) == sorted_rows(events.scan().to_arrow())


def test_rows_that_were_deleted_are_gone_and_earlier_snapshots_stay(events: Any, reader: Machine) -> None:
    before = lock_iceberg(reader)
    events.delete("id = 1")
    after = lock_iceberg(reader)
    reader.elsewhere("one").pull(before)
    there = reader.elsewhere("two")
    there.pull(after)
    assert sorted_rows(pq.read_table(there.place(after))) == sorted_rows(events.scan().to_arrow())


def test_a_snapshot_that_lost_a_file_or_expired_is_told(events: Any, reader: Machine, tmp_path: Path) -> None:
    locked = lock_iceberg(reader)
    next((tmp_path / "warehouse").rglob("*.parquet")).unlink()
    with pytest.raises(NotFoundError, match="is not whole any more"):
        reader.elsewhere().pull(locked)
    events.append(EVENTS)
    events.maintenance.expire_snapshots().by_id(int(locked.revision)).commit()
    with pytest.raises(NotFoundError, match="has no snapshot"):
        reader.elsewhere().pull(locked)


def test_iceberg_tables_that_are_none(catalog: Any, reader: Machine, tmp_path: Path) -> None:
    for keys, what in (
        ({"uri": "iceberg://lake.nosuch"}, "cannot read"),
        ({"uri": "iceberg://events"}, "names no Iceberg table"),
        ({"connection": "NOTHING"}, "NOTHING is not set"),
        ({"options": {"token-file": "x"}}, "no option"),
    ):
        with pytest.raises((FetchError, ConfigError), match=what):
            lock_iceberg(reader, **keys)
    catalog.create_table("lake.empty", schema=EVENTS.schema)
    with pytest.raises(NotFoundError, match="is empty"):
        lock_iceberg(reader, uri="iceberg://lake.empty")
    missing = Machine(root=tmp_path / "m", environ={"CATALOG": f"sqlite:///{tmp_path}/missing.db"})
    with pytest.raises(NotFoundError, match="there is no catalog"):
        lock_iceberg(missing)
    assert not (tmp_path / "missing.db").exists()


def test_columns_of_columns_are_only_in_the_very_files(catalog: Any, reader: Machine) -> None:
    rows = pa.table({"id": [1], "inner": pa.array([{"a": 1}])})
    table = catalog.create_table("lake.nested", schema=rows.schema)
    table.append(rows)
    locked = lock_iceberg(reader, uri="iceberg://lake.nested")
    reader.pull(locked)
    assert pq.read_table(reader.place(locked)).to_pylist() == rows.to_pylist()
    with table.update_schema() as change:
        change.rename_column("id", "number")
    table.append(rows.rename_columns(["number", "inner"]))
    with pytest.raises(ConfigError, match="column inner of data raw") as error:
        lock_iceberg(reader, uri="iceberg://lake.nested")
    assert "struct" in error.value.why


@pytest.mark.parametrize(
    "address",
    ["postgresql+psycopg://u:s3cr3t%2Fword@127.0.0.1:1/c", "http://u:s3cr3t%2Fword@127.0.0.1:1/?token=s3cr3t-too"],
)
def test_no_message_holds_what_is_secret(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FetchError, match="cannot read") as error:
        lock_iceberg(Machine(root=tmp_path / "here", environ={"CATALOG": address}))
    assert "s3cr3t" not in str(error.value)


@pytest.mark.parametrize(
    ("uri", "module", "extra"),
    [
        ("delta+file:///tmp/x", "deltalake", "delta"),
        ("iceberg://a.b", "pyiceberg.catalog", "iceberg"),
        ("iceberg://a.b", "pyarrow", "iceberg"),
    ],
)
def test_a_missing_extra(uri: str, module: str, extra: str, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ReproError, match=f"needs the package {module}") as error:
        machine.lock(uri=uri)
    assert error.value.hint == f"install it: pip install 'repro-env[{extra}]'"


def test_a_shallow_clone_is_told(table: Path, machine: Machine) -> None:
    log = table / "_delta_log" / "00000000000000000001.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "add" in line:
            line["add"]["path"] = f"file:///elsewhere/{line['add']['path']}"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(VerificationError, match="outside of its table"):
        lock_delta(machine, table)


class _Catalog(http.server.BaseHTTPRequestHandler):
    """As much of Iceberg's REST catalog as reading a table takes. Source: Iceberg's rest-catalog-open-api.yaml."""

    tables: ClassVar[dict[str, Any]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, {"error": {"message": "not authorized", "type": "NotAuthorized", "code": 401}})
        if self.path.startswith("/v1/config"):
            return self._answer(200, {"defaults": {}, "overrides": {}})
        found = self.tables.get(self.path)
        if found is None:
            return self._answer(404, {"error": {"message": "no such table", "type": "NoSuchTable", "code": 404}})
        return self._answer(200, found)

    def _answer(self, status: int, document: Any) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: Any) -> None:
        pass


TOKEN = "s3cr3t-token"


@pytest.fixture
def rest(events: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The table in a REST catalog that wants a token, as pyiceberg's own variables have it."""
    document = json.loads(Path(events.metadata_location.removeprefix("file://")).read_text())
    found = {"metadata-location": events.metadata_location, "metadata": document, "config": {}}
    monkeypatch.setattr(_Catalog, "tables", {"/v1/namespaces/lake/tables/events": found})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Catalog) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("PYICEBERG_CATALOG__PROD__URI", f"http://127.0.0.1:{server.server_port}")
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def configured(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """Have pyiceberg read its variables, which it does when it is imported."""
    monkeypatch.setenv("PYICEBERG_CATALOG__PROD__TOKEN", token)
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", pyiceberg_config.Config())


def test_a_rest_catalog_of_pyicebergs_own_configuration(
    rest: str, machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configured(monkeypatch, TOKEN)
    asked: dict[str, Any] = {"uri": "iceberg://lake.events", "options": {"catalog": "prod"}}
    locked = machine.lock(**asked)
    there = machine.elsewhere()
    assert there.have(locked) == locked
    assert pq.read_table(there.place(locked)).num_rows == 6
    configured(monkeypatch, "wr0ng-token")
    with pytest.raises(FetchError, match="cannot read") as error:
        machine.elsewhere("other").lock(**asked)
    assert "not authorized" in error.value.why
    assert "wr0ng" not in str(error.value)
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"s3cr3t" in content for content in kept)
