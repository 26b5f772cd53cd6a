"""Packages of people's own: what of their files decides what, and how they are found."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import locks
import pytest

from repro_env.build.local import LocalBuilds, package_sources
from repro_env.cli.project import open_workspace
from repro_env.edges.http_client import HttpClient
from repro_env.edges.report import Silent
from repro_env.errors import BuildError, StoreError
from repro_env.image.store import Store
from repro_env.lock.diff import diff, diff_lines
from repro_env.lock.drift import stale_local
from repro_env.lock.local import build_requires, declared, local_paths, metadata_digest
from repro_env.lock.model import Environment, LocalPackage, Lock
from repro_env.lock.sources import PythonInputs
from repro_env.resolve.python.local import find_local
from repro_env.resolve.python.pylock import Directory
from repro_env.resolve.python.request import StepRequest
from repro_env.resolve.python.resolver import Resolver
from repro_env.values import Digest, PythonVersion

# A backend inside the package, of the standard library alone: a build that needs no index.
BACKEND = """\
import os, pathlib, zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "own-1.0.dist-info"
    files = {f"own/{path.name}": path.read_bytes() for path in sorted(pathlib.Path("own").glob("*.py"))}
    files["own/epoch.txt"] = os.environ["SOURCE_DATE_EPOCH"].encode()
    files[f"{name}/METADATA"] = b"Metadata-Version: 2.1\\nName: own\\nVersion: 1.0\\n"
    files[f"{name}/WHEEL"] = b"Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    files[f"{name}/RECORD"] = b""
    with zipfile.ZipFile(pathlib.Path(wheel_directory, WHEEL), "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return WHEEL

WHEEL = "own-1.0-py3-none-any.whl"
"""
PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "own"
version = "1.0"
dependencies = ["six"]
"""


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    write(root, {"own/__init__.py": "", "own/a.py": "x = 1\n", "backend.py": BACKEND, "pyproject.toml": PYPROJECT})
    return root


def package(path: str = ".", **other: Any) -> LocalPackage:
    return LocalPackage(name="own", path=path, metadata=locks.digest("metadata"), **other)


def lock_with(*local: LocalPackage) -> Lock:
    """Return a lock whose step `clean` has these packages."""
    lock = locks.churn()
    clean = lock.steps["clean"]
    environment = replace(clean.environments[locks.AMD64], local=tuple(sorted(local)))
    steps = {**lock.steps, "clean": replace(clean, environments={locks.AMD64: environment})}
    return replace(lock, steps=steps)


def environment(*local: LocalPackage) -> Environment:
    return Environment(interpreter="3.11.2", wheels=(), local=local)


class TestMetadata:
    """What makes a lock stale, and what only makes another image."""

    def digest(self, **files: str) -> Digest | None:
        named = {name.replace("_", "."): text for name, text in files.items()}
        return metadata_digest(named.get)

    @pytest.mark.parametrize(
        "other",
        [
            PYPROJECT.replace('"six"', '"six", "numpy"'),
            PYPROJECT.replace('version = "1.0"', 'version = "1.1"'),
            PYPROJECT.replace("requires = []", 'requires = ["setuptools"]'),
            PYPROJECT + '[project.optional-dependencies]\nall = ["x"]\n',
            PYPROJECT + '[tool.uv.sources]\nsix = { path = "../six" }\n',
        ],
    )
    def test_changes_with_what_decides_its_dependencies(self, other: str) -> None:
        assert self.digest(pyproject_toml=PYPROJECT) != self.digest(pyproject_toml=other)

    @pytest.mark.parametrize(
        "other",
        [
            PYPROJECT.replace('name = "own"', 'name = "own"\ndescription = "mine"\nauthors = [{ name = "Ann" }]'),
            PYPROJECT + "[tool.ruff]\nline-length = 99\n",
            PYPROJECT.replace("version =", "version  ="),
        ],
    )
    def test_prose_comments_and_other_tools_are_nothing(self, other: str) -> None:
        assert self.digest(pyproject_toml=PYPROJECT) == self.digest(pyproject_toml=other)

    def test_a_setup_py_counts_as_a_whole(self) -> None:
        assert self.digest(setup_py="a") != self.digest(setup_py="b") != self.digest(setup_py="b", setup_cfg="c")

    def test_files_that_setuptools_reads_dependencies_from_count(self) -> None:
        text = '[tool.setuptools.dynamic]\ndependencies = { file = ["req.txt"] }\n'
        one, other = ({"pyproject.toml": text, "req.txt": line} for line in ("six", "numpy"))
        assert metadata_digest(one.get) != metadata_digest(other.get)

    @pytest.mark.parametrize(
        "text",
        [
            "[tool.setuptools.dynamic]\noptional-dependencies = []\n",
            "[tool.setuptools.dynamic]\ndependencies = { file = 5 }\n",
            "[tool.setuptools]\ndynamic = 1\n",
            "[project]\ndependencies = 5\noptional-dependencies = { a = 1 }\n",
        ],
    )
    def test_what_a_backend_would_refuse_is_no_fault_of_ours(self, text: str, tmp_path: Path) -> None:
        assert self.digest(pyproject_toml=text) is not None
        write(tmp_path / "own", {"pyproject.toml": f'{text}\n[tool.uv.workspace]\nmembers = ["/x", "", 1]\n'})
        uv = {"pyproject.toml": {"sources": {"other": {"workspace": True}}}}
        assert find_local(PythonInputs(dependencies=("own @ ./own", "other"), uv=uv), tmp_path).keys() == {"own"}

    def test_locking_and_checking_read_alike(self, tmp_path: Path, store: Store) -> None:
        """Line ends, and what is no UTF-8, in a file that is somebody else's."""
        step = '[step.s]\nbase = "b"\npython = "3.11"\ncommand = ["true"]\n'
        (tmp_path / "repro.toml").write_text(f'[project]\nname = "p"\n[base.b]\ndebian = "bookworm"\n{step}')
        (tmp_path / "own").mkdir()
        (tmp_path / "own" / "setup.py").write_bytes(b"# -*- coding: latin-1 -*-\r\nname = '\xe9'\r\n")
        (tmp_path / "own" / "pyproject.toml").write_text("[build-system]\nrequires = []\n")
        resolver = Resolver(project=tmp_path, store=store, http=HttpClient(), report=Silent())
        found = Directory(name="own", path=tmp_path / "own")
        request = StepRequest(
            step="clean", python=PythonVersion(11), platform=locks.AMD64, glibc="2.36", inputs=PythonInputs()
        )
        locked = lock_with(resolver._local(found, request))
        assert stale_local(locked, open_workspace(tmp_path).local_digests(locked)) == frozenset()

    def test_no_package_has_none(self) -> None:
        nothing: dict[str, str] = {}
        assert metadata_digest(nothing.get) is None
        assert metadata_digest({"pyproject.toml": "not = [toml"}.get) is not None

    def test_it_makes_the_lock_stale(self) -> None:
        lock = lock_with(package("libs/own"))
        assert local_paths(lock) == ("libs/own",)
        fresh: dict[str, Digest | None] = {"libs/own": locks.digest("metadata")}
        assert stale_local(lock, fresh) == frozenset()
        assert stale_local(lock, {"libs/own": None}) == stale_local(lock, {}) == {"libs/own"}

    def test_the_difference_is_told_in_words(self) -> None:
        before = lock_with(package("libs/own", version="1.0"))
        after = lock_with(package("libs/own", version="1.1"))
        assert diff_lines(diff(before, after)) == ("step clean", "  own 1.0 at libs/own -> 1.1 at libs/own")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ("setuptools>=40.8.0", "wheel")),
        ('[build-system]\nrequires = ["hatchling"]\n', ("hatchling",)),
        ('[build-system]\nrequires = ["setuptools >= 61", "wheel"]\n', ("setuptools >= 61", "wheel")),
        ('[build-system]\nrequires = ["Scikit_Build_Core", "ninja"]', ("Scikit_Build_Core", "ninja", "cmake>=3.15")),
        ("[build-system]\nrequires = []\n", ()),
        ("not toml", ("setuptools>=40.8.0", "wheel")),
    ],
)
def test_what_a_build_asks_for(text: str, found: tuple[str, ...]) -> None:
    assert build_requires(text) == found


