"""What a build records in the lock, when another command has written the lock meanwhile."""

from __future__ import annotations

from dataclasses import replace

from locks import AMD64, churn, debian_package, debian_root, digest

from repro_env.build.images import keep_newer
from repro_env.lock.model import Lock
from repro_env.values import Digest


def with_image(lock: Lock, step: str, image: Digest | None) -> Lock:
    old = lock.steps[step]
    environments = {AMD64: replace(old.environments[AMD64], image=image)}
    return replace(lock, steps={**lock.steps, step: replace(old, environments=environments)})


def image_of(lock: Lock, step: str) -> Digest | None:
    return lock.steps[step].environments[AMD64].image


BEFORE = with_image(with_image(churn(), "clean", None), "train", None)
RECORDED = with_image(with_image(BEFORE, "clean", digest("clean")), "train", digest("train"))


def test_what_was_built_is_recorded_where_nothing_changed() -> None:
    assert keep_newer(BEFORE, BEFORE, RECORDED) == RECORDED


def test_what_another_build_recorded_stays() -> None:
    current = with_image(BEFORE, "clean", digest("another"))
    found = keep_newer(current, BEFORE, RECORDED)
    assert (image_of(found, "clean"), image_of(found, "train")) == (digest("another"), digest("train"))


def test_a_step_that_was_locked_anew_keeps_its_new_pins() -> None:
    changed = replace(BEFORE.steps["train"], command=("python", "new.py"))
    current = replace(BEFORE, steps={**BEFORE.steps, "train": changed}, inputs={"step.train": digest("new")})
    found = keep_newer(current, BEFORE, RECORDED)
    assert found.steps["train"] == changed
    assert found.inputs == current.inputs
    assert image_of(found, "clean") == digest("clean")


def test_a_base_that_was_locked_anew_has_no_image_yet() -> None:
    base = BEFORE.bases["slim"]
    root = debian_root(base, AMD64)
    moved = replace(root, packages=(*root.packages, debian_package("zlib1g", "1.3")))
    current = replace(BEFORE, bases={"slim": replace(base, roots={AMD64: moved})})
    found = keep_newer(current, BEFORE, RECORDED)
    assert (image_of(found, "clean"), image_of(found, "train")) == (None, None)
    assert found == current


def test_steps_that_came_and_went() -> None:
    steps = {"clean": BEFORE.steps["clean"], "more": replace(BEFORE.steps["train"], name="more")}
    current = replace(BEFORE, steps=steps)
    found = keep_newer(current, BEFORE, RECORDED)
    assert set(found.steps) == {"clean", "more"}
    assert image_of(found, "clean") == digest("clean")
    assert image_of(found, "more") is None
