"""Runs repeated in containers: in the engine they ran in, in another runtime, and where nothing of them is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import machine
import pytest
from loopback import serve
from pipeline import BUSYBOX, Pipeline, left_by, make_pipeline
from projects import OnDisk

from repro_env.lock.dump import dump_lock
from repro_env.record.runs import list_runs

NAME = f"again{os.getpid()}"  # images are removed by it, which another process's must not be
TIMEOUT = 120.0

CLEAN = 'cat "$1" /opt/env/lib/python*/site-packages/small/__init__.py > "$2"\n'

engines = pytest.mark.parametrize(
    "engine",
    [pytest.param("docker", marks=pytest.mark.docker), pytest.param("podman", marks=pytest.mark.podman)],
)


@pytest.fixture(scope="module", autouse=True)
def _no_image_is_left() -> Iterator[None]:
    yield
    for engine in ("docker", "podman"):
        if machine.absence(engine) is None:
            forget_images_of(engine)


def forget_images_of(engine: str) -> None:
    """Remove from an engine what these tests had it load."""
    listing = [engine, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]
    found = subprocess.run(listing, capture_output=True, text=True, check=True, timeout=TIMEOUT).stdout.split()
    mine = [name for name in found if f"/{NAME}-" in name]
    if mine:
        subprocess.run([engine, "image", "rm", "--force", *mine], check=True, capture_output=True, timeout=TIMEOUT)


def commit(root: Path) -> None:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    for words in (("init", "--quiet"), ("add", "--all", "."), ("commit", "--quiet", "--allow-empty", "-m", "state")):
        subprocess.run(["git", "-C", str(root), *identity, *words], check=True)


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    if not BUSYBOX.exists():
        pytest.skip("there is no busybox to make a root filesystem of")
    with serve(tmp_path) as server:
        project = make_pipeline(tmp_path, server.url)
        text = (project.root / "repro.toml").read_text()
        project.disk.write("repro.toml", text.replace('name = "robust"', f'name = "{NAME}"'))
        project.disk.write("repro.lock", dump_lock(replace(project.lock, project=NAME)))
        project.disk.write("clean.sh", CLEAN)
        project.disk.write(".gitignore", ".repro/\nbuild/\n")
        project.repro("build")
        commit(project.root)
        yield project


def ran(project: Pipeline, runtime: str, *steps: str) -> None:
    for step in steps:
        answer = project.repro("exec", "--runtime", runtime, step)
        assert answer.status == 0, answer.stderr


def reproduced(disk: OnDisk, *words: str, status: int = 0) -> list[dict[str, Any]]:
    answer = disk.repro("reproduce", "--json", *words)
    assert answer.status == status, answer.stderr
    return list(json.loads(answer.stdout)["runs"])


@engines
def test_all_outputs_are_equal_after_outputs_store_and_engines_images_were_lost(
    engine: str, pipeline: Pipeline
) -> None:
    ran(pipeline, engine, "clean", "count")
    shutil.rmtree(pipeline.root / "build")
    shutil.rmtree(pipeline.store)
    forget_images_of(engine)
    runs = reproduced(pipeline.disk, "--all")
    assert [run["step"] for run in runs] == ["clean", "count"]
    for run in runs:
        assert run["equal"]
        assert all(output["same_bytes"] for output in run["outputs"])
        assert run["image"]["then"] == run["image"]["now"] is not None
        assert (run["changed"], run["machine"]) == ([], [])
    assert [record.runtime for record in list_runs(pipeline.root).records] == [engine] * 4


@engines
def test_a_changed_dependency_is_named_and_what_it_did(engine: str, pipeline: Pipeline) -> None:
    ran(pipeline, engine, "clean")
    text = (pipeline.root / "repro.toml").read_text()
    pipeline.disk.write("repro.toml", text.replace('["small", "large"]', '["small<2", "large"]'))
    answer = pipeline.repro("lock")
    assert answer.status == 0, answer.stderr
    (run,) = reproduced(pipeline.disk, "--here", status=14)
    assert "  small 2.0 -> 1.0" in run["changed"]
    assert run["cause"] == "table differs because clean had small 1.0 instead of 2.0"
    assert run["image"]["then"] != run["image"]["now"]
    (output,) = run["outputs"]
    assert output["difference"]["what"] == """'0__version__ = "2.0"' then, '0__version__ = "1.0"' now"""
    (run,) = reproduced(pipeline.disk, "clean")
    assert run["equal"], "the run itself is repeated with its own lock"


@engines
def test_code_that_was_not_committed_is_in_the_image_again(engine: str, pipeline: Pipeline) -> None:
    pipeline.disk.write("clean.sh", 'echo not committed > "$2"\n')
    ran(pipeline, engine, "clean")
    pipeline.disk.write("clean.sh", 'echo edited since > "$2"\n')
    (run,) = reproduced(pipeline.disk, "clean")
    assert run["equal"]
    assert run["image"]["then"] == run["image"]["now"]
    assert (pipeline.root / "build/table.csv").read_text() == "not committed\n"
    assert (pipeline.root / "clean.sh").read_text() == 'echo edited since > "$2"\n'


@engines
def test_a_command_compares_in_the_steps_own_image(engine: str, pipeline: Pipeline) -> None:
    text = (pipeline.root / "repro.toml").read_text()
    how = 'outputs = { number = { path = "build/number.txt", compare = "command: sh same.sh {a} {b}", keep = true } }'
    text = text.replace('outputs = { number = "build/number.txt" }', how)
    pipeline.disk.write("repro.toml", text.replace('code = ["count.sh"]', 'code = ["count.sh", "same.sh"]'))
    pipeline.disk.write("count.sh", 'echo 1 > "$REPRO_OUTPUT_NUMBER"; echo $REPRO_RUN >> "$REPRO_OUTPUT_NUMBER"\n')
    pipeline.disk.write("same.sh", 'read a < "$1"; read b < "$2"; echo "$a $b"; [ "$a" = "$b" ]\n')
    answer = pipeline.repro("lock")
    assert answer.status == 0, answer.stderr
    commit(pipeline.root)
    ran(pipeline, engine, "clean", "count")
    shutil.rmtree(pipeline.root / "build")
    (run,) = reproduced(pipeline.disk, "count", "--upstream")[1:]
    (output,) = run["outputs"]
    assert (output["equal"], output["same_bytes"]) == (True, False)


@engines
def test_a_run_that_failed_fails_again_alike(engine: str, pipeline: Pipeline) -> None:
    pipeline.disk.write("clean.sh", "echo broken >&2; exit 7\n")
    assert pipeline.repro("exec", "--runtime", engine, "clean").status == 7
    answer = pipeline.repro("reproduce")
    assert answer.status == 0, answer.stderr
    assert "broken\n" in answer.stderr
    now, then = list_runs(pipeline.root).records
    assert (now.reproduces, now.exit_status) == (then.id, 7)


@pytest.mark.bwrap
@engines
def test_a_run_of_bwrap_is_repeated_in_a_container(engine: str, pipeline: Pipeline) -> None:
    ran(pipeline, "bwrap", "clean", "count")
    for run in reproduced(pipeline.disk, "--all", "--runtime", engine):
        assert run["equal"]
        assert run["machine"] == [f"runtime bwrap then, {engine} now"]
        assert run["image"]["then"] == run["image"]["now"] is not None
        assert run["definition"]["then"] == run["definition"]["now"]
    records = list_runs(pipeline.root).records
    assert [record.runtime for record in records] == [engine, engine, "bwrap", "bwrap"]
    assert records[0].command == records[2].command
    assert records[0].environment == records[2].environment


@pytest.mark.bwrap
@engines
def test_a_run_of_a_container_is_repeated_in_bwrap(engine: str, pipeline: Pipeline) -> None:
    ran(pipeline, engine, "clean")
    (run,) = reproduced(pipeline.disk, "--runtime", "bwrap")
    assert run["equal"]
    assert run["machine"] == [f"runtime {engine} then, bwrap now"]


@engines
def test_a_bundle_is_all_that_another_machine_needs_beside_the_repository(
    engine: str, pipeline: Pipeline, tmp_path: Path
) -> None:
    pipeline.disk.write("count.sh", 'echo counted; cat "$REPRO_INPUT_CLEAN_TABLE" > "$REPRO_OUTPUT_NUMBER"\n')
    ran(pipeline, engine, "clean", "count")
    bundle = tmp_path / "count.tar"
    answer = pipeline.repro("show", "count", "--bundle", str(bundle))
    assert answer.status == 0, answer.stderr
    repository = tmp_path / "elsewhere.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", pipeline.root, repository], check=True)
    shutil.rmtree(pipeline.root)
    forget_images_of(engine)
    fresh = OnDisk(tmp_path / "fresh", {**pipeline.disk.env, "REPRO_STORE": str(tmp_path / "fresh-store")})
    fresh.root.mkdir()
    runs = reproduced(fresh, "--from", str(bundle), "--upstream", "--repository", str(repository))
    assert [(run["step"], run["equal"], run["changed"]) for run in runs] == [("clean", True, []), ("count", True, [])]
    (home,) = fresh.root.iterdir()
    records = list_runs(home).records
    assert [record.runtime for record in records] == [engine, engine]
    assert (home / ".repro/runs" / records[0].id / "output/build/number.txt").read_text() == '0__version__ = "2.0"\n'


@engines
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_interrupted_is_no_answer_and_leaves_nothing(
    engine: str, number: signal.Signals, pipeline: Pipeline
) -> None:
    pipeline.disk.write("clean.sh", 'echo cleaning; sleep 3; cat "$1" > "$2"\n')
    ran(pipeline, engine, "clean", "count")
    process = pipeline.start("reproduce", "--all")
    assert process.stdout is not None
    assert process.stdout.readline() == b"cleaning\n"
    process.send_signal(number)
    said, told = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 128 + number, told
    assert said == b"", "of what did not come to its end nothing is said, and the next run is not begun"
    assert told.splitlines()[-1].startswith(b"interrupted: ")
    assert left_by(process.pid) == []
    containers = [engine, "ps", "--all", "--quiet", "--filter", f"name={list_runs(pipeline.root).records[0].id}"]
    assert subprocess.run(containers, capture_output=True, check=True, timeout=TIMEOUT).stdout == b""
    assert list((pipeline.root / ".repro/restored").iterdir()) == []
    assert len(list_runs(pipeline.root).records) == 3


@engines
def test_what_is_made_again_belongs_to_who_asked_for_it(engine: str, pipeline: Pipeline) -> None:
    ran(pipeline, engine, "clean")
    (run,) = reproduced(pipeline.disk, "clean", "--output", str(pipeline.root / "kept"))
    made = pipeline.root / "kept/build/table.csv"
    assert run["equal"]
    assert (made.stat().st_uid, made.stat().st_gid) == (os.getuid(), os.getgid())
