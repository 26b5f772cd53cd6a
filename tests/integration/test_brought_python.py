"""A step whose base has no such Python: locked, built and run with a stand-in for the build that uv would install."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from loopback import Server, serve
from pythonmaker import MINOR, RELEASE, VERSION, Release, release, running_python

from repro_env.image.store import Store

pytestmark = [pytest.mark.network, pytest.mark.bwrap]

SUITE = "bookworm" if MINOR != "3.11" else "trixie"
"""One whose own Python is another than the one that runs the tests."""

PROJECT = f"""
[project]
name = "brought"
[base.slim]
debian = "{SUITE}"
[step.tell]
base = "slim"
python = "{MINOR}"
dependencies = ["markupsafe>=3"]
command = ["python", "tell.py", "{{output.told}}"]
code = ["tell.py"]
outputs = {{ told = "told.json" }}
"""
TELL = """
import json, os, platform, sys, sysconfig
import markupsafe._speedups
told = {
    "version": platform.python_version(),
    "prefixes": [sys.prefix, sys.base_prefix],
    "program": os.path.realpath(sys.executable),
    "standard": os.path.dirname(os.__file__),
    "package": markupsafe.__file__,
    "include": sysconfig.get_path("include"),
    "others": [name for name in os.listdir("/usr/bin") if name.startswith("python3")],
}
json.dump(told, open(sys.argv[1], "w"))
"""


@dataclass(frozen=True, slots=True)
class World:
    """A project, the mirror its Python comes from, and how `repro` is called for it."""

    project: Path
    server: Server
    build: Release
    variables: dict[str, str] = field(default_factory=dict)

    def repro(self, *words: str, status: int = 0, **environ: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "repro_env", *words],
            cwd=self.project,
            env={**os.environ, **self.variables, **environ},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr


@pytest.fixture(scope="module")
def build() -> Release:
    return release(running_python())


@pytest.fixture
def world(tmp_path: Path, shared_store: Store, build: Release) -> Iterator[World]:
    project, web = tmp_path / "project", tmp_path / "web"
    project.mkdir()
    (project / "repro.toml").write_text(PROJECT)
    (project / "tell.py").write_text(TELL)
    build.publish(web / "mirror")
    (web / "list.json").write_text(build.listed())
    with serve(web) as server:
        variables = {
            "REPRO_STORE": str(shared_store.root),
            "REPRO_PYTHON_MIRROR": f"{server.url}/mirror",
            "UV_PYTHON_DOWNLOADS_JSON_URL": f"{server.url}/list.json",
        }
        yield World(project, server, build, variables)


def check_told(world: World) -> None:
    told = json.loads((world.project / "told.json").read_text())
    (world.project / "told.json").unlink()
    assert told == {
        "version": VERSION,
        "prefixes": ["/opt/env", "/opt/python"],
        "program": f"/opt/python/bin/python{MINOR}",
        "standard": f"/opt/python/lib/python{MINOR}",
        "package": f"/opt/env/lib/python{MINOR}/site-packages/markupsafe/__init__.py",
        "include": f"/opt/python/include/python{MINOR}",
        "others": [],
    }


def test_a_step_runs_with_the_python_it_brings(world: World) -> None:
    assert "1 interpreter" in world.repro("lock")
    text = (world.project / "repro.lock").read_text()
    assert f'interpreter = "{VERSION}"\narchive = "{world.build.sha256}"\n' in text
    assert f'[[interpreter]]\nversion = "{VERSION}"\nurl = "{world.build.url}"\n' in text
    assert world.server.url not in text
    world.repro("build")
    digests = (world.project / "repro.lock").read_text()
    world.repro("exec", "--runtime", "bwrap", "tell")
    check_told(world)
    world.repro("lock", UV_PYTHON_DOWNLOADS_JSON_URL="file:///nowhere")
    world.repro("lock", "--check")
    assert (world.project / "repro.lock").read_text() == digests


@pytest.mark.docker
def test_it_runs_under_docker_too(world: World) -> None:
    world.repro("lock")
    world.repro("exec", "--runtime", "docker", "tell")
    check_told(world)


def test_another_file_under_its_name_is_never_used(world: World, tmp_path: Path) -> None:
    world.repro("lock")
    place = world.server.root / "mirror" / RELEASE / world.build.file
    content = bytearray(place.read_bytes())
    content[-9] ^= 1
    place.write_bytes(content)
    said = world.repro("build", status=7, REPRO_STORE=str(fresh_store(world, tmp_path)))
    assert f"error: {world.build.file} is not the file that was locked" in said
    assert str(world.build.sha256) in said


def test_an_archive_that_is_gone_is_named_with_the_mirror(world: World, tmp_path: Path) -> None:
    world.repro("lock")
    shutil.rmtree(world.server.root / "mirror")
    said = world.repro("build", status=6, REPRO_STORE=str(fresh_store(world, tmp_path)))
    assert world.build.file in said
    assert "404" in said


def fresh_store(world: World, tmp_path: Path) -> Path:
    """Return a store that has all the others have, but no interpreter."""
    shutil.copytree(world.variables["REPRO_STORE"] + "/blobs", tmp_path / "other" / "blobs", copy_function=os.link)
    (tmp_path / "other" / "blobs" / "sha256" / world.build.sha256.hex).unlink(missing_ok=True)
    return tmp_path / "other"
