"""The demo, locked, built and run, in two runtimes that must agree on every byte."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from repro_env.cli.demo_files import copy_demo
from repro_env.image.store import Store

pytestmark = [pytest.mark.network, pytest.mark.bwrap]

STEPS = ("clean", "train", "report")
OUTPUTS = ("penguins.csv", "audit.json", "model.json", "metrics.json", "report.html")


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    copy_demo(tmp_path / "demo")
    return tmp_path / "demo"


def repro(project: Path, store: Store, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "repro_env", *words],
        cwd=project,
        env={**os.environ, "REPRO_STORE": str(store.root)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def outputs(project: Path) -> dict[str, bytes]:
    return {name: (project / "build" / name).read_bytes() for name in OUTPUTS}


def test_the_demo_gives_the_same_bytes_in_an_image_and_in_a_venv(demo: Path, shared_store: Store) -> None:
    repro(demo, shared_store, "lock")
    repro(demo, shared_store, "build")
    made = {}
    for runtime in ("bwrap", "venv"):
        for step in STEPS:
            repro(demo, shared_store, "exec", "--runtime", runtime, step)
        made[runtime] = outputs(demo)
    assert made["bwrap"] == made["venv"]

    software = {
        "clean": json.loads(made["bwrap"]["audit.json"])["software"],
        "train": json.loads(made["bwrap"]["metrics.json"])["software"],
    }
    assert software["clean"]["numpy"].startswith("1.")
    assert software["train"]["numpy"].startswith("2.")
    assert json.loads(made["bwrap"]["metrics.json"])["accuracy"] > 0.95
    check_page(made["bwrap"]["report.html"].decode())


def check_page(page: str) -> None:
    """The report stands alone: nothing is loaded from anywhere, nothing is left unfilled, no id is there twice."""
    assert "{{" not in page
    assert re.findall(r"""(?:src|href)=["'](?!https://doi\.org/|#)[^"']*""", page) == []
    assert re.findall(r"@import|url\((?!#)", page) == []
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert sorted(ids) == sorted(set(ids))
    assert "prefers-color-scheme: dark" in page
