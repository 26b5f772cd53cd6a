"""Many commands at once on one empty store: all succeed, and all arrive at the same digests."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import Fault, Server, serve
from pipeline import BUSYBOX, PLATFORM, SERVED, TEXT, Pipeline, faults_of, make_pipeline
from projects import OnDisk

from repro_env.record.runs import list_runs

AT_ONCE = 8


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Pipeline, Server]]:
    with serve(tmp_path) as server:
        yield make_pipeline(tmp_path, server.url), server


def copies(pipeline: Pipeline, count: int) -> list[Pipeline]:
    """Return the project in several places, all with the one store."""
    found = []
    for number in range(count):
        root = pipeline.root.parent / f"copy{number}"
        shutil.copytree(pipeline.root, root)
        found.append(Pipeline(OnDisk(root, pipeline.disk.env)))
    return found


@pytest.mark.parametrize("rounds", [1, pytest.param(6, marks=pytest.mark.soak)])
def test_builds_on_one_empty_store(served: tuple[Pipeline, Server], rounds: int) -> None:
    pipeline, server = served
    projects = copies(pipeline, AT_ONCE)
    fresh = (pipeline.root / "repro.lock").read_bytes()
    seen = set()
    for _ in range(rounds):
        shutil.rmtree(pipeline.store, ignore_errors=True)
        for project in projects:
            (project.root / "repro.lock").write_bytes(fresh)
        started = [project.start("build", "--json") for project in projects]
        for process in started:
            stdout, stderr = process.communicate(timeout=300)
            assert process.returncode == 0, stderr.decode()
            seen.add(json.dumps([(one["step"], one["image"]) for one in json.loads(stdout)["images"]]))
        assert faults_of(pipeline.store) == []
        assert list((pipeline.store / "temporary").iterdir()) == []
        assert list((pipeline.store / "partial").glob("*.part")) == []
    assert len(seen) == 1
    assert len({(project.root / "repro.lock").read_bytes() for project in projects}) == 1
    for asked in {path for _method, path, _range in server.log}:
        assert server.asked(asked) == rounds, f"{asked} was downloaded more than once"


def test_builds_in_one_project(served: tuple[Pipeline, Server]) -> None:
    pipeline, _server = served
    started = [pipeline.start("build") for _ in range(AT_ONCE)]
    for process in started:
        _stdout, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr.decode()
    assert pipeline.repro("lock", "--check").status == 0
    assert faults_of(pipeline.store) == []


def test_a_project_that_is_locked_anew_while_it_is_built(served: tuple[Pipeline, Server]) -> None:
    pipeline, server = served
    large = f"/{SERVED}/files/large-1.0-py3-none-any.whl"
    server.fault(large, Fault(stall=4))
    process = pipeline.start("build")
    while not server.asked(large):
        time.sleep(0.01)
    pipeline.disk.write("repro.toml", TEXT.replace('"small", "large"', '"small<2", "large"'))
    assert pipeline.repro("lock").status == 0
    assert process.poll() is None, "the build ended too early to show anything"
    _stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr.decode()
    environments = {name: step.environments[PLATFORM] for name, step in pipeline.lock.steps.items()}
    assert [wheel.version for wheel in environments["clean"].wheels] == ["1.0", "1.0"], "the new pins stay"
    assert environments["clean"].image is None
    assert environments["count"].image is not None
    assert pipeline.repro("build").status == 0


@pytest.mark.parametrize("runtime", ["venv", pytest.param("bwrap", marks=pytest.mark.bwrap)])
def test_runs_in_one_project_on_one_empty_store(served: tuple[Pipeline, Server], runtime: str) -> None:
    if runtime == "bwrap" and not BUSYBOX.exists():
        pytest.skip("no static busybox to make an image of")
    pipeline, _server = served
    started = [pipeline.start("exec", "--runtime", runtime, "clean") for _ in range(AT_ONCE)]
    for process in started:
        stdout, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr.decode()
        assert stdout == b"cleaning\n"
    runs = list_runs(pipeline.root)
    assert [record.status for record in runs.records] == ["succeeded"] * AT_ONCE
    assert runs.damaged == ()
    assert faults_of(pipeline.store) == []
