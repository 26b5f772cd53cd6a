"""A step's image begins with the check of its machine where one is asked for, and tells NVIDIA's toolkit the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import locks
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layers import files_of

from repro_env.build.code import Code
from repro_env.build.entry import LABEL, program_layer
from repro_env.build.native import step_image
from repro_env.build.nvidia import nvidia_variables
from repro_env.config.machine import GpuRequest, HostRequest
from repro_env.config.versions import VersionRange
from repro_env.image.layer import Layer
from repro_env.image.oci import Image
from repro_env.image.store import Store
from repro_env.lock.cuda import CudaFacts
from repro_env.lock.gpu_code import GpuCode
from repro_env.lock.model import Lock, LockedStep
from repro_env.values import PythonVersion
from repro_env.verify.facts import Facts, Gpu, Host
from repro_env.verify.needs import Needs
from repro_env.verify.program import interpreter_arguments, program_digest, program_files
from repro_env.verify.require import check_require, parse_require

GPU = GpuRequest(compute_capability=VersionRange.parse(">=8.0"), driver=VersionRange.parse(">=535,<560"))


def members(store: Store, layer: Layer) -> dict[str, bytes]:
    return {path: found.content for path, found in files_of(store, layer).items()}


def image_of(
    store: Store,
    *,
    gpu: GpuRequest | None = None,
    host: HostRequest | None = None,
    lock: Lock | None = None,
    **env: str,
) -> Image:
    lock = lock or locks.churn()
    step = replace(lock.steps["train"], gpu=gpu, host=host)
    base = Image(platform=locks.AMD64, layers=(), env={"PATH": "/bin", **env})
    return step_image(lock, step, locks.AMD64, base, code=Code(()), store=store)


def test_a_step_that_asks_nothing_starts_at_once(store: Store) -> None:
    image = image_of(store)
    assert image.entrypoint == ()
    assert [layer.comment for layer in image.layers] == ["the step's code"]
    assert LABEL not in image.labels
    assert "repro/needs.json" not in members(store, image.layers[0])
    assert not any(name.startswith("NVIDIA") for name in image.env)


@pytest.mark.parametrize(("gpu", "host"), [(GpuRequest(), None), (None, HostRequest(cpus=2))])
def test_a_step_that_asks_begins_with_the_check(store: Store, gpu: GpuRequest | None, host: HostRequest | None) -> None:
    image = image_of(store, gpu=gpu, host=host)
    assert image.entrypoint == ("/opt/env/bin/python", "-I", "-S", "-B", "/repro/verify/enter.py")
    assert image.command == image_of(store).command
    assert [layer.comment for layer in image.layers] == ["what checks the machine", "the step's code"]
    assert image.labels[LABEL] == f"sha256:{program_digest()}"


def test_its_slice_stands_beside_the_program(store: Store) -> None:
    image = image_of(store, gpu=GPU, host=HostRequest(memory=2**30))
    document = members(store, image.layers[1])["repro/needs.json"]
    needs = Needs.from_dict(json.loads(document))
    assert (needs.project, needs.step, needs.platform) == ("churn", "train", "linux/amd64")
    assert (needs.gpu, needs.host) == (GPU, HostRequest(memory=2**30))
    assert needs.libraries == ()


def test_what_is_known_of_gpu_code_is_in_the_first_image_as_in_the_next(store: Store) -> None:
    lock = locks.churn()
    step = lock.steps["train"]
    (platform,) = step.environments
    environment = step.environments[platform]
    code = {environment.wheels[0].sha256: (GpuCode(path="a.so", sass=("80", "90a"), ptx=("90/8.4",)),)}
    images = {
        image_of(store, gpu=GPU, lock=with_image(replace(lock, gpu_code=code), recorded=recorded)).layers[1].digest
        for recorded in (True, False)
    }
    assert len(images) == 1


def with_image(lock: Lock, *, recorded: bool) -> Lock:
    step = lock.steps["train"]
    environments = {
        platform: replace(environment, image=locks.digest("x") if recorded else None)
        for platform, environment in step.environments.items()
    }
    return replace(lock, steps={**lock.steps, "train": replace(step, environments=environments)})


def test_an_old_python_cannot_check(store: Store) -> None:
    lock = locks.churn()
    step: LockedStep = replace(lock.steps["train"], python=PythonVersion(7))
    image = image_of(store, gpu=GpuRequest(), lock=replace(lock, steps={**lock.steps, "train": step}))
    assert image.entrypoint == ()
    assert image.env["NVIDIA_VISIBLE_DEVICES"] == "all"


def test_the_programs_layer_is_the_program(store: Store, tmp_path: Path) -> None:
    layer = program_layer(store)
    assert members(store, layer) == {f"repro/verify/{name}": content for name, content in program_files().items()}
    assert program_layer(Store(tmp_path / "other")) == layer
    assert interpreter_arguments("x")[-1] == "/repro/verify/enter.py"


def variables(gpu: GpuRequest | None = None, cuda: CudaFacts | None = None, **base: str) -> dict[str, str]:
    needs = Needs(project="churn", step="train", platform="linux/amd64", gpu=gpu, cuda=cuda)
    return nvidia_variables(needs, base)


CUDA = CudaFacts(runtime="12.8", origin="torch", driver="525.60.13")


@pytest.mark.parametrize(
    ("gpu", "cuda", "base", "require"),
    [
        (GpuRequest(), None, {}, None),
        (GpuRequest(), CUDA, {}, "driver>=525.60.13"),
        (GPU, CUDA, {}, "arch>=8.0,driver>=535,driver<560,driver>=525.60.13"),
        # What the toolkit reads into an older image's CUDA_VERSION, which it no longer does beside NVIDIA_REQUIRE_CUDA.
        (GPU, CUDA, {"CUDA_VERSION": "12.8.1"}, "arch>=8.0,driver>=535,driver<560,cuda>=12.8"),
        # A base that knows which older drivers its compatibility packages bridge is not narrowed to the floor.
        (
            GpuRequest(),
            CUDA,
            {"NVIDIA_REQUIRE_CUDA": "cuda>=12.8 brand=tesla,driver>=470,driver<471"},
            "cuda>=12.8 brand=tesla,driver>=470,driver<471",
        ),
        (
            GpuRequest(compute_capability=VersionRange.parse("==8.*")),
            CUDA,
            {"NVIDIA_REQUIRE_CUDA": "cuda>=12.8 brand=tesla,driver>=470"},
            "cuda>=12.8,arch>=8,arch<9 brand=tesla,driver>=470,arch>=8,arch<9",
        ),
        (GpuRequest(compute_capability=VersionRange.parse("==8.6,!=9.*")), None, {}, "arch=8.6"),
    ],
)
def test_requirements_in_the_toolkits_words(
    gpu: GpuRequest, cuda: CudaFacts | None, base: dict[str, str], require: str | None
) -> None:
    found = variables(gpu, cuda, **base)
    assert found["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert found["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert found.get("NVIDIA_REQUIRE_CUDA") == require
    assert parse_require(require or "") is not None


def test_a_step_without_gpus_gets_none_on_a_base_that_asks_for_all() -> None:
    assert variables(NVIDIA_VISIBLE_DEVICES="all", NVIDIA_REQUIRE_CUDA="cuda>=12") == {"NVIDIA_VISIBLE_DEVICES": "void"}
    assert variables(PATH="/bin") == {}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("compute,utility", "compute,utility"),
        ("video", "compute,utility,video"),
        ("all", "all"),
        ("", "compute,utility"),
    ],
)
def test_what_the_base_asks_of_the_driver_stays(given: str, expected: str) -> None:
    assert variables(GpuRequest(), NVIDIA_DRIVER_CAPABILITIES=given)["NVIDIA_DRIVER_CAPABILITIES"] == expected


def test_the_step_may_say_otherwise(store: Store) -> None:
    lock = locks.churn()
    step = replace(lock.steps["train"], env={"NVIDIA_VISIBLE_DEVICES": "1"})
    image = image_of(store, gpu=GpuRequest(), lock=replace(lock, steps={**lock.steps, "train": step}))
    assert image.env["NVIDIA_VISIBLE_DEVICES"] == "1"


conditions = st.sampled_from(["cuda>=12.4", "cuda>=12.8", "brand=tesla", "brand=nvidia", "driver>=535", "driver<550"])
alternatives = st.lists(st.lists(conditions, min_size=1, max_size=3).map(",".join), min_size=1, max_size=3).map(
    " ".join
)
ranges = st.sampled_from(["", ">=8.0", "==8.*", ">=7.5,<9", "!=8.6", "==9.0"]).map(
    lambda text: VersionRange.parse(text) if text else VersionRange()
)


@given(
    alternatives,
    ranges,
    st.sampled_from(["7.5", "8.0", "8.6", "9.0"]),
    st.sampled_from([("535.104", "12.2"), ("550.54", "12.4"), ("575.51", "12.9")]),
    st.sampled_from(["tesla", "nvidia", "geforce"]),
)
def test_it_holds_where_the_bases_and_the_steps_both_hold(
    given: str, wanted: VersionRange, capability: str, driver: tuple[str, str], brand: str
) -> None:
    gpu = Gpu(index=0, brand=brand, compute_capability=capability)
    facts = Facts(host=Host(), driver=driver[0], cuda=driver[1], gpus=(gpu,))
    both = variables(GpuRequest(compute_capability=wanted), NVIDIA_REQUIRE_CUDA=given)["NVIDIA_REQUIRE_CUDA"]

    def holds(text: str) -> bool:
        return all(finding.is_met for finding in check_require({"NVIDIA_REQUIRE_CUDA": text}, facts))

    assert holds(both) == (holds(given) and wanted.accepts(capability))
