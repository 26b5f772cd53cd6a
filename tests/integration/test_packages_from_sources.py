"""Packages that are built, end to end: people's own and ones from the index, in the images of real steps."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from repro_env.build.images import Order
from repro_env.build.twice import downloaded, share
from repro_env.cli.project import LOCK_FILE
from repro_env.image.store import Store
from repro_env.lock.model import Lock
from repro_env.lock.parse import parse_lock
from repro_env.values import Platform

pytestmark = [pytest.mark.network, pytest.mark.bwrap]

AMD64 = Platform("amd64")
HEAD = """\
[project]
name = "sources"

[base.slim]
debian = "bookworm"

[base.compiler]
debian = "bookworm"
packages = ["gcc", "libc6-dev", "python3-dev"]
"""
FROM_INDEX = """
[step.pure]
base = "slim"
python = "3.11"
dependencies = ["docopt==0.6.2"]
build = ["docopt"]
command = ["python", "-c", "import docopt; print(docopt.__version__)"]
code = []

[step.extension]
base = "compiler"
python = "3.11"
dependencies = ["MarkupSafe==2.1.5"]
build = ["markupsafe"]
command = ["python", "-c", "import markupsafe._speedups as s; print(s.__file__)"]
code = []
"""
OWN = """
[step.own]
base = "slim"
python = "3.11"
dependencies = ["churn @ ."]
command = ["churn"]
code = []
"""
PYPROJECT = """\
[build-system]
requires = ["setuptools==75.8.0"]
build-backend = "setuptools.build_meta"

[project]
name = "churn"
version = "0.3"
dependencies = ["tools"]
scripts = { churn = "churn:main" }

[tool.setuptools]
package-dir = { "" = "src" }

[tool.uv.sources]
tools = { path = "libs/tools", editable = true }
"""
TOOLS = """\
[build-system]
requires = ["hatchling==1.27.0"]
build-backend = "hatchling.build"

