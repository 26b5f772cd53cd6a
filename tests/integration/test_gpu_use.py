"""What a step uses of its GPUs, through the real NVML binding on recorded machines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import machines
import pytest

from repro_env.verify.gpu_use import GpuUse, GpuWatch

PROGRAM = """
import sys, time
from repro_env.verify.gpu_use import GpuWatch
with GpuWatch(sys.argv[1:], interval=0.05) as watch:
    time.sleep(0.5)
print(watch.use.memory, watch.use.utilisation)
"""


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> machines.Nvml:
    built = machines.build(tmp_path_factory.mktemp("nvml"))
    if built is None:
        pytest.skip("there is no C compiler")
    return built


def used(nvml: machines.Nvml, machine: str, *uuids: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *uuids],
        env={**os.environ, **nvml.environment(machine)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_memory_is_of_all_together_and_utilisation_their_mean(nvml: machines.Nvml) -> None:
    whole = machines.profile("a100-8x")["gpus"][0]["memory_mib"] * 2**20
    memory, utilisation = used(nvml, "a100-8x", machines.uuid("GPU", 0), machines.uuid("GPU", 1))
    assert int(memory) == 2 * (whole // 4)
    assert float(utilisation) == pytest.approx(0.3)


def test_a_mig_instance_tells_its_memory_alone(nvml: machines.Nvml) -> None:
    memory, utilisation = used(nvml, "a100-mig", machines.uuid("MIG", 0))
    assert int(memory) > 0
    assert utilisation == "None"


@pytest.mark.parametrize("machine", ["not-loaded", "lost-gpu", "h100"])
def test_where_nvml_does_not_answer_nothing_is_known(machine: str, nvml: machines.Nvml) -> None:
    assert used(nvml, machine, machines.uuid("GPU", 7)) == ["None", "None"]


def test_a_step_without_gpus_is_not_watched(tmp_path: Path) -> None:
    with GpuWatch([]) as watch:
        pass
    assert watch.use == GpuUse()
