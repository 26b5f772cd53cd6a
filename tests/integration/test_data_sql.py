"""Answers to queries as data: SQLite, and a PostgreSQL that runs here; nothing secret is told or kept."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pyarrow.parquet as pq
import pytest
from databases import ESCAPED, PASSWORD, Postgres, postgres, programs
from pulling import Machine

from repro_env.data.sources.base import RemoteFile, Resolved
from repro_env.data.sources.sql import orders_itself
from repro_env.errors import ConfigError, FetchError, ReproError, VerificationError
from repro_env.lock.model import LockedData

QUERY = "SELECT id, name, amount FROM orders"


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "orders ü.db"
    change(
        path,
        "CREATE TABLE orders (id INTEGER, name TEXT, amount REAL)",
        "INSERT INTO orders VALUES (3, 'c', 1.5), (1, 'ä', NULL), (2, NULL, 2)",
    )
    return path


@pytest.fixture
def machine(tmp_path: Path, database: Path) -> Machine:
    return Machine(root=tmp_path / "here", environ={"ORDERS": f"sqlite:///{database}"})


def lock(machine: Machine, query: str = QUERY, variable: str = "ORDERS", **keys: Any) -> LockedData:
    return machine.lock(query=query, connection=variable, **keys)


def read(machine: Machine, locked: LockedData) -> Any:
    machine.pull(locked)
    return pq.ParquetFile(machine.place(locked)).read()


def test_an_answer_is_pinned_by_its_content_and_by_the_query(machine: Machine) -> None:
    locked = lock(machine)
    assert (locked.kind, locked.pin, locked.source, locked.files) == ("file", "sha256", "sql", 1)
    assert locked.revision == "3 rows: id int64, name string, amount float64"
    assert (locked.query, locked.connection, locked.path) == (QUERY, "ORDERS", ".repro/data/raw/raw.parquet")
    found = read(machine, locked)
    assert found.to_pylist() == [
        {"id": 1, "name": "ä", "amount": None},
        {"id": 2, "name": None, "amount": 2.0},
        {"id": 3, "name": "c", "amount": 1.5},
    ]
    assert hashlib.sha256(machine.place(locked).read_bytes()).hexdigest() == locked.digest.hex


def test_another_machine_gets_the_same_bytes_from_the_database(machine: Machine) -> None:
    locked = lock(machine)
    there = machine.elsewhere()
    assert there.have(locked) == locked
    assert lock(there) == locked


def test_an_answer_may_be_opened_again(machine: Machine) -> None:
    locked = lock(machine)
    source = machine.inputs._source("sql")
    whole = b""
    for offset in (0, 0, 4):
        file = RemoteFile(path="", size=locked.size, digest=locked.digest)
        with source.open(Resolved.of(locked), file, offset=offset) as body:
            found = b"".join(body.chunks())
        whole = whole or found
        assert found == whole[offset:]


def test_the_order_in_a_database_does_not_count(machine: Machine, database: Path) -> None:
    locked = lock(machine)
    rows = "CREATE TABLE other AS SELECT * FROM orders ORDER BY name"
    change(database, rows, "DROP TABLE orders", "ALTER TABLE other RENAME TO orders")
    assert machine.elsewhere().have(locked) == locked


def test_a_query_that_orders_keeps_its_order_unless_told_otherwise(machine: Machine) -> None:
    query = f"{QUERY} ORDER BY id DESC"
    assert read(machine, lock(machine, query)).column("id").to_pylist() == [3, 2, 1]
    assert lock(machine, query, options={"order": "values"}).digest == lock(machine).digest
    kept = lock(machine, options={"order": "query"})
    assert read(machine, kept).column("id").to_pylist() == [3, 1, 2]
    with pytest.raises(ConfigError, match="order is 'random'"):
        lock(machine, options={"order": "random"})


@pytest.mark.parametrize(
    ("query", "orders"),
    [
        ("SELECT 1 ORDER BY 1", True),
        ("WITH a AS (SELECT 1 ORDER BY 1) SELECT * FROM a", False),
        ("SELECT row_number() OVER (PARTITION BY (a) ORDER BY b) FROM t", False),
        ("SELECT 'x ORDER BY y' AS \"order by\" -- ORDER BY 1\n/* order by */", False),
        ("SELECT $$ ORDER BY $$, '(' FROM t ORDER\n BY 1", True),
        ("SELECT array(SELECT 1 ORDER BY 1) FROM t order by a, (b)", True),
    ],
)
def test_which_queries_order_their_answer(query: str, orders: bool) -> None:
    assert orders_itself(query) is orders


def test_rows_that_changed_are_told_with_counts(machine: Machine, database: Path) -> None:
    locked = lock(machine)
    change(database, "INSERT INTO orders VALUES (4, 'd', 4)")
    with pytest.raises(VerificationError, match="has another answer by now") as error:
        machine.elsewhere("one").pull(locked)
    assert error.value.why == "pinned 3 rows, found 4 rows"
    assert "repro lock -D raw" in error.value.hint
    change(database, "DELETE FROM orders WHERE id = 4", "UPDATE orders SET amount = 7 WHERE id = 3")
    with pytest.raises(VerificationError) as error:
        machine.elsewhere("two").pull(locked)
    assert error.value.why == "as many rows, 3 rows, with other values"
    assert machine.pull(locked).placed, "what is in the store is had without the database"


def test_a_schema_that_changed_is_told_by_column(machine: Machine, database: Path) -> None:
    locked = lock(machine, "SELECT * FROM orders ORDER BY id")
    change(database, "ALTER TABLE orders ADD COLUMN day TEXT", "ALTER TABLE orders DROP COLUMN name")
    with pytest.raises(VerificationError) as error:
        machine.elsewhere().pull(locked)
    lines = error.value.why.splitlines()
    assert lines[1:] == ["column name string is gone", "column day null is new"]


def test_a_database_is_only_read(machine: Machine, database: Path, tmp_path: Path) -> None:
    before = database.read_bytes()
    with pytest.raises(FetchError, match="failed") as error:
        lock(machine, "DELETE FROM orders")
    assert "readonly" in error.value.why
    missing = Machine(root=tmp_path / "m", environ={"ORDERS": "sqlite:///missing.db"})
    with pytest.raises(FetchError, match="failed") as error:
        lock(missing)
    assert "unable to open" in error.value.why
    assert not (missing.project / "missing.db").exists()
    assert database.read_bytes() == before


def test_a_path_of_the_address_is_the_projects(machine: Machine, database: Path) -> None:
    machine.project.mkdir(parents=True)
    (machine.project / "own.db").write_bytes(database.read_bytes())
    here = Machine(root=machine.root, environ={"ORDERS": "sqlite:///own.db"})
    assert lock(here).digest == lock(machine).digest


def test_a_column_may_hold_any_letters_and_values_that_mix_are_refused(machine: Machine) -> None:
    odd = lock(machine, "SELECT ':x %s %(a)s' AS \"a ':b' %\", 1 AS \"ü\nz\"")
    assert odd.revision == "1 row: a ':b' % string, ü\\nz int64"
    assert read(machine, odd).to_pylist() == [{"a ':b' %": ":x %s %(a)s", "ü\nz": 1}]
    with pytest.raises(ConfigError, match="column x of data raw") as error:
        lock(machine, "SELECT 1 AS x UNION ALL SELECT 'one'")
    assert "int64, string" in error.value.why
    with pytest.raises(ConfigError, match="two columns x"):
        lock(machine, "SELECT 1 AS x, 2 AS x")


def test_what_makes_no_sense(machine: Machine) -> None:
    with pytest.raises(FetchError, match="NOTHING is not set"):
        lock(machine, variable="NOTHING")
    with pytest.raises(ConfigError, match="is no query"):
        machine.lock(source="sql", uri="sql://x")
    with pytest.raises(ConfigError, match="is no query"):
        lock(machine, revision="3")
    with pytest.raises(ConfigError, match="no option"):
        lock(machine, options={"limit": "3"})
    with pytest.raises(ConfigError, match='pin = "version"'):
        lock(machine, pin="version")


@pytest.mark.parametrize(
    ("address", "what", "hint"),
    [
        ("owner:s3cr3t-word@host/db", "holds no address", "write it as"),
        ("nosuch://owner:s3cr3t-word@host/db", "failed", ""),
        ("mysql+pymysql://owner:s3cr3t-word@host/db?ssl_key=s3cr3t-too", "needs the package pymysql", "pip install"),
        ("postgresql://owner:s3cr3t-word@127.0.0.1:1/db?application_name=s3cr3t-too", "failed", "own client"),
    ],
)
def test_no_message_holds_what_is_secret(address: str, what: str, hint: str, tmp_path: Path) -> None:
    if "pymysql" in address and "pymysql" in sys.modules:
        pytest.skip("pymysql is installed")
    with pytest.raises(FetchError, match=what) as error:
        lock(Machine(root=tmp_path / "here", environ={"ORDERS": address}))
    assert "s3cr3t" not in told(error.value)
    assert hint in error.value.hint


def test_without_the_extra_it_is_told_what_to_install(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(FetchError, match="needs the package sqlalchemy") as error:
        lock(machine)
    assert error.value.hint == "install it: pip install 'repro-env[sql]'"


def told(error: ReproError) -> str:
    """Everything of an error that could ever be shown, with what it came from."""
    found, one = "", cast("BaseException | None", error)
    while one is not None:
        found += f"{one} {one!r} {vars(one)}"
        one = None if one.__suppress_context__ and one.__cause__ is None else one.__cause__ or one.__context__
    return found


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    if programs() is None:
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    pytest.importorskip("psycopg")
    with postgres() as running:
        running.run(TABLE, ROWS, "INSERT INTO everything (small) VALUES (2), (NULL), (1)")
        yield running


needs_postgres = pytest.mark.xdist_group("postgres")

TABLE = """CREATE TABLE everything (small smallint, whole int, large bigint, short real, long double precision,
    exact numeric, money2 numeric(10,2), words text, few varchar(9), padded char(4), raw bytea, flag boolean, day date,
    clock time, local timestamp, moment timestamptz, id uuid, text_json json, json jsonb, numbers int[], names text[],
    amounts numeric[], nothing text)"""
ROWS = """INSERT INTO everything VALUES (1, 2, 3, 0.1, 'NaN', 1.50, 2.5, 'ü', 'v', 'c', '\\x0001', true, '2026-01-02',
    '01:02:03.4', '2026-01-02 03:04:05.6', '2026-01-02 03:04:05+02', '00000000-0000-0000-0000-000000000001',
    '{"b": 1.10, "a":1, "a":2}', '{"b": 1.10, "a":1}', '{1,null,3}', '{}', '{1.5,2.25}', null)"""


@pytest.fixture
def clerk(tmp_path: Path, server: Postgres) -> Machine:
    return Machine(root=tmp_path / "here", environ={"ORDERS": server.url()})


@needs_postgres
def test_types_of_postgresql(clerk: Machine) -> None:
    locked = lock(clerk, "SELECT * FROM everything;")
    assert locked.revision == (
        "4 rows: small int32, whole int32, large int64, short float32, long float64, exact decimal(38,2), "
        "money2 decimal(10,2), words string, few string, padded string, raw binary, flag bool, day date, clock time, "
        "local timestamp, moment timestamp[UTC], id uuid, text_json json, json json, numbers list<int32>, "
        "names list<string>, amounts list<decimal(38,2)>, nothing string"
    )
    found = read(clerk, locked).to_pylist()
    assert [row["small"] for row in found] == [1, 1, 2, None]
    assert [str(found[0][name]) for name in ("exact", "moment", "padded", "id")] == [
        "1.50",
        "2026-01-02 01:04:05+00:00",
        "c   ",
        "00000000-0000-0000-0000-000000000001",
    ]
    assert found[0]["text_json"] == '{"b": 1.10, "a":1, "a":2}', "as it stands there, not parsed"
    assert (found[0]["numbers"], found[0]["names"], found[0]["nothing"]) == ([1, None, 3], [], None)


@needs_postgres
def test_settings_of_the_machine_do_not_count(clerk: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    query = "SELECT moment::date AS day, day::text AS text, moment::text AS at, raw::text AS raw FROM everything"
    locked = lock(clerk, query)
    for name, value in {"TZ": "Asia/Tokyo", "PGTZ": "America/New_York", "PGDATESTYLE": "German"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PGOPTIONS", "-c bytea_output=escape -c extra_float_digits=-3")
    assert clerk.elsewhere().have(locked) == locked


@needs_postgres
def test_large_answers_are_streamed(clerk: Machine, server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro_env.data.tables.spool.Spool.memory", 1 << 20)
    query = "SELECT i, md5(i::text) AS hash FROM generate_series(1, 60000) AS i"
    locked = lock(clerk, query)
    again = lock(clerk.elsewhere(), f"{query} ORDER BY hash", options={"order": "values"})
    assert (again.digest, locked.revision) == (locked.digest, "60000 rows: i int32, hash string")


@needs_postgres
def test_a_connection_that_breaks_off_is_told(clerk: Machine) -> None:
    query = (
        "SELECT i, CASE i WHEN 9000 THEN pg_terminate_backend(pg_backend_pid()) END FROM generate_series(1, 20000) AS i"
    )
    with pytest.raises(FetchError, match="failed") as error:
        lock(clerk, query)
    assert "terminating connection" in error.value.why
    assert lock(clerk, "SELECT 1 AS i").revision == "1 row: i int32"


@needs_postgres
@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("INSERT INTO everything (small) VALUES (1) RETURNING small", 'near "INSERT"'),
        ("SELECT nextval('counter')", "read-only transaction"),
        ("SELECT nosuch FROM everything", "does not exist"),
        ("SELECT '1 month'::interval AS x", "timedelta"),
        ("SELECT 1::money AS x", "locale"),
        ("SELECT 'NaN'::numeric AS x", "no decimal number"),
        ("SELECT 1e40::numeric AS x", "38 digits"),
        ("SELECT '{{1},{2}}'::int[] AS x", "lists of lists"),
        ("SELECT '::1'::inet AS x", "IPv6Address"),
        ("SELECT FROM everything", ""),
    ],
)
def test_what_is_refused(query: str, why: str, clerk: Machine, server: Postgres) -> None:
    server.run("CREATE SEQUENCE IF NOT EXISTS counter")
    with pytest.raises((ConfigError, FetchError)) as error:
        lock(clerk, query)
    assert why in error.value.why


@needs_postgres
def test_a_wrong_password_is_in_no_message_and_no_file(clerk: Machine, server: Postgres, tmp_path: Path) -> None:
    wrong = Machine(root=tmp_path / "wrong", environ={"ORDERS": server.url("wr0ng%2Fp4ss")})
    with pytest.raises(FetchError, match="failed") as error:
        lock(wrong)
    assert "password authentication failed" in error.value.why
    assert not re.search(r"wr0ng|p4ss", told(error.value))
    locked = lock(clerk, "SELECT * FROM everything")
    clerk.pull(locked)
    assert PASSWORD not in repr(locked)
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert not any(os.fsencode(one) in content for one in (PASSWORD, ESCAPED, "wr0ng")), path
