"""Locks as they stand in git, byte for byte, and the story that a difference between two of them tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import locks

from repro_env.lock.cuda import CudaCompat
from repro_env.lock.diff import diff, diff_lines
from repro_env.lock.dump import dump_lock
from repro_env.lock.model import Lock
from repro_env.lock.parse import parse_lock
from repro_env.values import PythonVersion

Golden = Callable[[str, str], None]


def test_a_lock(golden: Golden) -> None:
    golden("lock/churn.lock", dump_lock(locks.churn()))


def test_a_lock_for_two_platforms(golden: Golden) -> None:
    text = dump_lock(locks.churn((locks.ARM64, locks.AMD64)))
    golden("lock/two-platforms.lock", text)
    assert dump_lock(parse_lock(text)) == text


def test_the_smallest_lock(golden: Golden) -> None:
    golden("lock/empty.lock", dump_lock(Lock(project="x", inputs={}, bases={}, steps={}, data={})))


def test_a_lock_of_an_image_base(golden: Golden) -> None:
    lock = Lock(project="x", inputs={}, bases={"cuda": locks.image_base()}, steps={}, data={})
    text = dump_lock(lock)
    golden("lock/image.lock", text)
    assert parse_lock(text) == lock


def test_a_lock_of_a_step_with_cuda(golden: Golden) -> None:
    text = dump_lock(locks.with_cuda())
    golden("lock/cuda.lock", text)
    assert parse_lock(text) == locks.with_cuda()


def test_what_changed_in_a_steps_cuda(golden: Golden) -> None:
    newer = locks.with_cuda(runtime="12.9.79", nccl="2.27.3")
    golden("lock/changed-cuda.txt", "\n".join(diff_lines(diff(locks.with_cuda(), newer))) + "\n")
    assert {change.after for change in diff(locks.with_cuda(), locks.churn()) if change.what == "CUDA"} == {""}


def test_what_changed_in_an_image_base(golden: Golden) -> None:
    before = Lock(project="x", inputs={}, bases={"cuda": locks.image_base()}, steps={}, data={})
    base, root = locks.image_base(), locks.image_root()
    env = {**root.env, "CUDA_VERSION": "12.9.0", "NEW": "1"}
    compat = CudaCompat(cuda="12.9", driver="575.57.08", branches=(535, 550), path="/usr/local/cuda-12.9/compat")
    root = replace(root, manifest=locks.digest("other"), env=env, user="", glibc="2.40", compat=compat)
    base = replace(base, image="nvcr.io/nvidia/cuda:12.9.0", roots={locks.AMD64: root})
    golden("lock/changed-image.txt", "\n".join(diff_lines(diff(before, replace(before, bases={"cuda": base})))) + "\n")


def test_what_changed(golden: Golden) -> None:
    golden("lock/changed.txt", "\n".join(diff_lines(diff(locks.churn(), _changed()))) + "\n")


def test_what_changed_on_one_platform_and_between_platforms(golden: Golden) -> None:
    before, after = locks.churn((locks.AMD64, locks.ARM64)), locks.churn((locks.AMD64, locks.ARM64))
    clean = after.steps["clean"]
    amd64 = replace(clean.environments[locks.AMD64], wheels=(locks.wheel("numpy", "1.26.5"), locks.wheel("six", "2")))
    arm64 = replace(clean.environments[locks.ARM64], wheels=(locks.wheel("numpy", "1.26.4"), locks.wheel("six", "2")))
    clean = replace(clean, environments={locks.AMD64: amd64, locks.ARM64: arm64})
    after = replace(after, steps={**after.steps, "clean": clean})
    lines = [*diff_lines(diff(before, after)), "", *diff_lines(diff(locks.churn(), locks.churn((locks.ARM64,))))]
    golden("lock/changed-platforms.txt", "\n".join(lines) + "\n")


def _changed() -> Lock:
    before = locks.churn()
    slim, train, clean, raw = before.bases["slim"], before.steps["train"], before.steps["clean"], before.data["raw"]
    root = locks.debian_root(slim, locks.AMD64)
    packages = (
        replace(root.packages[0], version="2.36-9+deb12u10"),
        root.packages[2],
        locks.debian_package("zstd", "1"),
    )
    sources = tuple(replace(source, date="20250301T000000Z") for source in root.sources)
    root = replace(root, packages=packages, sources=sources, python="3.11.9")
    wheels = (
        locks.wheel("numpy", "1.26.4", content="other"),
        locks.wheel("polars", "1.9.0"),
        locks.wheel("six", "1.18.0"),
    )
    environment = replace(
        clean.environments[locks.AMD64], wheels=wheels, image=locks.digest("new"), interpreter="3.12.1"
    )
    clean = replace(
        clean,
        python=PythonVersion(12),
        command=("python", "clean.py", "--fast"),
        inputs=(),
        code=None,
        outputs={"table": "build/t.parquet", "report": "build/report.html"},
        env={"A": "1"},
        network=True,
        environments={locks.AMD64: environment},
    )
    return replace(
        before,
        project="churn2",
        bases={"slim": replace(slim, suite="trixie", roots={locks.AMD64: root})},
        steps={"clean": clean, "report": replace(train, name="report")},
        data={"raw": replace(raw, digest=locks.digest("x"), files=1, size=10), "more": replace(raw, name="more")},
    )
