"""Queries and tables through whole commands: locked, pulled, verified, given to a step."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from projects import COUNT, TWO_STEPS, OnDisk

Golden = Callable[[str, str], None]

QUERY = '''query = """
SELECT id, name -- "of" all
FROM orders;
"""
connection = "ORDERS_DB"'''
SIZES = """\
import pathlib, sys
source, target = map(pathlib.Path, sys.argv[1:3])
files = [source] if source.is_file() else sorted(source.rglob("*.parquet"))
target.write_text(" ".join(f"{path.suffix} {path.read_bytes()[:4].decode()}" for path in files))
"""
SECRET = "s3cr3t-word"


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def project(root: Path, data: str, **environment: str) -> OnDisk:
    made = OnDisk(root / "churn", environment)
    made.write("repro.toml", TWO_STEPS.replace('path = "raw.csv"', data))
    made.write("clean.py", SIZES)
    made.write("count.py", COUNT)
    return made


def told(*answers: object) -> str:
    """What commands said, without lines of progress, which only slow machines see."""
    return re.sub(r"(?m)^(downloading|placing|running) .* in N s\n", "", "".join(map(str, answers)))


@pytest.fixture
def orders(tmp_path: Path) -> OnDisk:
    database = tmp_path / "orders.db"
    change(database, "CREATE TABLE orders (id, name)", "INSERT INTO orders VALUES (2, 'b'), (1, 'a')")
    made = project(tmp_path, QUERY, ORDERS_DB=f"sqlite:///{database}?note={SECRET}")
    made.lock()
    return made


def test_a_query_is_locked_pulled_verified_and_given_to_a_step(orders: OnDisk, golden: Golden, tmp_path: Path) -> None:
    text = (orders.root / "repro.lock").read_text()
    assert 'revision = "2 rows: id int64, name string"' in text
    assert 'connection = "ORDERS_DB"' in text
    answers = [orders.repro("data", *words) for words in (["status"], ["pull"], ["status"], ["verify"])]
    golden("data-query.txt", told(*answers))
    answer = orders.repro("exec", "--runtime", "venv", "clean")
    assert answer.status == 0, answer.stderr
    assert (orders.root / "build" / "table.csv").read_text() == ".parquet PAR1"
    record = json.loads(orders.repro("show", "last", "--json").stdout)
    assert orders.lock().data["raw"].digest.hex in json.dumps(record)
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".db"]
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []


def test_another_machine_with_other_settings_gets_the_same_bytes(orders: OnDisk, tmp_path: Path) -> None:
    change(tmp_path / "orders.db", "INSERT INTO orders VALUES (3, 'ä'), (4, 'Z'), (5, 'I'), (6, '\u0131')")
    orders.lock()
    other = {"LC_ALL": "POSIX", "TZ": "Asia/Kolkata", "PYTHONHASHSEED": "7", "PYTHONUTF8": "0"}
    there = OnDisk(orders.root, {**orders.env, **other, "REPRO_STORE": str(tmp_path / "other")})
    answer = there.repro("data", "pull")
    assert answer.status == 0, answer.stderr


def test_another_answer_is_told_and_locked_when_asked(orders: OnDisk, golden: Golden, tmp_path: Path) -> None:
    orders.repro("data", "pull")
    change(tmp_path / "orders.db", "INSERT INTO orders VALUES (3, 'c')")
    assert orders.repro("lock", "--check").status == 0, "what a database has by now is no drift"
    elsewhere = OnDisk(orders.root, {**orders.env, "REPRO_STORE": str(tmp_path / "other")})
    (orders.root / ".repro" / "data" / "raw" / "raw.parquet").unlink()
    golden("data-query-changed.txt", told(elsewhere.repro("data", "pull")))
    assert orders.repro("data", "pull").status == 0, "this machine's store still has the answer"
    (orders.root / "before.lock").write_text((orders.root / "repro.lock").read_text())
    answer = orders.repro("lock", "-D", "raw")
    golden("data-query-lock.txt", told(answer))
    golden("data-query-diff.txt", told(orders.repro("data", "diff", "before.lock")))


def test_an_address_that_is_missing_or_wrong(orders: OnDisk, golden: Golden, tmp_path: Path) -> None:
    store = {"REPRO_STORE": str(tmp_path / "other")}
    golden("data-query-no-address.txt", told(OnDisk(orders.root, store).repro("data", "pull")))
    wrong = {**store, "ORDERS_DB": f"postgresql://clerk:{SECRET}@127.0.0.1:1/orders"}
    answer = OnDisk(orders.root, wrong).repro("data", "pull")
    assert answer.status != 0
    assert SECRET not in str(answer)


def test_tables_of_delta_lake_and_iceberg(tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    pyiceberg = pytest.importorskip("pyiceberg.catalog")
    rows = pa.table({"id": [1, 2], "where": ["a", "b"]})
    deltalake.write_deltalake(str(tmp_path / "events"), rows, partition_by=["where"])
    address = f"sqlite:///{tmp_path}/catalog.db"
    catalog = pyiceberg.load_catalog("default", uri=address, warehouse=f"file://{tmp_path}/warehouse")
    with closing(catalog):
        catalog.create_namespace("lake")
        catalog.create_table("lake.events", schema=rows.schema).append(rows)
    data = (
        f'uri = "delta+file://{tmp_path}/events"\n\n[data.ice]\nuri = "iceberg://lake.events"\nconnection = "CATALOG"'
    )
    made = project(tmp_path, data, CATALOG=address)
    locked = made.lock().data
    assert (locked["raw"].revision, locked["raw"].files, locked["ice"].files) == ("0", 3, 1)
    assert made.repro("data", "pull").status == 0
    status = made.repro("data", "status").stdout
    assert re.sub(r"\(.*\)", "", status).split() == ["ok", "ice", ".repro/data/ice", "ok", "raw", ".repro/data/raw"]
    assert made.repro("data", "verify").status == 0
    answer = made.repro("exec", "--runtime", "venv", "clean")
    assert answer.status == 0, answer.stderr
    assert (made.root / "build" / "table.csv").read_text() == ".parquet PAR1 .parquet PAR1"
