"""A project's own package in a step's environment, from an edit to the next run, without a network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from projects import PYTHON, OnDisk

from repro_env.lock.dump import dump_lock
from repro_env.lock.local import metadata_digest
from repro_env.lock.model import LocalPackage

# A backend inside the package, of the standard library alone: its build asks no index for anything.
BACKEND = """\
import pathlib, zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    info = "churn_tools-2.0.dist-info"
    files = {str(path): path.read_bytes() for path in sorted(pathlib.Path("churn_tools").glob("*.py"))}
    files[f"{info}/METADATA"] = b"Metadata-Version: 2.1\\nName: churn-tools\\nVersion: 2.0\\n"
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    files[f"{info}/entry_points.txt"] = b"[console_scripts]\\nchurn = churn_tools:main\\n"
    files[f"{info}/RECORD"] = b""
    name = "churn_tools-2.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, name), "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return name
"""
PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "churn-tools"
version = "2.0"
"""
TOML = f"""\
[project]
name = "churn"

[base.slim]
debian = "bookworm"

[step.say]
base = "slim"
python = "{PYTHON}"
dependencies = ["churn-tools @ ."]
command = ["churn"]
code = ["unrelated.txt"]
"""


@pytest.fixture
def project(tmp_path: Path) -> OnDisk:
    project = OnDisk(tmp_path / "churn")
    project.write("repro.toml", TOML)
    project.write("unrelated.txt", "")
    project.write("pyproject.toml", PYPROJECT)
    project.write("backend.py", BACKEND)
    project.write("churn_tools/__init__.py", "def main():\n    print('first')\n")
    lock = project.lock()
    metadata = metadata_digest({"pyproject.toml": PYPROJECT}.get)
    assert metadata is not None
    say = lock.steps["say"]
    (platform,) = say.environments
    local = (LocalPackage(name="churn-tools", path=".", metadata=metadata, version="2.0"),)
    environment = replace(say.environments[platform], local=local)
    steps = {"say": replace(say, environments={platform: environment})}
    project.write("repro.lock", dump_lock(replace(lock, steps=steps)))
    return project


def test_a_package_of_which_a_backend_takes_nothing_is_told_of(project: OnDisk) -> None:
    (project.root / "churn_tools/__init__.py").unlink()
    assert "warning: the package churn-tools holds nothing to import" in project.repro("build").stderr


def status(project: OnDisk) -> tuple[str, str]:
    document = json.loads(project.repro("status", "--json").stdout)
    return document["lock"], document["steps"][0]["why"]


def test_an_edit_changes_the_next_run_and_not_the_lock(project: OnDisk) -> None:
    lock = (project.root / "repro.lock").read_bytes()
    first = project.repro("exec", "--runtime", "venv", "say")
    assert (first.status, first.stdout) == (0, "first\n")
    assert status(project) == ("fresh", "")
    project.write("churn_tools/__init__.py", "def main():\n    print('second')\n")
    assert status(project) == ("fresh", "code or lock changed")
    second = project.repro("exec", "--runtime", "venv", "say")
    assert (second.status, second.stdout) == (0, "second\n")
    assert status(project) == ("fresh", "")
    assert (project.root / "repro.lock").read_bytes() == lock


def test_a_change_of_its_metadata_makes_the_lock_stale(project: OnDisk) -> None:
    assert project.repro("lock", "--check").status == 0
    project.write("pyproject.toml", PYPROJECT.replace('version = "2.0"', 'version = "2.0"\ndescription = "prose"'))
    assert project.repro("lock", "--check").status == 0
    project.write("pyproject.toml", PYPROJECT + 'dependencies = ["six"]\n')
    answer = project.repro("lock", "--check")
    assert answer.status == 4
    assert "step say: the metadata of churn-tools, at ., changed" in answer.stderr


def test_a_build_that_fails_says_what_it_said(project: OnDisk) -> None:
    project.write("backend.py", "def build_wheel(*_, **__):\n    raise SystemExit('the sky fell')\n")
    answer = project.repro("exec", "--runtime", "venv", "say")
    assert answer.status == 121
    assert "error: cannot build the package churn-tools, at ." in answer.stderr
    assert "the sky fell" in answer.stderr
    assert "Traceback (most recent call last)" not in answer.stderr.partition("error:")[0]