def test_what_is_declared() -> None:
    assert declared(PYPROJECT, "name") == "own"
    assert declared('[tool.poetry]\nversion = "2"\n', "version") == "2"
    assert declared('[project]\nname = "x"\ndynamic = ["version"]\n', "version") == ""


class TestFinding:
    """Where a step's requirements lead to directories."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        for name in ("one", "two", "three"):
            write(tmp_path / "libs" / name, {"pyproject.toml": f'[project]\nname = "{name.upper()}"\n'})
        return tmp_path

    def test_names_with_a_place(self, place: Path) -> None:
        inputs = PythonInputs(dependencies=("one @ ./libs/one", f"two[x] @ file://{place}/libs/two ; extra", "six"))
        assert find_local(inputs, place) == {"one": place / "libs/one", "two": place / "libs/two"}

    def test_lines_of_requirements_files(self, place: Path) -> None:
        text = "-e ./libs/one\n./libs/two[all] ; python_version > '3'\n--editable=libs/none\nnumpy\nfile:libs/three\n"
        found = find_local(PythonInputs(roots=("r.txt",), files={"r.txt": text}), place)
        assert sorted(found) == ["one", "three", "two"]

    def test_sources_of_uv_and_what_they_ask_for_in_turn(self, place: Path) -> None:
        text = '[project]\nname = "one"\ndependencies = ["two"]\n[tool.uv.sources]\ntwo = { path = "../two" }\n'
        write(place, {"libs/one/pyproject.toml": text})
        uv = {"pyproject.toml": {"sources": {"One": {"path": "libs/one", "editable": True}, "unused": {"path": "x"}}}}
        found = find_local(PythonInputs(dependencies=("one>=1",), uv=uv), place)
        assert found == {"one": place / "libs/one", "two": place / "libs/two"}

    def test_members_of_a_workspace(self, place: Path) -> None:
        write(place, {"pyproject.toml": '[tool.uv.workspace]\nmembers = ["libs/*"]\n'})
        uv = {"pyproject.toml": {"sources": {"three": {"workspace": True}}}}
        (place / "pipe").mkdir()
        assert find_local(PythonInputs(group=("three",), uv=uv), place / "pipe") == {"three": place / "libs/three"}

    def test_what_is_no_package_is_left_out(self, place: Path) -> None:
        inputs = PythonInputs(
            dependencies=("a @ ./nowhere", "b @ https://h/b-1.whl", "c @ ./libs", "d @ file://[", "e @ file:%00")
        )
        assert find_local(inputs, place) == {}


class TestSources:
    """What a package is built from."""

    def test_content_paths_and_modes_count_and_times_do_not(self, project: Path) -> None:
        first = package_sources(project, []).digest
        (project / "own" / "a.py").touch()
        assert package_sources(project, []).digest == first
        (project / "own" / "a.py").chmod(0o755)
        second = package_sources(project, []).digest
        (project / "own" / "a.py").rename(project / "own" / "b.py")
        assert len({first, second, package_sources(project, []).digest}) == 3

    def test_what_builds_leave_is_no_source(self, project: Path) -> None:
        first = package_sources(project, [])
        leftovers = {"build/lib/own/a.py": "", "dist/own.whl": "", "own.egg-info/PKG-INFO": "", ".venv/x.py": ""}
        write(project, {**leftovers, "own/__pycache__/a.pyc": "", "repro.lock": "", ".repro/x": "", "out/t.csv": ""})
        assert package_sources(project, [project / "out"]) == first

    def test_a_package_below_another_is_no_part_of_it(self, project: Path, store: Store) -> None:
        write(project, {"libs/other/pyproject.toml": "", "libs/other/b.py": ""})
        other = LocalPackage(name="other", path="libs/other", metadata=locks.digest("other"))
        builds = LocalBuilds(lock_with(package(), other), project, store, Silent())
        names = {one.name: [file.path for file in builds.sources(one).code.files] for one in (package(), other)}
        assert names["other"] == ["b.py", "pyproject.toml"]
        assert not any(name.startswith("libs") for name in names["own"])

    def test_a_directory_that_git_ignores_as_a_whole_has_sources(self, project: Path) -> None:
        subprocess.run(["git", "init", "-q"], cwd=project.parent, check=True)
        write(project.parent, {".gitignore": "project/\n"})
        assert "own/a.py" in [file.path for file in package_sources(project, []).code.files]

    def test_git_is_asked_what_is_ignored(self, project: Path) -> None:
        write(project, {".gitignore": "*.log\n", "own/new.py": "", "a.log": "", ".env": "SECRET=1"})
        subprocess.run(["git", "init", "-q"], cwd=project, check=True)
        sources = package_sources(project, [])
        names = [file.path for file in sources.code.files]
        assert names == [".gitignore", "backend.py", "own/__init__.py", "own/a.py", "own/new.py", "pyproject.toml"]
        assert [secret.path for secret in sources.code.secrets] == [".env"]


class TestBuilding:
    """From sources to a wheel, by the real uv, with no index."""

    @pytest.fixture
    def builds(self, project: Path, store: Store) -> Callable[[], LocalBuilds]:
        return lambda: LocalBuilds(locks.churn(), project, store, Silent())

    def test_the_same_sources_give_the_same_wheel_and_are_built_once(
        self, builds: Callable[[], LocalBuilds], project: Path, store: Store, tmp_path: Path
    ) -> None:
        (wheel,) = builds().wheels(environment(package()), PythonVersion(11))
        assert (wheel.name, wheel.version, wheel.file) == ("own", "1.0", "own-1.0-py3-none-any.whl")
        assert store.has(wheel.sha256, wheel.size)
        assert sorted(path.name for path in project.iterdir()) == ["backend.py", "own", "pyproject.toml"]
        remembered = list((store.root / "derived" / "local-wheels").iterdir())
        assert builds().wheels(environment(package()), PythonVersion(11)) == (wheel,)
        assert list((store.root / "derived" / "local-wheels").iterdir()) == remembered
        elsewhere = LocalBuilds(locks.churn(), project, Store(tmp_path / "other"), Silent())
        assert elsewhere.wheels(environment(package()), PythonVersion(11)) == (wheel,)

    def test_an_edit_gives_another(self, builds: Callable[[], LocalBuilds], project: Path) -> None:
        (first,) = builds().wheels(environment(package()), PythonVersion(11))
        (project / "own" / "a.py").write_text("x = 2\n")
        (second,) = builds().wheels(environment(package()), PythonVersion(11))
        assert first.sha256 != second.sha256

    def test_the_build_knows_nothing_of_this_machine(
        self, builds: Callable[[], LocalBuilds], project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MY_TOKEN", "s3cret")
        text = BACKEND.replace('"own/epoch.txt"] =', '"own/env.txt"] = repr(sorted(os.environ)).encode() #')
        (project / "backend.py").write_text(text)
        (wheel,) = builds().wheels(environment(package()), PythonVersion(11))
        content = builds()._store.blob(wheel.sha256).read_bytes()
        assert b"SOURCE_DATE_EPOCH" in content
        assert b"MY_TOKEN" not in content

    def test_a_failure_is_told_with_what_the_build_said(self, builds: Callable[[], LocalBuilds], project: Path) -> None:
        (project / "backend.py").write_text("def build_wheel(*_, **__):\n    raise SystemExit('no such luck')\n")
        with pytest.raises(BuildError, match=r"cannot build the package own, at \.") as caught:
            builds().wheels(environment(package()), PythonVersion(11))
        assert "no such luck" in caught.value.why
        assert "/repro-build-" not in str(caught.value)

    def test_a_wheel_for_one_machine_is_refused(self, builds: Callable[[], LocalBuilds], project: Path) -> None:
        text = BACKEND.replace("py3-none-any.whl", "cp311-cp311-linux_x86_64.whl")
        (project / "backend.py").write_text(text)
        with pytest.raises(BuildError, match="own is not pure Python") as caught:
            builds().wheels(environment(package()), PythonVersion(11))
        assert 'build = ["own"]' in caught.value.hint

    def test_what_the_lock_does_not_pin_cannot_be_had(self, builds: Callable[[], LocalBuilds], project: Path) -> None:
        (project / "pyproject.toml").write_text(PYPROJECT.replace("requires = []", 'requires = ["six"]'))
        with pytest.raises(BuildError, match="cannot build") as caught:
            builds().wheels(environment(package()), PythonVersion(11))
        assert "run `repro lock`" in caught.value.hint

    def test_another_platform_takes_what_this_machine_can_run(
        self, builds: Callable[[], LocalBuilds], store: Store
    ) -> None:
        foreign = package(requires=(locks.wheel("builder", "1.0", content="for another machine"),))
        with pytest.raises(StoreError, match=r"the store has no builder-1\.0"):
            builds().wheels(environment(foreign), PythonVersion(11))
        (wheel,) = builds().wheels(environment(foreign), PythonVersion(11), environment(package()))
        assert store.has(wheel.sha256, wheel.size)

    def test_secrets_are_left_out_and_named(self, project: Path, store: Store, recorded: Any) -> None:
        write(project, {"own/.env": "TOKEN=1"})
        LocalBuilds(locks.churn(), project, store, recorded).wheels(environment(package()), PythonVersion(11))
        assert recorded.warnings == ["left out of the package own, because it looks like a secret: own/.env"]

    def test_a_package_that_is_gone(self, builds: Callable[[], LocalBuilds]) -> None:
        with pytest.raises(BuildError, match="the package own is gone"):
            builds().wheels(environment(package("libs/own")), PythonVersion(11))

    def test_a_damaged_memory_is_made_anew(self, builds: Callable[[], LocalBuilds], store: Store) -> None:
        (wheel,) = builds().wheels(environment(package()), PythonVersion(11))
        (memory,) = (store.root / "derived" / "local-wheels").iterdir()
        memory.write_text(json.dumps({"file": 1}))
        store.blob(wheel.sha256).unlink()
        assert builds().wheels(environment(package()), PythonVersion(11)) == (wheel,)
        assert store.has(wheel.sha256, wheel.size)
