"""Runs sent to real trackers: MLflow's own server, and Weights & Biases' own package, each in its environment."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from records import FULL
from uv import find_uv_bin

from repro_env.edges.http_client import HttpClient, Limits
from repro_env.errors import FetchError
from repro_env.record.exports.mlflow import to_mlflow
from repro_env.record.sending.base import exchange
from repro_env.record.sending.mlflow import MlflowServer

pytestmark = pytest.mark.network

ROOT = Path(__file__).resolve().parents[2]
MLFLOW, WANDB = "mlflow==3.17.2", "wandb==0.31.0"


def uv_run(*packages: str) -> list[str]:
    chosen = [word for package in packages for word in ("--with", package)]
    return [find_uv_bin(), "run", "--isolated", "--no-project", "--python", sys.executable, *chosen]


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a running MLflow server with an empty database."""
    place = tmp_path_factory.mktemp("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [*uv_run(MLFLOW), "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += [
        "--backend-store-uri",
        f"sqlite:///{place}/mlflow.db",
        "--artifacts-destination",
        str(place / "artifacts"),
    ]
    with (place / "log").open("wb") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log, cwd=place, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/health", server, place / "log")
        yield url
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    client = HttpClient(environ={}, limits=Limits(connect=1, read=5, attempts=1))
    for _second in range(180):
        try:
            client.get(url, limit=100)
        except FetchError:
            assert server.poll() is None, log.read_text()
            time.sleep(1)
        else:
            return
    raise AssertionError(log.read_text())


def test_a_run_in_mlflow_is_there_once_however_often_it_is_sent(mlflow: str) -> None:
    client = HttpClient(environ={}, limits=Limits(attempts=1))
    server = MlflowServer(mlflow, "penguins é", client)
    many = {"EMPTY": "", **{f"NAME_{number}": "x" * 7000 for number in range(150)}}
    record = replace(FULL, variables=many)
    server.send(to_mlflow(record))
    server.send(to_mlflow(record))
    server.send(to_mlflow(replace(FULL, id="another", status="failed", exit_status=None, signal=9)))
    found = {run["info"]["run_name"]: run for run in runs_of(client, mlflow, "penguins é")}
    assert sorted(found) == sorted([FULL.id, "another"])
    run = found[FULL.id]
    assert run["info"]["status"] == "FINISHED"
    assert run["info"]["end_time"] - run["info"]["start_time"] == 90_000
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert tags["repro.output.table"] == str(FULL.outputs[0].digest)
    assert tags["mlflow.source.git.commit"] == FULL.git.commit if FULL.git else False
    assert len(run["data"]["params"]) == len(many) + 1
    assert {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}["repro.wall_seconds"] == 90.0
    names = {one["dataset"]["name"] for one in run["inputs"]["dataset_inputs"]}
    assert names == {used.name for used in FULL.inputs}
    assert found["another"]["info"]["status"] == "FAILED"


def runs_of(client: HttpClient, url: str, experiment: str) -> list[Any]:
    api = f"{url}/api/2.0/mlflow"
    found = exchange(client, "POST", f"{api}/experiments/search", {"max_results": 100})["experiments"]
    wanted = next(one["experiment_id"] for one in found if one["name"] == experiment)
    runs: list[Any] = exchange(client, "POST", f"{api}/runs/search", {"experiment_ids": [wanted]})["runs"]
    return runs


def test_a_run_in_wandbs_directory(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "from records import FULL\n"
        "from repro_env.record.exports.wandb import to_wandb\n"
        "from repro_env.record.sending.wandb import WandbDirectory\n"
        "WandbDirectory(Path(sys.argv[1]), 'penguins').send(to_wandb(FULL))\n"
    )
    words: list[str | Path] = [
        *uv_run(WANDB),
        "python",
        "-c",
        script,
        tmp_path / "wandb",
        ROOT,
        ROOT / "tests" / "support",
    ]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    [written] = (tmp_path / "wandb").rglob(f"offline-run-*-{FULL.id}/run-*.wandb")
    content = written.read_bytes()
    for text in ("penguins", "clean.py", str(FULL.outputs[0].digest), "succeeded"):
        assert text.encode() in content
    host = socket.gethostname().encode()
    assert bytes([0x6A, len(host)]) + host not in content, "field 13 of its RunRecord message is the machine's name"
    assert bytes([0x6A, 5]) + b"repro" in content
