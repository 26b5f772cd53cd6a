"""What is there already starts soon: a process of `repro` imports nothing of what it does not do this time.

A module imported in vain costs every run of every step its milliseconds, and nobody sees which one came when.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from loopback import serve
from pipeline import BUSYBOX, Pipeline, make_pipeline

WORDS = {
    "bwrap": ("exec", "--runtime", "bwrap", "clean"),
    "venv": ("exec", "--runtime", "venv", "clean"),
    "check": ("lock", "--check"),
}

# What no warm command needs, in groups with the reason.
NETWORK = {"urllib3", "requests", "ssl", "http.client", "docker", "repro_env.cli.fetching", "repro_env.cli.registries"}
DISPLAY = {"rich", "difflib"}
LOCKING = {"tomlkit", "repro_env.resolve", "repro_env.lock.dump", "repro_env.lock.cuda", "repro_env.lock.diff"}
BUILDING = {"tarfile", "repro_env.build.environment", "repro_env.cli.building_sources", "repro_env.image.untar"}
TELLING = {"repro_env.cli.missing_report", "repro_env.build.inspect", "repro_env.cli.destinations"}
MACHINES = {"pynvml", "repro_env.verify.needs", "repro_env.verify.report", "repro_env.run.driver", "repro_env.cli.gpus"}
EXPORTS = {"repro_env.record.sending", "repro_env.record.exports", "repro_env.record.signing"}
THREADS = {"concurrent.futures", "logging", "multiprocessing", "asyncio"}
NEVER = NETWORK | DISPLAY | LOCKING | BUILDING | TELLING | MACHINES | EXPORTS | THREADS

CHECKING = {"click", "subprocess", "repro_env.build", "repro_env.image", "repro_env.run", "repro_env.record", "isal"}
"""What `repro lock --check` does without besides."""


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A project in git of which everything was built, run and recorded."""
    directory = tmp_path_factory.mktemp("warm")
    with serve(directory) as server:
        pipeline = make_pipeline(directory, server.url)
        assert pipeline.repro(*WORDS["venv"]).status == 0
        assert pipeline.repro("build").status == 0
    pipeline.disk.write(".gitignore", ".repro/\nbuild/\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false")
    for words in (("init", "-q"), ("add", "--all"), ("commit", "-q", "-m", "all")):
        subprocess.run(["git", "-C", pipeline.root, *who, *words], check=True)
    return pipeline


def imported(pipeline: Pipeline, *words: str) -> set[str]:
    """Return the modules that a command imports, with the packages that hold them."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "repro_env", *words],
        cwd=pipeline.root,
        env={**os.environ, **pipeline.disk.env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip() for line in lines}


@pytest.mark.parametrize("name", [pytest.param("bwrap", marks=pytest.mark.bwrap), "venv", "check"])
def test_a_warm_start_imports_nothing_in_vain(warm: Pipeline, name: str) -> None:
    if name == "bwrap" and not BUSYBOX.exists():
        pytest.skip("no static busybox to make an image of")
    assert warm.repro(*WORDS[name]).status == 0  # what the first run unpacks and remembers
    found = imported(warm, *WORDS[name])
    assert "repro_env.lock.parse" in found, "the command did its work"
    assert sorted(found & (NEVER | CHECKING if name == "check" else NEVER)) == []


@pytest.mark.parametrize("name", sorted(name for name in NEVER | CHECKING if name.startswith("repro_env.")))
def test_what_must_not_be_imported_is_there(name: str) -> None:
    place = Path(__file__).parents[2].joinpath(*name.split("."))
    assert place.is_dir() or place.with_suffix(".py").is_file(), f"{name} has another name now"
