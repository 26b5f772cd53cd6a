"""`deterministic = true`: which variables that means, and which of them a step says otherwise."""

from __future__ import annotations

from dataclasses import replace

import locks

from repro_env.config.read import read_project
from repro_env.lock.determinism import SETTINGS
from repro_env.lock.drift import locked_step
from repro_env.lock.dump import dump_lock
from repro_env.lock.parse import parse_lock

TOML = """\
[project]
name = "churn"
[base.slim]
debian = "bookworm"
[step.train]
base = "slim"
python = "3.11"
command = ["python", "train.py"]
deterministic = true
env = { OMP_NUM_THREADS = "8", PYTHONHASHSEED = "0", MODE = "fast" }
"""


def test_what_is_asked_for_by_name_is_pinned_and_what_the_step_says_itself_goes_first() -> None:
    step = locked_step(read_project(TOML, file="repro.toml").steps["train"], {})
    assert step.deterministic == SETTINGS
    assert step.variables == {**SETTINGS, "OMP_NUM_THREADS": "8", "MODE": "fast"}
    assert step.overridden == {"OMP_NUM_THREADS": "8"}


def test_without_it_nothing_is_set() -> None:
    step = locked_step(read_project(TOML.replace("= true", "= false"), file="repro.toml").steps["train"], {})
    assert (step.deterministic, step.overridden) == ({}, {})
    assert step.variables == step.env


def test_the_lock_holds_the_settings_themselves() -> None:
    lock = locks.churn()
    asked = replace(lock.steps["train"], deterministic=SETTINGS, env={})
    text = dump_lock(replace(lock, steps={**lock.steps, "train": asked}))
    assert 'deterministic = { CUBLAS_WORKSPACE_CONFIG = ":4096:8", MKL_NUM_THREADS = "1", ' in text
    assert parse_lock(text).steps["train"] == asked