[project]
name = "tools"
version = "1.2"
dependencies = ["six==1.17.0"]
"""


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    write(root, "repro.toml", HEAD + FROM_INDEX)
    return root


def run(project: Path, store: Store, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "repro_env", *words],
        cwd=project,
        env={**os.environ, "REPRO_STORE": str(store.root), **variables},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def repro(project: Path, store: Store, *words: str, **variables: str) -> str:
    done = run(project, store, *words, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def images(project: Path, store: Store, *words: str, **variables: str) -> dict[str, str]:
    built: list[dict[str, Any]] = json.loads(repro(project, store, "build", "--json", *words, **variables))["images"]
    return {one["step"]: one["image"] for one in built}


def lock_of(project: Path) -> Lock:
    return parse_lock((project / LOCK_FILE).read_text())


def fresh_store(project: Path, store: Store, path: Path) -> Store:
    """Return a store with what was downloaded and nothing that was made."""
    lock = lock_of(project)
    other = Store(path)
    order = Order(lock=lock, steps=tuple(lock.steps), platforms=(AMD64,), root=project, workers=1)
    share(store, other, downloaded(order))
    return other


def test_source_distributions_become_the_same_wheels_everywhere(
    project: Path, shared_store: Store, tmp_path: Path
) -> None:
    repro(project, shared_store, "lock")
    assert all(source.wheel is None for source in lock_of(project).steps["pure"].environments[AMD64].sources)
    first = images(project, shared_store)
    recorded = (project / LOCK_FILE).read_bytes()
    (pure,) = lock_of(project).steps["pure"].environments[AMD64].sources
    assert pure.wheel is not None
    assert pure.wheel.file == "docopt-0.6.2-py2.py3-none-any.whl"
    assert repro(project, shared_store, "exec", "pure", "--runtime", "bwrap") == "0.6.2\n"
    path = repro(project, shared_store, "exec", "extension", "--runtime", "bwrap")
    assert path.strip().endswith("markupsafe/_speedups.cpython-311-x86_64-linux-gnu.so")
    elsewhere = tmp_path / "else" / "where"
    shutil.copytree(project, elsewhere)
    other = fresh_store(project, shared_store, tmp_path / "other")
    assert images(elsewhere, other, "--workers", "1", TZ="Asia/Tokyo", PYTHONHASHSEED="7") == first
    assert (elsewhere / LOCK_FILE).read_bytes() == recorded
    assert repro(project, shared_store, "lock").startswith("repro.lock is up to date")
    assert (project / LOCK_FILE).read_bytes() == recorded


def test_a_build_that_gives_other_bytes_says_where(project: Path, shared_store: Store, tmp_path: Path) -> None:
    repro(project, shared_store, "lock")
    images(project, shared_store, "pure")
    text = (project / LOCK_FILE).read_text()
    (pure,) = lock_of(project).steps["pure"].environments[AMD64].sources
    assert pure.wheel is not None
    content = dict(pure.wheel.contents)["docopt.py"]
    changed = text.replace(pure.wheel.sha256.hex, "0" * 64).replace(content.hex, "1" * 64)
    (project / LOCK_FILE).write_text(changed)
    other = fresh_store(project, shared_store, tmp_path / "other")
    done = run(project, other, "build", "pure")
    assert done.returncode == 8
    assert "error: docopt 0.6.2 came out different" in done.stderr
    assert "docopt.py has other content" in done.stderr
    repro(project, other, "build", "pure", "--update")
    assert lock_of(project).steps["pure"].environments[AMD64].sources == (pure,)


def test_a_build_without_its_compiler_says_what_to_add(project: Path, shared_store: Store) -> None:
    write(
        project,
        "repro.toml",
        HEAD
        + FROM_INDEX.replace('"MarkupSafe==2.1.5"', '"ujson==5.10.0"')
        .replace('build = ["markupsafe"]', 'build = ["ujson"]')
        .replace('base = "compiler"', 'base = "slim"'),
    )
    repro(project, shared_store, "lock")
    done = run(project, shared_store, "build", "extension")
    assert done.returncode == 8
    assert "error: cannot build ujson 5.10.0" in done.stderr
    assert 'packages = ["gcc", "libc6-dev", "python3-dev"]' in done.stderr


def test_own_packages_in_an_image(tmp_path: Path, shared_store: Store) -> None:
    root = tmp_path / "own"
    write(root, "repro.toml", HEAD + OWN)
    write(root, "pyproject.toml", PYPROJECT)
    write(root, "src/churn/__init__.py", "import six, tools\n\ndef main():\n    print(tools.VALUE, six.__version__)\n")
    write(root, "libs/tools/pyproject.toml", TOOLS)
    write(root, "libs/tools/tools/__init__.py", "VALUE = 1\n")
    repro(root, shared_store, "lock")
    environment = lock_of(root).steps["own"].environments[AMD64]
    assert [(one.name, one.path, one.version) for one in environment.local] == [
        ("churn", ".", "0.3"),
        ("tools", "libs/tools", "1.2"),
    ]
    first = images(root, shared_store)
    recorded = (root / LOCK_FILE).read_bytes()
    assert repro(root, shared_store, "exec", "own", "--runtime", "bwrap") == "1 1.17.0\n"
    write(root, "libs/tools/tools/__init__.py", "VALUE = 2\n")
    second = images(root, shared_store)
    assert second != first
    assert repro(root, shared_store, "exec", "own", "--runtime", "bwrap") == "2 1.17.0\n"
    assert (root / LOCK_FILE).read_bytes() == recorded
    write(root, "libs/tools/tools/__init__.py", "VALUE = 1\n")
    other = fresh_store(root, shared_store, tmp_path / "other")
    assert images(root, other, TZ="Asia/Tokyo") == first
    write(root, "libs/tools/pyproject.toml", re.sub(r"1\.17\.0", "1.16.0", TOOLS))
    assert run(root, shared_store, "lock", "--check").returncode == 4
    assert "six 1.17.0 -> 1.16.0" in repro(root, shared_store, "lock")
