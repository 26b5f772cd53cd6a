"""Steps whose Python is compiled: by their own interpreter in a sandbox, to the same bytes as by an equal one."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from loopback import serve
from pythonmaker import MINOR, release, running_python

from repro_env.build import compiling
from repro_env.build.environment import Assembler
from repro_env.edges.report import Silent
from repro_env.image.oci import Image, read_image
from repro_env.image.store import Store
from repro_env.lock.model import Lock
from repro_env.lock.parse import parse_lock
from repro_env.values import Platform

pytestmark = [pytest.mark.network, pytest.mark.bwrap]

AMD64 = Platform("amd64")
PROJECT = f"""
[project]
name = "compiled"
[base.old]
debian = "bookworm"
[base.other]
debian = "{"bookworm" if MINOR != "3.11" else "trixie"}"
[step.own]
base = "old"
python = "3.11"
dependencies = ["click", "numpy"]
bytecode = true
command = ["python", "tell.py", "{{output.own}}"]
code = ["tell.py"]
outputs = {{ own = "own.json" }}
[step.brought]
base = "other"
python = "{MINOR}"
dependencies = ["click"]
bytecode = true
command = ["python", "tell.py", "{{output.brought}}"]
code = ["tell.py"]
outputs = {{ brought = "brought.json" }}
"""
# Debian's sitecustomize is a link to what an administrator may edit.
TELL = """
import json, sys, argparse, click
modules = [module for module in sys.modules.values() if getattr(module, "__cached__", None)]
told = {
    "version": sys.version.split()[0],
    "from source": sorted(
        module.__name__ for module in modules
        if module.__name__ not in ("__main__", "sitecustomize") and not __import__("os").path.exists(module.__cached__)
    ),
    "compiled": [argparse.__cached__, click.__cached__],
}
json.dump(told, open(sys.argv[1], "w"))
"""


@dataclass(frozen=True, slots=True)
class World:
    """A project that is locked and built, in a store of which others build, too."""

    project: Path
    store: Store
    variables: dict[str, str]

    @property
    def lock(self) -> Lock:
        return parse_lock((self.project / "repro.lock").read_text())

    def repro(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "repro_env", *words],
            cwd=self.project,
            env={**os.environ, **self.variables},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, shared_store: Store) -> Iterator[World]:
    root = tmp_path_factory.mktemp("compiled")
    (root / "project").mkdir()
    (root / "project" / "repro.toml").write_text(PROJECT)
    (root / "project" / "tell.py").write_text(TELL)
    build = release(running_python())
    build.publish(root / "web" / "mirror")
    (root / "web" / "list.json").write_text(build.listed())
    with serve(root / "web") as server:
        variables = {
            "REPRO_STORE": str(shared_store.root),
            "REPRO_PYTHON_MIRROR": f"{server.url}/mirror",
            "UV_PYTHON_DOWNLOADS_JSON_URL": f"{server.url}/list.json",
        }
        found = World(root / "project", shared_store, variables)
        found.repro("lock")
        found.repro("build")
        yield found


@pytest.mark.parametrize("step", ["own", "brought"])
def test_every_module_is_there_compiled(world: World, step: str) -> None:
    world.repro("exec", "--runtime", "bwrap", step)
    told = json.loads((world.project / f"{step}.json").read_text())
    assert told["version"] == world.lock.steps[step].environments[AMD64].interpreter
    assert told["from source"] == []
    tag = "cpython-" + told["version"].rpartition(".")[0].replace(".", "")
    library = "/usr" if step == "own" else "/opt/python"
    minor = told["version"].rpartition(".")[0]
    assert told["compiled"] == [
        f"{library}/lib/python{minor}/__pycache__/argparse.{tag}.pyc",
        f"/opt/env/lib/python{minor}/site-packages/click/__pycache__/__init__.{tag}.pyc",
    ]


def rebuilt(world: World, tmp_path: Path, step: str, workers: int) -> Image:
    """Return a step's environment image, compiled anew in a store that has only the others' blobs."""
    (tmp_path / "blobs").symlink_to(world.store.root / "blobs")
    lock = world.lock
    return Assembler(Store(tmp_path), workers, Silent()).image(lock, lock.steps[step], AMD64)


@pytest.mark.parametrize("workers", [1, 3])
def test_it_is_the_same_again_with_other_workers(world: World, tmp_path: Path, workers: int) -> None:
    first = world.lock.steps["own"].environments[AMD64]
    world.repro("build")
    image = rebuilt(world, tmp_path, "own", workers)
    assert world.lock.steps["own"].environments[AMD64] == first
    assert {layer.comment.partition(" of ")[0] for layer in image.layers} >= {"byte code"}
    assert [layer.digest for layer in image.layers] == [layer.digest for layer in recorded(world, "own").layers]


def recorded(world: World, step: str) -> Image:
    digest = world.lock.steps[step].environments[AMD64].image
    assert digest is not None
    return read_image(world.store, digest)


def test_an_equal_interpreter_outside_a_sandbox_gives_the_same_bytes(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requires: Callable[..., None]
) -> None:
    requires("python3")
    version = world.lock.steps["own"].environments[AMD64].interpreter
    if compiling._installed(version) is None and platform.python_version() != version:
        pytest.skip(f"no Python {version} is installed on this machine")
    monkeypatch.setattr(compiling, "find_bwrap", lambda: None)
    image = rebuilt(world, tmp_path, "own", 2)
    assert [layer.digest for layer in image.layers] == [layer.digest for layer in recorded(world, "own").layers]
