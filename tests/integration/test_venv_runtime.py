"""The runtime without an image, with real wheels that uv installs."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from wheelmaker import WheelRecipe, make_wheel

from repro_env.edges.report import Silent
from repro_env.errors import IntegrityError, RuntimeUnavailableError, StoreError
from repro_env.image.store import Store
from repro_env.lock.model import Environment, Wheel
from repro_env.run.plan import Input, RunPlan, User, plan_run
from repro_env.run.runtimes.venv import Venv, find_interpreter
from repro_env.values import Digest, PythonVersion

PYTHON = PythonVersion(sys.version_info.minor)


def put(store: Store, recipe: WheelRecipe, directory: Path) -> Wheel:
    path = make_wheel(directory, recipe)
    data = path.read_bytes()
    return Wheel(
        name=recipe.name, version=recipe.version, file=path.name, url="", sha256=store.add(data), size=len(data)
    )


@pytest.fixture
def greeting(store: Store, tmp_path: Path) -> Wheel:
    recipe = WheelRecipe(
        name="greeting",
        files={"greeting.py": b"def main() -> None:\n    print('hello from a wheel')\n"},
        requires=("never-published-anywhere",),
        extra_info={"entry_points.txt": b"[console_scripts]\ngreet = greeting:main\n"},
    )
    return put(store, recipe, tmp_path)


def plan(root: Path, *command: str, wheels: tuple[Wheel, ...] = (), inputs: tuple[Input, ...] = ()) -> RunPlan:
    (root / "code").mkdir()
    (root / "run").mkdir()
    runtime = Venv(Store(root / "store"), Silent())
    step = replace(tiny.tiny_step(*command, outputs={"model": "build/model"}), python=PYTHON)
    found = plan_run(
        step,
        Environment(interpreter="3.11.0", wheels=wheels),
        run="r1",
        project="tiny",
        image=None,
        image_environment={},
        inputs=inputs,
        code=root / "code",
        output=root / "run" / "output",
        user=User(uid=os.getuid(), gid=os.getgid()),
        roots=runtime.roots(code=root / "code", run=root / "run"),
    )
    (found.output / "build").mkdir(parents=True)
    return found


def test_a_step_runs_with_its_locked_packages_and_scripts(store: Store, tmp_path: Path, greeting: Wheel) -> None:
    (tmp_path / "raw.csv").write_text("a,b\n")
    script = "import greeting, sys, os; greeting.main(); print(open(sys.argv[1]).read(), os.getcwd())"
    script += "; open(sys.argv[2], 'w')"
    given = plan(
        tmp_path,
        "python",
        "-c",
        script,
        "{data.raw}",
        "{output.model}",
        wheels=(greeting,),
        inputs=(Input(name="raw", declared="data/raw.csv", source=tmp_path / "raw.csv"),),
    )
    log = tmp_path / "log"
    assert Venv(store, Silent()).run(given, log=log).status == 0
    assert log.read_text() == f"hello from a wheel\na,b\n {tmp_path}/code\n"
    assert (given.output / "build/model").exists()
    assert sorted(os.listdir(tmp_path / "run")) == ["output"], "no link and no home is left behind"
    assert Venv(store, Silent()).run(replace(given, argv=("greet",)), log=log).status == 0
    assert log.read_text() == "hello from a wheel\n"


def test_the_environment_is_made_once(store: Store, tmp_path: Path, greeting: Wheel) -> None:
    first = Venv(store, Silent()).environment([greeting], PYTHON)
    os.unlink(store.blob(greeting.sha256))
    assert Venv(store, Silent()).environment([greeting], PYTHON) == first
    assert list(store.temporary.iterdir()) == []


def test_a_missing_wheel_is_named(store: Store, greeting: Wheel) -> None:
    os.unlink(store.blob(greeting.sha256))
    with pytest.raises(StoreError, match=r"the store has no greeting-1\.0"):
        Venv(store, Silent()).environment([greeting], PYTHON)
    assert list(store.temporary.iterdir()) == []


def test_a_wheel_with_other_bytes_is_refused(store: Store, greeting: Wheel) -> None:
    wrong = replace(greeting, sha256=Digest.of(b"other"))
    os.rename(store.blob(greeting.sha256), store.blob(wrong.sha256))
    with pytest.raises(IntegrityError, match=r"the store's copy of greeting-.* is damaged"):
        Venv(store, Silent()).environment([wrong], PYTHON)
    assert not store.has(wrong.sha256)
    assert not (store.root / "venvs").exists() or not list((store.root / "venvs").iterdir())


def test_an_interpreter_that_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(RuntimeUnavailableError) as caught:
        find_interpreter(PythonVersion(99))
    assert caught.value.what == "venv needs Python 3.99, which this machine does not have"
    assert " ".join(caught.value.why.split()).startswith("No interpreter found for CPython 3.99 in ")
    assert "uv python install 3.99" in caught.value.hint


def test_what_is_not_isolated_is_said_plainly(store: Store, tmp_path: Path) -> None:
    sentences = Venv(store, Silent()).not_isolated(plan(tmp_path, "true"))
    assert sentences[0] == "The network of this machine is open, although the step does not ask for it."
    assert any("not base slim's" in sentence for sentence in sentences)
    assert any("the locked 3.11.0" in sentence for sentence in sentences)
    assert all(sentence.endswith(".") for sentence in sentences)
