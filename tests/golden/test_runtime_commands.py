"""What each runtime is told, word for word."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from repro_env.lock.model import Wheel
from repro_env.run.plan import Input, RunPlan, User, plan_run
from repro_env.run.runtimes.bwrap import bwrap_arguments
from repro_env.run.runtimes.docker import docker_options
from repro_env.run.runtimes.podman import podman_arguments
from repro_env.run.runtimes.venv import venv_install_arguments, venv_requirements, venv_variables
from repro_env.values import Digest

Golden = Callable[[str, str], None]
PROJECT = Path("/home/user/churn")


def plan(*, network: bool = False) -> RunPlan:
    step = tiny.tiny_step(
        "python",
        "train.py",
        "{data.raw}",
        "{output.model}",
        inputs=["raw"],
        outputs={"model": "build/model.pt"},
        env={"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
        network=network,
    )
    return plan_run(
        step,
        tiny.ENVIRONMENT,
        run="20261123-1",
        project="churn",
        image=Digest.of(b"image"),
        image_environment={"CUDA_VERSION": "12.8.1"},
        inputs=[Input(name="raw", declared="data/raw", source=PROJECT / "a, b" / "raw")],
        code=PROJECT,
        output=PROJECT / ".repro/runs/20261123-1/output",
        user=User(uid=1000, gid=100),
        arguments=["--epochs", "3 or more"],
    )


def lines(words: Sequence[str]) -> str:
    """One word a line; an option's value stands beside it."""
    text = ""
    for word in words:
        text += ("\n" if word.startswith("--") or not text else " ") + word.replace("\n", "\\n")
    return text.lstrip() + "\n"


@pytest.mark.parametrize("network", [False, True])
def test_bwrap(golden: Golden, network: bool) -> None:
    words = bwrap_arguments(plan(network=network), Path("/store/rootfs/abc"))
    golden(f"bwrap{'-network' * network}.txt", lines(words))


def test_bwrap_without_inputs(golden: Golden) -> None:
    words = bwrap_arguments(replace(plan(), inputs=()), Path("/store/rootfs/abc"))
    assert "/repro/input" not in words


@pytest.mark.parametrize("network", [False, True])
def test_docker(golden: Golden, network: bool) -> None:
    options = docker_options(plan(network=network), "sha256:abc", User(uid=1000, gid=100))
    golden(f"docker{'-network' * network}.json", json.dumps(options, indent=2) + "\n")


@pytest.mark.parametrize("network", [False, True])
def test_podman(golden: Golden, network: bool) -> None:
    words = podman_arguments(plan(network=network), "abc", rootless=not network, init=None if network else "/bin/tini")
    golden(f"podman{'-network' * network}.txt", lines(words))


def test_venv(golden: Golden) -> None:
    wheels = [
        Wheel(name="numpy", version="1.26.4", file="x.whl", url="", sha256=Digest.of(b"1"), size=1),
        Wheel(name="torch", version="2.8.0+cu128", file="y.whl", url="", sha256=Digest.of(b"2"), size=1),
    ]
    environment = Path("/store/venvs/abc")
    variables = venv_variables(plan(), environment, PROJECT / ".repro/runs/20261123-1/home")
    text = lines(venv_install_arguments(environment, Path("/w"), Path("/r.txt")))
    text += "\n" + venv_requirements(wheels) + "\n"
    text += "".join(f"{name}={value}\n" for name, value in variables.items())
    golden("venv.txt", text)
