"""Pipelines run, their outputs and images lost, and run again from their records: the same images, the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import serve
from pipeline import BUSYBOX, Pipeline, make_pipeline

from repro_env.cli.demo_files import copy_demo
from repro_env.image.store import Store
from repro_env.lock.model import DebianRoot
from repro_env.lock.parse import parse_lock
from repro_env.record.runs import list_runs

pytestmark = pytest.mark.bwrap

CLEAN = 'cat "$1" /opt/env/lib/python*/site-packages/small/__init__.py > "$2"\n'


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
        project.disk.write("clean.sh", CLEAN)
        project.disk.write(".gitignore", ".repro/\nbuild/\n")
        project.repro("build")
        commit(project.root)
        yield project


def reproduced(project: Pipeline, *words: str, status: int = 0) -> list[dict[str, Any]]:
    answer = project.repro("reproduce", "--json", *words)
    assert answer.status == status, answer.stderr
    return list(json.loads(answer.stdout)["runs"])


def test_all_outputs_are_equal_after_outputs_and_images_were_lost(pipeline: Pipeline) -> None:
    for step in ("clean", "count"):
        answer = pipeline.repro("exec", "--runtime", "bwrap", step)
        assert answer.status == 0, answer.stderr
    shutil.rmtree(pipeline.root / "build")
    shutil.rmtree(pipeline.store)
    for run in reproduced(pipeline, "--all"):
        assert run["equal"]
        assert run["image"]["then"] == run["image"]["now"] is not None
        assert run["changed"] == []
    assert [record.runtime for record in list_runs(pipeline.root).records] == ["bwrap"] * 4


def test_a_changed_dependency_is_named_and_what_it_did(pipeline: Pipeline) -> None:
    assert pipeline.repro("exec", "--runtime", "bwrap", "clean").status == 0
    text = (pipeline.root / "repro.toml").read_text()
    pipeline.disk.write("repro.toml", text.replace('["small", "large"]', '["small<2", "large"]'))
    answer = pipeline.repro("lock")
    assert answer.status == 0, answer.stderr
    (run,) = reproduced(pipeline, "--here", status=14)
    assert "  small 2.0 -> 1.0" in run["changed"]
    assert run["cause"] == "table differs because clean had small 1.0 instead of 2.0"
    (output,) = run["outputs"]
    assert output["difference"]["where"] == "line 1"
    assert output["difference"]["what"] == """'0__version__ = "2.0"' then, '0__version__ = "1.0"' now"""
    (run,) = reproduced(pipeline, "clean")
    assert run["equal"], "the run itself is repeated with its own lock"


def test_a_command_compares_in_the_steps_own_environment(pipeline: Pipeline) -> None:
    text = (pipeline.root / "repro.toml").read_text()
    how = 'outputs = { number = { path = "build/number.txt", compare = "command: sh same.sh {a} {b}", keep = true } }'
    text = text.replace('outputs = { number = "build/number.txt" }', how)
    pipeline.disk.write("repro.toml", text.replace('code = ["count.sh"]', 'code = ["count.sh", "same.sh"]'))
    pipeline.disk.write("count.sh", 'echo 1 > "$REPRO_OUTPUT_NUMBER"; echo $REPRO_RUN >> "$REPRO_OUTPUT_NUMBER"\n')
    pipeline.disk.write("same.sh", 'read a < "$1"; read b < "$2"; echo "$a $b"; [ "$a" = "$b" ]\n')
    assert pipeline.repro("lock").status == 0
    commit(pipeline.root)
    for step in ("clean", "count"):
        answer = pipeline.repro("exec", "--runtime", "bwrap", step)
        assert answer.status == 0, answer.stderr
    shutil.rmtree(pipeline.root / "build/number.txt", ignore_errors=True)
    (run,) = reproduced(pipeline, "count")
    (output,) = run["outputs"]
    assert (output["equal"], output["same_bytes"]) == (True, False)


@pytest.mark.network
def test_the_demo_is_reproduced_from_what_was_downloaded(tmp_path: Path, shared_store: Store) -> None:
    project = tmp_path / "demo"
    copy_demo(project)
    commit(project)

    def repro(store: Path, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "repro_env", *words],
            cwd=project,
            env={**os.environ, "REPRO_STORE": str(store)},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    repro(shared_store.root, "lock")
    for step in ("clean", "train", "report"):
        repro(shared_store.root, "exec", step)
    shutil.rmtree(project / "build")
    fresh = Store(tmp_path / "store")
    for blob in _downloads(project):
        shutil.copyfile(shared_store.blobs / blob, fresh.blobs / blob)
    document = json.loads(repro(fresh.root, "reproduce", "--all", "--json"))
    assert document["equal"]
    assert [run["step"] for run in document["runs"]] == ["clean", "train", "report"]
    assert all(output["same_bytes"] for run in document["runs"] for output in run["outputs"])
    assert all(run["image"]["then"] == run["image"]["now"] for run in document["runs"])


def _downloads(project: Path) -> set[str]:
    """Return the hashes of the files that the lock's steps are made of, without anything made of those."""
    lock = parse_lock((project / "repro.lock").read_text())
    roots = [root for base in lock.bases.values() for root in base.roots.values() if isinstance(root, DebianRoot)]
    debs = {package.sha256.hex for root in roots for package in root.packages}
    return debs | {wheel.sha256.hex for wheel in lock.wheels} | {one.sha256.hex for one in lock.interpreters}
