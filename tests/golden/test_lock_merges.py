"""Locks of two branches that changed different steps, merged by git as lines of text."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import locks
import pytest

from repro_env.lock.dump import dump_lock
from repro_env.lock.model import Lock, LockedStep, Wheel
from repro_env.lock.parse import parse_lock

STEPS = ("a", "b", "c")  # neighbours, each with a wheel of its own between those of the others


def branch(versions: str) -> Lock:
    """Return a lock whose steps ask for, and have, these versions: one digit a step."""
    wheels = {step: locks.wheel(f"needed-by-{step}", version) for step, version in zip(STEPS, versions, strict=True)}
    return replace(
        locks.churn(),
        inputs={
            key: locks.digest(f"{key} {wheel.version}")
            for step, wheel in wheels.items()
            for key in (f"step.{step}", f"step.{step}.python")
        },
        steps={step: locked(step, wheel) for step, wheel in wheels.items()},
        data={},
    )


def locked(name: str, wheel: Wheel) -> LockedStep:
    """Return the smallest step with one wheel and an image."""
    like = locks.churn().steps["clean"]
    environment = replace(like.environments[locks.AMD64], wheels=(wheel,), image=locks.digest(f"{name} {wheel}"))
    return LockedStep(
        name=name,
        base=like.base,
        python=like.python,
        command=("true",),
        environments={locks.AMD64: environment},
    )


@pytest.mark.parametrize(("ours", "theirs", "merged"), [("211", "121", "221"), ("112", "121", "122")])
def test_branches_that_changed_different_steps_merge(tmp_path: Path, ours: str, theirs: str, merged: str) -> None:
    for name, versions in (("base", "111"), ("ours", ours), ("theirs", theirs)):
        (tmp_path / name).write_text(dump_lock(branch(versions)), encoding="utf-8")
    git = ["git", "merge-file", "--stdout", "ours", "base", "theirs"]
    done = subprocess.run(git, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout == dump_lock(branch(merged))
    assert parse_lock(done.stdout) == branch(merged)
