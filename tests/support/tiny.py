"""The smallest image that runs something: a static busybox, some links to it, and the directory of a step's code."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from repro_env.image import tar
from repro_env.image.layer import Layer, LayerWriter
from repro_env.image.oci import Image, write_image
from repro_env.image.store import Store
from repro_env.lock.model import Environment, LockedStep
from repro_env.lock.places import IMAGE_ROOTS, Roots
from repro_env.run.gpus import NOTHING, Passing
from repro_env.run.plan import Input, RunPlan, User, plan_run
from repro_env.values import Digest, Platform, PythonVersion

BUSYBOX = Path("/bin/busybox")
COMMANDS = ("cat", "env", "grep", "id", "ip", "kill", "ls", "mkdir", "nc", "sh", "sleep", "touch", "true")

PROJECT = os.environ.setdefault("REPRO_TEST_PROJECT", f"tiny{os.getpid()}")
"""This process's own, and that of processes it starts: whoever removes images at their end leaves others' alone."""

ENVIRONMENT = Environment(interpreter=platform.python_version(), wheels=())


def make_layer(store: Store, entries: Sequence[tuple[tar.Entry, bytes]], comment: str = "") -> Layer:
    """Write a layer into the store."""
    with store.writing() as (stream, keep):
        writer = LayerWriter(stream)
        for entry, content in entries:
            writer.add(entry, content)
        layer = writer.finish(comment)
        keep(layer.digest)
    return layer


def text(path: str, content: str, mode: int = 0o644) -> tuple[tar.Entry, bytes]:
    """Return a file entry with its content."""
    data = content.encode()
    return tar.Entry(path=path, mode=mode, size=len(data)), data


def directory(path: str, mode: int = 0o755) -> tuple[tar.Entry, bytes]:
    """Return a directory entry."""
    return tar.Entry(path=path, kind="directory", mode=mode), b""


def link(path: str, target: str, kind: str = "symlink") -> tuple[tar.Entry, bytes]:
    """Return a link's entry."""
    return tar.Entry(path=path, kind=kind, link=target), b""


def busybox_layer(store: Store) -> Layer:
    """Write the layer that every tiny image stands on."""
    program = BUSYBOX.read_bytes()
    entries = [
        directory("bin"),
        (tar.Entry(path="bin/busybox", mode=0o755, size=len(program)), program),
        *(link(f"bin/{name}", "busybox") for name in COMMANDS),
        directory("repro"),
        directory("repro/code"),
        text("repro/code/hello.txt", "from the image\n"),
    ]
    return make_layer(store, entries, "busybox")


def tiny_image(store: Store, *more: Layer) -> Digest:
    """Write a whole image and return its manifest's digest."""
    layers = (busybox_layer(store), *more)
    return write_image(Image(platform=Platform("amd64"), layers=layers), store)


def tiny_step(
    *command: str,
    inputs: Sequence[str] = (),
    outputs: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    network: bool = False,
) -> LockedStep:
    """Return a step that needs no package."""
    return LockedStep(
        name="train",
        base="slim",
        python=PythonVersion(sys.version_info.minor),  # which a venv can be made of on any machine
        command=command,
        inputs=tuple(inputs),
        outputs=outputs or {},
        env=env or {},
        network=network,
    )


def tiny_plan(
    step: LockedStep,
    root: Path,
    *,
    image: Digest | None,
    run: str = "r1",
    inputs: Sequence[Input] = (),
    roots: Roots = IMAGE_ROOTS,
    arguments: Sequence[str] = (),
    gpus: Passing = NOTHING,
) -> RunPlan:
    """Return a plan whose code is `root/code` and whose run is `root/run`; the code directory is made."""
    code = root / "code"
    code.mkdir(exist_ok=True)
    (code / "hello.txt").write_text("from the project\n")
    return plan_run(
        step,
        ENVIRONMENT,
        run=run,
        project=PROJECT,
        image=image,
        image_environment={},
        inputs=inputs,
        code=code,
        output=root / "run" / "output",
        user=User(uid=os.getuid(), gid=os.getgid()),
        roots=roots,
        arguments=arguments,
        gpus=gpus,
    )
