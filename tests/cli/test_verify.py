"""`repro verify`, `repro facts` and `repro exec` on recorded machines, through the real NVML binding."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import machines
import pytest
from projects import OnDisk, two_steps

from repro_env.lock.dump import dump_lock
from repro_env.lock.gpu_code import GpuCode
from repro_env.lock.model import Lock, Wheel
from repro_env.record.runs import read_record
from repro_env.values import Digest

Golden = Callable[[str, str], None]
GPU = """
[step.count.gpu]
count = 1
names = ["A100", "H100"]
memory = "40GB"
compute-capability = ">=8.0"
"""


@pytest.fixture(scope="session")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> machines.Nvml:
    built = machines.build(tmp_path_factory.mktemp("nvml"))
    if built is None:
        pytest.skip("there is no C compiler")
    return built


def with_cuda(lock: Lock) -> Lock:
    """Return the lock with a CUDA runtime in step `count`."""
    wheel = Wheel(
        name="nvidia-cuda-runtime-cu12",
        version="12.8.90",
        file="nvidia_cuda_runtime_cu12-12.8.90-py3-none-manylinux2014_x86_64.whl",
        url="https://files.example/nvidia_cuda_runtime_cu12.whl",
        sha256=Digest.of(b"runtime"),
        size=965_000,
    )
    step = lock.steps["count"]
    environments = {key: replace(one, wheels=(wheel,)) for key, one in step.environments.items()}
    return replace(lock, steps={**lock.steps, "count": replace(step, environments=environments)})


@pytest.fixture
def project(tmp_path: Path, nvml: machines.Nvml) -> Callable[..., OnDisk]:
    def make(machine: str, asked: str = GPU) -> OnDisk:
        made = two_steps(tmp_path)
        made.write("repro.toml", (made.root / "repro.toml").read_text() + asked)
        made.write("repro.lock", dump_lock(with_cuda(made.lock())))
        return OnDisk(made.root, nvml.environment(machine))

    return make


def test_a_machine_that_will_do(project: Callable[..., OnDisk], golden: Golden) -> None:
    golden("verify-ok.txt", str(project("h100").repro("verify", "count")))


def test_a_machine_that_will_not(project: Callable[..., OnDisk], golden: Golden) -> None:
    golden("verify-mismatch.txt", str(project("old-driver").repro("verify", "count")))


def test_a_machine_without_a_driver(project: Callable[..., OnDisk], golden: Golden) -> None:
    golden("verify-no-driver.txt", str(project("not-loaded").repro("verify", "count")))


def built(lock: Lock) -> Lock:
    """Return the lock as after a build that found code for GPUs in two packages of step `count`."""
    found = {
        "torch": GpuCode(path="torch/lib/libtorch_cuda.so", sass=("75", "80", "86", "90"), ptx=("90/8.7",)),
        "flash-attn": GpuCode(path="flash_attn_2_cuda.so", sass=("80", "86")),
    }
    wheels = {
        name: Wheel(
            name=name,
            version="2.7.0",
            file=f"{name.replace('-', '_')}-2.7.0-cp311-cp311-linux_x86_64.whl",
            url=f"https://files.example/{name}.whl",
            sha256=Digest.of(name.encode()),
            size=1,
        )
        for name in found
    }
    step = lock.steps["count"]
    environments = {
        key: replace(one, wheels=tuple(sorted((*one.wheels, *wheels.values()))), image=Digest.of(b"image"))
        for key, one in step.environments.items()
    }
    steps = {**lock.steps, "count": replace(step, environments=environments)}
    return replace(lock, steps=steps, gpu_code={wheels[name].sha256: (code,) for name, code in found.items()})


def test_an_extension_without_code_for_the_gpu(project: Callable[..., OnDisk], golden: Golden) -> None:
    there = project("t4", "\n[step.count.gpu]\n")
    there.write("repro.lock", dump_lock(built(with_cuda(there.lock()))))
    golden("verify-kernels.txt", str(there.repro("verify", "count")))
    document = json.loads(there.repro("verify", "--json", "--allow", "kernels", "count").stdout)
    assert document["ok"]
    [finding] = [one for one in document["steps"]["count"]["findings"] if one["name"] == "kernels"]
    assert (finding["status"], finding["allowed"]) == ("mismatch", True)


def test_everything_has_code_for_the_gpu(project: Callable[..., OnDisk]) -> None:
    there = project("a100-80gb", "\n[step.count.gpu]\n")
    there.write("repro.lock", dump_lock(built(with_cuda(there.lock()))))
    answer = there.repro("verify", "count")
    assert answer.status == 0
    assert "2 libraries of 2 packages" in answer.stdout


def test_the_same_as_json(project: Callable[..., OnDisk]) -> None:
    answer = project("old-driver").repro("verify", "--json", "--allow", "cuda", "count")
    assert answer.status == 9
    document = json.loads(answer.stdout)
    findings = {finding["name"]: finding for finding in document["steps"]["count"]["findings"]}
    assert (document["version"], document["ok"]) == (1, False)
    assert {name: one["status"] for name, one in findings.items()} == {
        "platform": "ok",
        "count": "ok",
        "names": "mismatch",
        "memory": "mismatch",
        "compute-capability": "mismatch",
        "cuda": "mismatch",
    }
    assert findings["cuda"]["allowed"]
    assert not findings["names"]["allowed"]
    assert "nvidia-cuda-runtime-cu12 12.8.90" in findings["cuda"]["why"]


def test_what_is_allowed_is_no_failure(project: Callable[..., OnDisk]) -> None:
    names = [word for name in ("names", "memory", "compute-capability", "cuda") for word in ("--allow", name)]
    assert project("old-driver").repro("verify", *names).status == 0


def test_a_laptop_answers_for_the_cluster(project: Callable[..., OnDisk], nvml: machines.Nvml) -> None:
    laptop = project("not-loaded")
    laptop.write("node.json", json.dumps(nvml.facts("a100-8x")))
    laptop.write("small.json", json.dumps(nvml.facts("t4")))
    assert laptop.repro("verify", "--machine", "node.json").status == 0
    assert laptop.repro("verify", "--machine", "small.json").status == 9


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{}", "version is missing"),
        ("[", "Expecting value"),
        ('{"version": 9}', "newer than this program"),
        ('{"version": 1}', "host: expected an object"),
        ('{"version": 1, "host": {"cpus": -1}}', "host.cpus: expected a number from 0 up"),
        ('{"version": 1, "host": {"kernel": "new"}}', "host.kernel: expected a version"),
        ('{"version": 1, "host": {}, "gpus": [{}]}', "gpu.index is missing"),
        ('{"version": 1, "host": {"processor": "\\u001b[31m"}}', "host.processor: expected one line of text"),
        ("[" * 100_000, "maximum recursion depth"),
    ],
)
def test_a_file_that_holds_no_facts(project: Callable[..., OnDisk], content: str, why: str) -> None:
    there = project("h100")
    there.write("node.json", content)
    answer = there.repro("verify", "--machine", "node.json")
    assert answer.status == 2
    assert why in answer.stderr


def test_another_machines_gpus_are_hidden_by_the_steps_own_environment_too(
    project: Callable[..., OnDisk], nvml: machines.Nvml
) -> None:
    laptop = project("not-loaded", '\n[step.clean.gpu]\ncount = 2\n[step.clean.env]\nCUDA_VISIBLE_DEVICES = "0"\n')
    laptop.write("node.json", json.dumps(nvml.facts("a100-8x")))
    answer = laptop.repro("verify", "--machine", "node.json", "clean")
    assert answer.status == 9
    assert "CUDA_VISIBLE_DEVICES leaves others out" in answer.stdout


def test_a_check_that_is_none(project: Callable[..., OnDisk]) -> None:
    there = project("h100")
    assert there.repro("verify", "--allow", "vram").status == 2
    answer = there.repro("exec", "--allow", "vram", "count")
    assert answer.status == 120
    assert "--allow vram: there is no such check" in answer.stderr


def test_a_step_does_not_start_on_the_wrong_machine(project: Callable[..., OnDisk], golden: Golden) -> None:
    there = project("rtx-4090")
    golden("exec-wrong-machine.txt", str(there.repro("exec", "--runtime", "venv", "count")))
    assert not (there.root / ".repro" / "runs").exists()


def test_a_run_says_what_was_allowed(project: Callable[..., OnDisk]) -> None:
    asked = "\n[step.clean.gpu]\n[step.clean.host]\ncpus = 100000\n"
    there = project("h100", asked)
    assert there.repro("exec", "--runtime", "venv", "clean").status == 122
    answer = there.repro("exec", "--runtime", "venv", "--allow", "cpus", "--json", "clean")
    assert answer.status == 0
    [record] = (there.root / ".repro" / "runs").glob("*/record.json")
    assert read_record(record).waived == ("cpus",)


def test_a_step_that_asks_for_nothing_starts_without_a_look_at_the_machine(project: Callable[..., OnDisk]) -> None:
    there = project("no-permission", "")
    assert there.repro("exec", "--runtime", "venv", "clean").status == 0


def test_a_step_sees_the_gpus_that_were_verified(project: Callable[..., OnDisk]) -> None:
    asked = "\n[step.clean.gpu]\ncount = 2\n"
    there = project("a100-8x", asked)
    there.write("clean.py", "import os, sys; open(sys.argv[2], 'w').write(os.environ['CUDA_VISIBLE_DEVICES'])\n")
    fewer = OnDisk(there.root, {**there.env, "CUDA_VISIBLE_DEVICES": "5"})
    answer = fewer.repro("exec", "clean")
    assert answer.status == 122
    assert "CUDA_VISIBLE_DEVICES leaves others out" in answer.stderr
    enough = OnDisk(there.root, {**there.env, "CUDA_VISIBLE_DEVICES": "5,6"})
    assert enough.repro("exec", "--runtime", "venv", "clean").status == 0
    assert (there.root / "build" / "table.csv").read_text() == "5,6"


def test_a_step_is_given_as_many_gpus_as_it_asks_for(project: Callable[..., OnDisk]) -> None:
    there = project("a100-8x", "\n[step.clean.gpu]\ncount = 2\n")
    there.write("clean.py", "import os, sys; open(sys.argv[2], 'w').write(os.environ['CUDA_VISIBLE_DEVICES'])\n")
    assert there.repro("exec", "--runtime", "venv", "clean").status == 0
    assert (there.root / "build" / "table.csv").read_text() == "0,1"


def test_one_lost_gpu_keeps_no_step_from_another(project: Callable[..., OnDisk]) -> None:
    there = project("lost-gpu", "\n[step.clean.gpu]\n")
    assert there.repro("verify", "clean").status == 0
    assert "GPU is lost" in project("lost-gpu", "\n[step.clean.gpu]\ncount = 2\n").repro("verify", "clean").stdout


@pytest.mark.bwrap
@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has the device nodes")
def test_a_runtime_that_cannot_give_the_gpus_is_refused_with_the_reason(project: Callable[..., OnDisk]) -> None:
    answer = project("h100").repro("exec", "--runtime", "bwrap", "count")
    assert answer.status == 123
    assert "bwrap: it cannot give the step its GPUs: there is no device node /dev/nvidiactl" in answer.stderr


def test_a_steps_own_environment_hides_gpus_too(project: Callable[..., OnDisk]) -> None:
    asked = '\n[step.clean.gpu]\ncount = 2\n[step.clean.env]\nCUDA_VISIBLE_DEVICES = "0"\n[step.count.gpu]\ncount = 8\n'
    answer = project("a100-8x", asked).repro("verify", "--json")
    steps = json.loads(answer.stdout)["steps"]
    assert {name: step["ok"] for name, step in steps.items()} == {"clean": False, "count": True}
