"""When a lock is not what its project asks for, and in which words that is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import locks
import pytest

from repro_env.config.model import Project
from repro_env.config.read import read_project
from repro_env.lock.drift import Drift, drift, locked_step, stale_requests
from repro_env.lock.dump import dump_lock
from repro_env.lock.model import Environment, Lock, LockedBase, LockedData
from repro_env.lock.parse import parse_lock
from repro_env.lock.request import request_digests, request_files
from repro_env.values import Digest

PROJECT = """\
[project]
name = "churn"

[base.slim]
debian = "bookworm"
packages = ["libgomp1"]

[data.raw]
path = "data/raw"

[step.clean]
base = "slim"
python = "3.11"
dependencies = ["numpy<2"]
requirements = ["clean.txt"]
command = ["python", "clean.py"]
inputs = ["raw"]
outputs = { table = "build/table" }

[step.train]
base = "slim"
python = "3.11"
command = ["python", "train.py"]
inputs = ["clean.table"]
"""
FILES = {"clean.txt": "six\n"}


REQUIREMENTS = ["step clean: requirements changed", "step train: requirements changed"]


def load(text: str = PROJECT, files: Mapping[str, str] = FILES) -> tuple[Project, dict[str, Digest]]:
    project = read_project(text, file="repro.toml")
    return project, request_digests(project, request_files(project, files.get))


def fresh() -> Lock:
    project, digests = load()
    environment = Environment(interpreter="3.11.2", wheels=(locks.wheel("numpy", "1.26.4"),))
    return Lock(
        project="churn",
        inputs=digests,
        bases={"slim": LockedBase(name="slim", suite="bookworm", roots={locks.AMD64: locks.root()})},
        steps={name: locked_step(step, {locks.AMD64: environment}) for name, step in project.steps.items()},
        data={
            "raw": LockedData(name="raw", path="data/raw", kind="file", digest=locks.digest("raw"), files=1, size=1),
        },
    )


def told(text: str = PROJECT, files: Mapping[str, str] = FILES, lock: Lock | None = None) -> list[str]:
    return [str(change) for change in drift(lock or fresh(), *load(text, files))]


def test_a_lock_of_the_same_project_has_no_drift() -> None:
    assert told() == []
    assert stale_requests(fresh(), load()[1]) == frozenset()


def test_a_locked_step_is_what_was_asked() -> None:
    project, _ = load()
    step = locked_step(project.steps["train"], {})
    assert (step.name, step.base, str(step.python)) == ("train", "slim", "3.11")
    assert (step.command, step.inputs) == (("python", "train.py"), ("clean.table",))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"churn"', '"other"', ["project: name changed from churn to other"]),
        ('"libgomp1"', '"libgomp1", "libgl1"', ["base slim: packages changed: libgl1 is new"]),
        ('"libgomp1"', '"libgl1", "zstd"', ["base slim: packages changed: libgl1, zstd are new"]),
        ('["libgomp1"]', "[]", ["base slim: packages or mirror changed"]),
        ("bookworm", "trixie", ["base slim: suite changed from bookworm to trixie"]),
        ("data/raw", "data/new", ["data raw: path changed from data/raw to data/new"]),
        ('"clean.py"]', '"c.py"]', ["step clean: command changed"]),
        ("build/table", "build/t", ["step clean: outputs changed"]),
        ("numpy<2", "numpy<3", ["step clean: requirements changed"]),
        (
            'python = "3.11"',
            'python = "3.12"',
            ["base slim: interpreters of its steps changed from 3.11 to 3.11, 3.12", "step clean: python changed"],
        ),
        (
            'name = "churn"',
            'name = "churn"\nplatforms = ["linux/arm64"]',
            ["project: platform linux/arm64 is new", "project: platform linux/amd64 was removed"],
        ),
        ("[step.train]", "[step.learn]", ["step learn: new", "step train: removed"]),
        ("[base.slim]", '[base.big]\ndebian = "bookworm"\n[base.slim]', ["base big: new"]),
        ("[data.raw]", '[data.more]\npath = "x"\n[data.raw]', ["data more: new"]),
        (
            'command = ["python", "train.py"]',
            'command = ["t"]\nenv = { A = "b" }\nnetwork = true\ncode = []',
            [f"step train: {field} changed" for field in ("command", "code", "env", "network")],
        ),
    ],
)
def test_a_change_of_the_project_is_told_in_words(old: str, new: str, expected: list[str]) -> None:
    assert old in PROJECT
    assert told(PROJECT.replace(old, new, 1)) == expected


IMAGE = PROJECT.replace('debian = "bookworm"\npackages = ["libgomp1"]', 'image = "ghcr.io/a/b:1"\nglibc = "2.39"')


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", []),
        ("b:1", "b:2", ["base slim: image changed from ghcr.io/a/b:1 to ghcr.io/a/b:2"]),
        ("2.39", "2.40", ["base slim: glibc or python changed", *REQUIREMENTS]),
        ('"2.39"', '"2.39"\npython = "3.11.2"', ["base slim: glibc or python changed", *REQUIREMENTS]),
        (
            'name = "churn"',
            'name = "churn"\nplatforms = ["linux/amd64", "linux/arm64"]',
            ["project: platform linux/arm64 is new"],
        ),
        (
            'image = "ghcr.io/a/b:1"\nglibc = "2.39"',
            'debian = "bookworm"',
            ["base slim: root filesystem changed from ghcr.io/a/b:1 to bookworm"],
        ),
    ],
)
def test_a_change_of_an_image_base_is_told_in_words(old: str, new: str, expected: list[str]) -> None:
    _, digests = load(IMAGE)
    image = replace(locks.image_base(), name="slim", image="ghcr.io/a/b:1")
    lock = replace(fresh(), inputs=digests, bases={"slim": image})
    assert told(IMAGE.replace(old, new, 1), lock=lock) == expected


def test_a_change_of_another_file_is_told_as_changed_requirements() -> None:
    assert told(files={"clean.txt": "six>=1\n"}) == ["step clean: requirements changed"]
    (change,) = drift(fresh(), *load(files={"clean.txt": "six>=1\n"}))
    assert change == Drift(key="step.clean.python", change="requirements changed")
    assert stale_requests(fresh(), load(files={"clean.txt": "six>=1\n"})[1]) == {"step.clean", "step.clean.python"}


def test_what_the_project_no_longer_has_is_told() -> None:
    only = (
        PROJECT[: PROJECT.index("[step.train]")].replace('["raw"]', "[]").replace('[data.raw]\npath = "data/raw"\n', "")
    )
    assert told(only) == ["data raw: removed", "step train: removed", "step clean: inputs changed"]


def test_a_lock_that_was_edited_by_hand_is_found_out() -> None:
    lock = fresh()
    clean = replace(lock.steps["clean"], command=("rm", "-rf"))
    assert told(lock=replace(lock, steps={**lock.steps, "clean": clean})) == ["step clean: command changed"]


def test_a_lock_without_the_digests_is_stale() -> None:
    assert told(lock=replace(fresh(), inputs={})) == [
        "base slim: packages or mirror changed",
        "data raw: was never pinned by this lock",
        "step clean: requirements changed",
        "step train: requirements changed",
    ]
    inputs = {key: digest for key, digest in fresh().inputs.items() if key != "step.train"}
    assert told(lock=replace(fresh(), inputs=inputs)) == ["step train: changed"]


def test_a_changed_digest_is_never_silent() -> None:
    for key in fresh().inputs:
        lock = replace(fresh(), inputs={**fresh().inputs, key: locks.digest("other")})
        assert told(lock=lock), key


def test_things_called_python_are_not_mistaken_for_a_part_of_a_step() -> None:
    text = PROJECT.replace("clean.table", "python.table").replace("slim", "python").replace("step.clean", "step.python")
    text = text.replace('"raw"', '"python"').replace("data.raw", "data.python")
    project, digests = load(text)
    environment = Environment(interpreter="3.11.2", wheels=())
    lock = Lock(
        project="churn",
        inputs=digests,
        bases={"python": LockedBase(name="python", suite="bookworm", roots={locks.AMD64: locks.root()})},
        steps={name: locked_step(step, {locks.AMD64: environment}) for name, step in project.steps.items()},
        data={"python": replace(fresh().data["raw"], name="python")},
    )
    assert parse_lock(dump_lock(lock)) == lock
    assert drift(lock, project, digests) == ()
    assert told(text.replace("clean.py", "c.py"), lock=lock) == ["step python: command changed"]
    assert told(text.replace("bookworm", "sid"), lock=lock) == ["base python: suite changed from bookworm to sid"]


def test_an_empty_lock_lacks_everything() -> None:
    empty = Lock(project="churn", inputs={}, bases={}, steps={}, data={})
    assert told(lock=empty) == ["base slim: new", "data raw: new", "step clean: new", "step train: new"]


def test_what_pytorch_is_made_for_is_one_difference() -> None:
    project, digests = load(PROJECT.replace('"train.py"]\n', '"train.py"]\ntorch-backend = "cu128"\n'))
    assert [str(one) for one in drift(fresh(), project, digests)] == ["step train: torch-backend changed"]
    assert "step.train.python" in stale_requests(fresh(), digests)


def test_settings_that_give_the_same_numbers_are_asked_for_or_not() -> None:
    project, digests = load(PROJECT.replace('"train.py"]\n', '"train.py"]\ndeterministic = true\n'))
    assert [str(one) for one in drift(fresh(), project, digests)] == ["step train: deterministic changed"]
    assert stale_requests(fresh(), digests) == {"step.train"}
    lock = fresh()
    other = replace(lock.steps["train"], deterministic={"OMP_NUM_THREADS": "4"})  # as another program has it
    lock = replace(lock, inputs=digests, steps={**lock.steps, "train": other})
    assert drift(lock, project, digests) == ()
