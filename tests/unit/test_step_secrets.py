"""`secrets` of a step: read, locked, compared, and no part of what its image or definition depends on."""

from __future__ import annotations

from dataclasses import replace

import locks
import pytest

from repro_env.build.native import step_definition, step_document
from repro_env.config.model import Step
from repro_env.config.read import read_project
from repro_env.errors import ConfigError, LockError
from repro_env.lock.diff import diff
from repro_env.lock.drift import drift, locked_step
from repro_env.lock.dump import dump_lock
from repro_env.lock.model import Lock
from repro_env.lock.parse import parse_lock
from repro_env.lock.request import request_digests

TOML = """\
[project]
name = "churn"
[base.slim]
debian = "bookworm"
[step.train]
base = "slim"
python = "3.11"
command = ["python", "train.py"]
"""


def step(more: str) -> Step:
    return read_project(TOML + more, file="repro.toml").steps["train"]


def with_secrets(*names: str) -> Lock:
    lock = locks.churn()
    return replace(lock, steps={**lock.steps, "train": replace(lock.steps["train"], secrets=names)})


def test_names_are_read_in_one_order() -> None:
    assert step('secrets = ["WANDB_API_KEY", "HF_TOKEN"]').secrets == ("HF_TOKEN", "WANDB_API_KEY")
    assert step("").secrets == ()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('secrets = ["HF-TOKEN"]', "step.train.secrets[0]: not the name of an environment variable"),
        ('secrets = ["REPRO_TOKEN"]', "names that begin with REPRO_ are set by repro"),
        ('secrets = ["A", "PATH"]', "step.train.secrets[1]: PATH is set by repro for every step, and is no secret"),
        ('secrets = ["OMP_NUM_THREADS"]', "OMP_NUM_THREADS is set by repro"),
        ('secrets = ["A", "A"]', '"A" is listed twice'),
        ('secrets = ["A"]\nenv = { A = "1" }', "step.train.secrets: A is in env, too (leave it out of env"),
        ('secrets = "A"', "expected a list, found a string"),
        ("secrets = [1]", "expected a string, found a number"),
        ('secret = ["A"]', "did you mean secrets"),
    ],
)
def test_what_they_cannot_be(more: str, said: str) -> None:
    with pytest.raises(ConfigError) as found:
        step(more)
    assert said in str(found.value)


def test_the_lock_has_the_names() -> None:
    lock = with_secrets("HF_TOKEN", "KEY")
    text = dump_lock(lock)
    assert 'secrets = ["HF_TOKEN", "KEY"]\n' in text
    assert parse_lock(text) == lock


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ('["KEY", "HF_TOKEN"]', "expected sorted names"),
        ('["KEY", "KEY"]', "expected sorted names"),
        ('["A"]', "A is in env, too"),
        ('["PATH"]', "PATH is set by repro"),
        ("true", "expected"),
    ],
)
def test_a_lock_that_was_touched_is_refused(names: str, said: str) -> None:
    text = dump_lock(with_secrets("HF_TOKEN", "KEY")).replace('["HF_TOKEN", "KEY"]', names)
    with pytest.raises(LockError, match=said):
        parse_lock(text)


def test_neither_image_nor_definition_depends_on_them() -> None:
    before, after = locks.churn(), with_secrets("HF_TOKEN")
    one, other = before.steps["train"], after.steps["train"]
    assert step_document(before, one, locks.AMD64) == step_document(after, other, locks.AMD64)
    assert step_definition(before, one, locks.AMD64, ()) == step_definition(after, other, locks.AMD64, ())


def test_a_change_is_told_in_words() -> None:
    (change,) = diff(with_secrets("HF_TOKEN"), with_secrets("HF_TOKEN", "KEY"))
    assert str(change) == "secrets: HF_TOKEN -> HF_TOKEN, KEY"
    (change,) = diff(locks.churn(), with_secrets("HF_TOKEN"))
    assert (change.before, change.after) == ("none", "HF_TOKEN")


def test_a_lock_without_the_name_is_stale_and_one_without_the_key_is_not() -> None:
    plain = read_project(TOML, file="repro.toml")
    asking = read_project(TOML + 'secrets = ["HF_TOKEN"]', file="repro.toml")
    digests, asked = (request_digests(project, {}) for project in (plain, asking))
    assert digests["step.train"] != asked["step.train"]
    assert digests["step.train.python"] == asked["step.train.python"]
    lock = Lock(
        project="churn", inputs=digests, bases={}, steps={"train": locked_step(plain.steps["train"], {})}, data={}
    )
    assert "step train: secrets changed" in map(str, drift(lock, asking, asked))
    assert not [one for one in drift(lock, plain, digests) if one.key.startswith("step.")]
