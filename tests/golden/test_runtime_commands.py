"""What each runtime is told, word for word."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from repro_env.lock.model import Wheel
from repro_env.run import driver
from repro_env.run.driver import DriverFiles, Library
from repro_env.run.gpus import NOTHING, GpuDevice, GpuGrant, Passing
from repro_env.run.plan import Input, RunPlan, User, plan_run
from repro_env.run.runtimes.apptainer import apptainer_arguments, apptainer_environment
from repro_env.run.runtimes.bwrap import bwrap_arguments
from repro_env.run.runtimes.docker import docker_options
from repro_env.run.runtimes.podman import podman_arguments
from repro_env.run.runtimes.venv import venv_install_arguments, venv_requirements, venv_variables
from repro_env.values import Digest

Golden = Callable[[str, str], None]
PROJECT = Path("/home/user/churn")


def plan(*, network: bool = False, gpus: Passing = NOTHING) -> RunPlan:
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
        gpus=gpus,
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


AS_FILES = driver.passing(
    GpuGrant(devices=(GpuDevice(index=1, uuid="GPU-1", minor=1),), driver="580.65.06"),
    DriverFiles(
        nodes=(Path("/dev/nvidiactl"), Path("/dev/nvidia-uvm"), Path("/dev/nvidia1")),
        libraries=(
            Library("libcuda.so.1", Path("/usr/lib/x86_64-linux-gnu/libcuda.so.580.65.06")),
            Library("libnvidia-ml.so.1", Path("/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.65.06")),
        ),
        smi=Path("/usr/bin/nvidia-smi"),
    ),
)
BY_CDI = Passing(names=("nvidia.com/gpu=GPU-1", "nvidia.com/gpu=GPU-3"), variables={"CUDA_VISIBLE_DEVICES": "0,1"})
BY_RUNTIME = Passing(names=("GPU-1", "MIG-3"), variables={"NVIDIA_VISIBLE_DEVICES": "GPU-1,MIG-3"})


def test_bwrap_with_gpus(golden: Golden) -> None:
    golden("bwrap-gpus.txt", lines(bwrap_arguments(plan(gpus=AS_FILES), Path("/store/rootfs/abc"))))


@pytest.mark.parametrize(("way", "gpus"), [("files", AS_FILES), ("cdi", BY_CDI), ("runtime", BY_RUNTIME)])
def test_docker_with_gpus(golden: Golden, way: str, gpus: Passing) -> None:
    options = docker_options(plan(gpus=gpus), "sha256:abc", User(uid=1000, gid=100))
    golden(f"docker-gpus-{way}.json", json.dumps(options, indent=2) + "\n")


@pytest.mark.parametrize(("way", "gpus"), [("files", AS_FILES), ("cdi", BY_CDI)])
def test_podman_with_gpus(golden: Golden, way: str, gpus: Passing) -> None:
    words = podman_arguments(plan(gpus=gpus), "abc", rootless=True, init="/bin/tini")
    golden(f"podman-gpus-{way}.txt", lines(words))


@pytest.mark.parametrize("network", [False, True])
def test_apptainer(golden: Golden, network: bool) -> None:
    made = plan(network=network, gpus=Passing(variables={"CUDA_VISIBLE_DEVICES": "1"}) if network else NOTHING)
    work = made.output.parent / "temporary"
    words = apptainer_arguments(made, Path("/store/rootfs/abc"), work, as_root=network)
    own = {"PATH": "/usr/bin:/bin", "APPTAINER_BIND": "/home", "SECRET": "x"}
    variables = apptainer_environment(made, "apptainer", own)
    text = lines(words) + "\n" + "".join(f"{name}={value}\n" for name, value in variables.items())
    golden(f"apptainer{'-network-gpus' * network}.txt", text)


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
