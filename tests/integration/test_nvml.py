"""The real NVML binding on recorded machines: through a `libnvidia-ml.so.1` that answers for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import machines
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> machines.Nvml:
    built = machines.build(tmp_path_factory.mktemp("nvml"))
    if built is None:
        pytest.skip("there is no C compiler")
    return built


@pytest.mark.parametrize("name", machines.names())
def test_every_profile_says_where_its_figures_come_from(name: str) -> None:
    assert all(machines.profile(name)["source"])


@pytest.mark.parametrize(
    "name", [name for name in machines.names() if "gpus" in machines.profile(name) and name != "forbidden-gpu"]
)
def test_what_a_recorded_machine_is(name: str, nvml: machines.Nvml) -> None:
    profile, facts = machines.profile(name), nvml.facts(name)
    assert facts["driver"] == profile["driver"]
    assert facts["cuda"] == f"{profile['cuda'] // 1000}.{profile['cuda'] % 1000 // 10}"
    assert facts["no_driver"] == ""
    expected = [one for index, gpu in enumerate(profile["gpus"]) for one in _devices(index, gpu)]
    assert [_shown(gpu) for gpu in facts["gpus"]] == expected


def _shown(gpu: dict[str, Any]) -> tuple[object, ...]:
    memory = gpu["memory"] and gpu["memory"] / 2**20
    return gpu["index"], gpu["name"], gpu["uuid"], memory, gpu["compute_capability"], gpu["mig"], gpu["problem"]


def _devices(index: int, gpu: dict[str, Any]) -> list[tuple[object, ...]]:
    capability = ".".join(map(str, gpu["capability"]))
    if gpu.get("error"):
        return [(index, "", "", None, "", "", "GPU is lost")]
    unused = "in MIG mode, without an instance that programs could use" if gpu.get("mig") == [] else ""
    whole = (index, gpu["name"], machines.uuid("GPU", index), gpu["memory_mib"], capability, "", unused)
    parts: list[tuple[object, ...]] = [
        (index, f"{gpu['name']} MIG {mig}", machines.uuid("MIG", number), memory, capability, mig, "")
        for number, (mig, memory) in enumerate(gpu.get("mig", []))
    ]
    return parts or [whole]


def test_brands_and_ecc_in_the_words_of_the_requirements(nvml: machines.Nvml) -> None:
    found = {name: nvml.facts(name)["gpus"][0] for name in ("h100", "rtx-4090", "old-driver")}
    assert {name: (gpu["brand"], gpu["ecc"]) for name, gpu in found.items()} == {
        "h100": ("nvidia", True),
        "rtx-4090": ("geforce", False),
        "old-driver": ("tesla", True),
    }


def test_links_between_gpus(nvml: machines.Nvml) -> None:
    eight = nvml.facts("a100-8x")["gpus"]
    assert all(len(gpu["nvlinks"]) == len(gpu["peers"]) == 7 and gpu["index"] not in gpu["peers"] for gpu in eight)
    assert [gpu["peers"] for gpu in nvml.facts("rtx-4090-2x")["gpus"]] == [[], []]
    [well, _lost] = nvml.facts("lost-gpu")["gpus"]
    assert well["peers"] == []


def test_variables_that_hide_gpus(nvml: machines.Nvml) -> None:
    facts = nvml.facts("a100-8x", CUDA_VISIBLE_DEVICES="3,1")
    assert [gpu["index"] for gpu in facts["gpus"]] == [3, 1]
    assert facts["hidden"] == "CUDA_VISIBLE_DEVICES"
    part = nvml.facts("a100-mig", CUDA_VISIBLE_DEVICES=machines.uuid("MIG", 2))
    assert [gpu["mig"] for gpu in part["gpus"]] == ["1g.10gb"]


@pytest.mark.parametrize(
    ("name", "why", "remedy"),
    [
        ("no-permission", "no permission to use /dev/nvidiactl", "let the container have the nodes /dev/nvidia*"),
        ("mismatch", "driver and library versions differ", "restart the machine"),
        pytest.param(
            "not-loaded",
            "no device node /dev/nvidiactl",
            "run the step where a GPU and its driver are",
            marks=pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has the device node"),
        ),
    ],
)
def test_why_there_is_no_driver(name: str, why: str, remedy: str, nvml: machines.Nvml) -> None:
    facts = nvml.facts(name)
    assert why in facts["no_driver"]
    assert facts["remedy"].startswith(remedy)
    assert facts["gpus"] == []


def test_the_library_is_missing(nvml: machines.Nvml, tmp_path: Path) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a driver")
    assert "no library libnvidia-ml.so.1" in nvml.facts("h100", LD_LIBRARY_PATH=str(tmp_path))["no_driver"]


def test_a_library_that_is_none(nvml: machines.Nvml, tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"")
    why = nvml.facts("h100", LD_LIBRARY_PATH=str(tmp_path))["no_driver"]
    assert why.startswith("the library libnvidia-ml.so.1 cannot be loaded: ")
    assert "file too short" in why


def test_a_gpu_that_this_process_may_not_use_is_none_and_has_no_number(nvml: machines.Nvml) -> None:
    for variables in ({}, {"CUDA_VISIBLE_DEVICES": "0"}):
        facts = nvml.facts("forbidden-gpu", **variables)
        found = [(gpu["index"], gpu["uuid"], gpu["minor"], gpu["problem"], gpu["peers"]) for gpu in facts["gpus"]]
        assert found == [(0, machines.uuid("GPU", 1), 1, "", [])]
        assert facts["hidden"] == "missing permission"
    assert nvml.facts("forbidden-gpu", CUDA_VISIBLE_DEVICES="")["hidden"] == "CUDA_VISIBLE_DEVICES"


def test_a_gpu_in_mig_mode_without_an_instance(nvml: machines.Nvml) -> None:
    [gpu] = nvml.facts("a100-mig-empty")["gpus"]
    assert gpu["remedy"].startswith("make instances (nvidia-smi mig -cgi")


@pytest.mark.bwrap
def test_from_inside_a_bwrap_container(nvml: machines.Nvml) -> None:
    inside = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-all", "--chdir", str(ROOT)]
    done = subprocess.run(
        [*inside, sys.executable, "-m", "repro_env", "facts"],
        env={**os.environ, **nvml.environment("h200")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    facts = json.loads(done.stdout)
    assert [gpu["name"] for gpu in facts["gpus"]] == ["NVIDIA H200"]


@pytest.mark.docker
def test_from_inside_a_docker_container(nvml: machines.Nvml) -> None:
    """An image of nothing, with this machine's own directories in it: what counts is the container."""
    empty = b"\0" * 10240  # a tar archive without a member
    made = subprocess.run(["docker", "import", "-"], input=empty, capture_output=True, check=True, timeout=60)
    image = made.stdout.decode().strip()
    system = ["/usr", "/bin", "/lib", "/lib64", "/etc"]
    places = [*system, sys.base_prefix, sys.prefix, str(ROOT), str(nvml.directory)]
    words = ["docker", "run", "--rm", "--network", "none", "--workdir", str(ROOT)]
    for place in dict.fromkeys(places):
        words += ["--volume", f"{place}:{place}:ro"] if Path(place).exists() else []
    for variable, value in nvml.environment("b200").items():
        words += ["--env", f"{variable}={value}"]
    try:
        done = subprocess.run(
            [*words, image, sys.executable, "-m", "repro_env", "facts"],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    finally:
        subprocess.run(["docker", "rmi", "--force", image], capture_output=True, check=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [gpu["name"] for gpu in json.loads(done.stdout)["gpus"]] == ["NVIDIA B200"]


@pytest.mark.gpu
def test_this_machines_own_gpus() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "repro_env", "facts"], capture_output=True, text=True, check=True, timeout=60
    )
    facts = json.loads(done.stdout)
    assert facts["no_driver"] == ""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    listed = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    found = [f"{gpu['name']}, {gpu['memory'] // 2**20}, {facts['driver']}" for gpu in facts["gpus"] if not gpu["mig"]]
    assert found == listed[: len(found)]
