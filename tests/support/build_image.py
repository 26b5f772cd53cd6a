"""A program for tests: builds an image of wheels and code and prints its digests, whatever the process is like.

python build_image.py STORE WHEELS PROJECT WORKERS ORDER
"""

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path

from repro_env.build.code import code_layer, find_code
from repro_env.build.environment import Assembler
from repro_env.edges.report import Silent
from repro_env.image.oci import manifest_bytes, validate, write_image
from repro_env.image.store import Store
from repro_env.lock.model import DebianRoot, Environment, Lock, LockedBase, LockedStep, Wheel
from repro_env.values import Digest, Platform, PythonVersion, normalise_name

PLATFORM = Platform("amd64")


def keep(store: Store, path: Path) -> Wheel:
    data = path.read_bytes()
    digest = store.add(data)
    name, version = path.name.split("-")[:2]
    return Wheel(name=normalise_name(name), version=version, file=path.name, url="", sha256=digest, size=len(data))


def make_lock(wheels: tuple[Wheel, ...]) -> Lock:
    root = DebianRoot(glibc="2.36", python="3.11.2", sources=(), packages=())
    step = LockedStep(
        name="train",
        base="slim",
        python=PythonVersion(11),
        command=("python", "train.py"),
        outputs={"model": "build/model"},
        code=(".",),
        environments={PLATFORM: Environment(interpreter="3.11.2", wheels=wheels)},
    )
    base = LockedBase(name="slim", suite="bookworm", roots={PLATFORM: root})
    return Lock(project="probe", inputs={}, bases={"slim": base}, steps={"train": step}, data={})


def main(store_path: str, wheels_path: str, project: str, workers: str, order: str) -> None:
    store = Store(Path(store_path))
    paths = sorted(Path(wheels_path).glob("*.whl"))
    random.Random(int(order)).shuffle(paths)
    lock = make_lock(tuple(keep(store, path) for path in paths))
    step = lock.steps["train"]
    environment = Assembler(store, int(workers), Silent()).image(lock, step, PLATFORM)
    code = code_layer(find_code(step, lock, Path(project)).files, b"{}", store)
    digests = [write_image(environment, store), write_image(environment.with_layers(code), store, reference="a")]
    problems = [problem for digest in digests for problem in validate(store, digest)]
    if problems:
        sys.exit("\n".join(problems))
    manifests = hashlib.sha256(manifest_bytes(environment)[0]).hexdigest()
    assert Digest(manifests) == digests[0]
    print(*digests)  # noqa: T201 - its result


if __name__ == "__main__":
    main(*sys.argv[1:])
