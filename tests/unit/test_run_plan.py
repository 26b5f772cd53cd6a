from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from repro_env.config.machine import HostRequest
from repro_env.lock.places import Roots
from repro_env.run.gpus import Passing
from repro_env.run.mounts import Mount
from repro_env.run.plan import ENVIRONMENT, SHARED_MEMORY, Input, RunPlan, User, mounts, plan_run
from repro_env.values import Digest

IMAGE = Digest.of(b"image")


def plan(*, host: HostRequest | None = None, env: Mapping[str, str] | None = None, **changes: object) -> RunPlan:
    step = tiny.tiny_step(
        "python",
        "train.py",
        "{data.raw}",
        "--table={output.table@clean}",
        "{output.model}",
        inputs=["raw", "clean.table"],
        outputs={"model": "build/model.pt"},
        env=env or {"SEED": "1", "LANG": "de_DE.UTF-8", "REPRO_STEP": "forged"},
    )
    given: dict[str, object] = {
        "run": "20261123-1",
        "project": "churn",
        "image": IMAGE,
        "image_environment": {"PATH": "/opt/env/bin:/bin", "CUDA_VERSION": "12.8.1", "SEED": "0"},
        "inputs": [
            Input(name="raw", declared="data/raw", source=Path("/home/user/churn/data/raw")),
            Input(
                name="clean.table", declared="build/table.parquet", source=Path("/home/user/churn/build/table.parquet")
            ),
        ],
        "code": Path("/home/user/churn"),
        "output": Path("/home/user/churn/.repro/runs/20261123-1/output"),
        "user": User(uid=1000, gid=100),
        **changes,
    }
    step = replace(step, host=host)
    return plan_run(step, tiny.ENVIRONMENT, **given)  # type: ignore[arg-type]


def test_the_command_has_its_places_and_the_callers_arguments() -> None:
    assert plan(arguments=["--epochs", "{data.raw}"]).argv == (
        "python",
        "train.py",
        "/repro/input/raw/raw",
        "--table=/repro/input/clean.table/table.parquet",
        "/repro/output/build/model.pt",
        "--epochs",
        "{data.raw}",
    )


def test_the_environment_is_built_up_from_general_to_particular() -> None:
    assert plan().variables == {
        **ENVIRONMENT,
        "PATH": "/opt/env/bin:/bin",
        "CUDA_VERSION": "12.8.1",
        "SEED": "1",
        "LANG": "de_DE.UTF-8",
        "REPRO_STEP": "train",
        "REPRO_RUN": "20261123-1",
        "REPRO_DATA_RAW": "/repro/input/raw/raw",
        "REPRO_INPUT_CLEAN_TABLE": "/repro/input/clean.table/table.parquet",
        "REPRO_OUTPUT_MODEL": "/repro/output/build/model.pt",
    }


def test_nothing_of_the_callers_environment_gets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan()
    for name in ("SECRET", "SEED", "PATH", "HOME", "TZ"):
        monkeypatch.setenv(name, "x")
    assert plan() == before


def test_what_passes_the_gpus_goes_before_what_the_step_declares_and_after_its_directories() -> None:
    passing = Passing(
        variables={"CUDA_VISIBLE_DEVICES": "0"},
        paths={"LD_LIBRARY_PATH": "/driver", "PATH": "/driver/bin"},
    )
    found = plan(gpus=passing, env={"CUDA_VISIBLE_DEVICES": "3", "LD_LIBRARY_PATH": "/compat"}).variables
    assert found["CUDA_VISIBLE_DEVICES"] == "0"  # the third of the machine, and the only one there
    assert found["LD_LIBRARY_PATH"] == "/compat:/driver"
    assert found["PATH"] == "/opt/env/bin:/bin:/driver/bin"
    assert plan(gpus=passing).variables["LD_LIBRARY_PATH"] == "/driver"
    assert list(found) == sorted(found)


def test_an_image_brings_in_no_gpus_by_itself() -> None:
    image = {"NVIDIA_VISIBLE_DEVICES": "all"}
    assert plan(image_environment=image).variables["NVIDIA_VISIBLE_DEVICES"] == "void"
    given = Passing(variables={"NVIDIA_VISIBLE_DEVICES": "GPU-1"})
    assert plan(image_environment=image, gpus=given).variables["NVIDIA_VISIBLE_DEVICES"] == "GPU-1"
    assert "NVIDIA_VISIBLE_DEVICES" not in plan().variables


def test_shared_memory_is_as_much_as_is_asked_for_and_never_less_than_usual() -> None:
    assert plan(host=HostRequest(shm=1)).shared_memory == plan().shared_memory == SHARED_MEMORY
    assert plan(host=HostRequest(shm=2 * SHARED_MEMORY)).shared_memory == 2 * SHARED_MEMORY


def test_only_the_output_is_writable() -> None:
    assert [(mount.target, mount.read_only) for mount in mounts(plan())] == [
        ("/repro/code", True),
        ("/repro/input/raw/raw", True),
        ("/repro/input/clean.table/table.parquet", True),
        ("/repro/output", False),
    ]
    assert mounts(plan())[0] == Mount(source=Path("/home/user/churn"), target="/repro/code")


def test_other_roots_have_the_same_shape() -> None:
    found = plan(roots=Roots(code="/c", input="/i", output="/o"))
    assert found.argv[2:5] == ("/i/raw/raw", "--table=/i/clean.table/table.parquet", "/o/build/model.pt")
    assert found.variables["REPRO_DATA_RAW"] == "/i/raw/raw"


def test_an_engine_knows_image_and_container_by_these_names() -> None:
    assert plan().tag == f"repro/churn-train:{IMAGE.short}"
    assert plan().container == "repro-20261123-1"
