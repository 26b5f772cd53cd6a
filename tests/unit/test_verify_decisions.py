"""Driver, CUDA, device, image, host: what is decided for each combination that the rules tell apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import locks
import pytest

from repro_env.config.machine import GpuRequest, HostRequest
from repro_env.config.versions import VersionRange
from repro_env.errors import UsageError, VerificationError
from repro_env.lock.cuda import CudaFacts
from repro_env.lock.cuda_drivers import FLOORS, SHIPPED, Service, serves
from repro_env.lock.model import ImageRoot, Lock, LockedBase
from repro_env.verify.checks import check_step
from repro_env.verify.demand import check_allowed, demand
from repro_env.verify.facts import Facts, Gpu, Host
from repro_env.verify.findings import NAMES, Finding, met, not_met, paragraphs, unknown
from repro_env.verify.gpu_checks import check_gpu
from repro_env.verify.host_checks import check_host
from repro_env.verify.runtime import cuda_of

GIB = 2**30
HOST = Host(
    kernel="6.1.0-13-amd64",
    architecture="x86_64",
    processor="Some Processor",
    cpus=16,
    memory=64 * GIB,
    disk=100 * GIB,
    shm=32 * GIB,
    cpu_level=3,
    infiniband=("mlx5_0",),
)
A100 = Gpu(
    index=0,
    name="NVIDIA A100-SXM4-80GB",
    uuid="GPU-0",
    brand="nvidia",
    memory=81920 * 2**20,
    compute_capability="8.0",
    ecc=True,
    peers=(),
    nvlinks=(),
)
PAIR = (replace(A100, peers=(1,), nvlinks=(1,)), replace(A100, index=1, peers=(0,), nvlinks=(0,)))
MIG = replace(A100, name="NVIDIA A100-SXM4-80GB MIG 1g.10gb", mig="1g.10gb", memory=9728 * 2**20)
PARTS = tuple(replace(MIG, uuid=f"MIG-{number}", peers=(), nvlinks=()) for number in range(2))
FACTS = Facts(host=HOST, driver="550.54.15", cuda="12.4", gpus=(A100,))


def decide(asked: GpuRequest, facts: Facts = FACTS, runtime: str = "") -> dict[str, Finding]:
    cuda = CudaFacts(runtime=runtime, origin="a wheel") if runtime else None
    return {finding.name: finding for finding in check_gpu(asked, cuda, facts)}


def gpus(*found: Gpu, **changes: Any) -> Facts:
    return replace(FACTS, gpus=found, **changes)


# CUDA and the driver


@pytest.mark.parametrize(
    ("cuda", "driver", "newest", "expected"),
    [
        ("12.4", "550.54.15", "12.4", Service.WHOLE),  # its own driver
        ("12.4.127", "550.54.15", "12.4", Service.WHOLE),  # a patch version of it
        ("12.1", "550.54.15", "12.4", Service.WHOLE),  # an older one
        ("11.8", "550.54.15", "12.4", Service.WHOLE),  # of an older major version
        ("12.8", "550.54.15", "12.4", Service.MINOR),  # a newer one of the same major version
        ("12.8", "525.60.13", "12.0", Service.MINOR),  # at the floor
        ("12.8", "525.60.12", "12.0", Service.NONE),  # right below it
        ("13.0", "550.54.15", "12.4", Service.NONE),  # a newer major version
        ("13.1", "580.65.06", "13.0", Service.MINOR),
        ("11.8", "450.80.02", "11.0", Service.MINOR),
        ("11.8", "450.51.05", "11.0", Service.NONE),  # 11.0 came with it, minor-version compatibility later
        ("11.0", "450.51.05", "", Service.WHOLE),
        ("11.0", "450.51.05", "11.0", Service.WHOLE),
        ("12.4", "550.54.15", "", Service.WHOLE),  # by the table where the driver does not tell
        ("12.4", "545.23.08", "", Service.MINOR),
        ("12.4", "", "", Service.UNKNOWN),
        ("12.4", "", "12.4", Service.WHOLE),
        ("10.2", "440.33.01", "10.2", Service.WHOLE),
        ("14.0", "700.10", "14.0", Service.WHOLE),  # newer than the tables, and the driver knows it
        ("14.0", "610.43.02", "13.3", Service.UNKNOWN),
    ],
)
def test_what_a_driver_serves(cuda: str, driver: str, newest: str, expected: Service) -> None:
    assert serves(cuda, driver=driver, newest=newest) is expected


@pytest.mark.parametrize("cuda", SHIPPED)
def test_every_toolkit_is_served_by_its_own_driver_and_by_its_floor(cuda: str) -> None:
    assert serves(cuda, driver=SHIPPED[cuda]) is Service.WHOLE
    floor = SHIPPED["11.0"] if cuda == "11.0" else FLOORS[int(cuda.split(".", maxsplit=1)[0])]
    assert serves(cuda, driver=floor) in {Service.WHOLE, Service.MINOR}


@pytest.mark.parametrize(
    ("runtime", "facts", "status", "words"),
    [
        ("12.4", FACTS, "ok", ""),
        ("12.8", FACTS, "ok", "error 222"),
        ("13.0", FACTS, "mismatch", "cuda-compat-13-0"),
        ("13.0", gpus(replace(A100, brand="geforce")), "mismatch", "update the driver to 580.65.06 or newer"),
        ("14.0", FACTS, "unknown", "no driver floor"),
        ("12.4", replace(FACTS, driver="", cuda=""), "unknown", "the driver does not say its version"),
    ],
)
def test_the_driver_for_the_runtime(runtime: str, facts: Facts, status: str, words: str) -> None:
    finding = decide(GpuRequest(), facts, runtime)["cuda"]
    assert finding.status == status
    assert words in finding.why + finding.hint


def test_forward_compatibility_is_no_advice_for_other_gpus() -> None:
    finding = decide(GpuRequest(), gpus(replace(A100, brand="geforce")), "13.0")["cuda"]
    assert "cuda-compat" not in finding.hint


# Devices

RANGE = VersionRange.parse


@pytest.mark.parametrize(
    ("asked", "facts", "name", "status"),
    [
        (GpuRequest(), FACTS, "count", "ok"),
        (GpuRequest(count=2), FACTS, "count", "mismatch"),
        (GpuRequest(count=2), gpus(*PAIR), "count", "ok"),
        (GpuRequest(), gpus(*PAIR), "count", "ok"),  # more than asked for
        (GpuRequest(), gpus(), "count", "mismatch"),
        (GpuRequest(), gpus(Gpu(index=0, problem="GPU is lost")), "gpu", "mismatch"),
        (GpuRequest(), gpus(Gpu(index=0, problem="GPU is lost")), "count", "mismatch"),
        (GpuRequest(), gpus(A100, Gpu(index=1, problem="GPU is lost")), "gpu", "mismatch"),
        (GpuRequest(), gpus(no_driver="no device node"), "gpu", "mismatch"),
        (GpuRequest(names=("A100",)), FACTS, "names", "ok"),
        (GpuRequest(names=("H100", "A100 80GB")), FACTS, "names", "ok"),
        (GpuRequest(names=("A100 40GB",)), FACTS, "names", "mismatch"),
        (GpuRequest(names=("A100",)), gpus(replace(A100, name="")), "names", "unknown"),
        (GpuRequest(memory=80 * GIB), FACTS, "memory", "ok"),
        (GpuRequest(memory=80 * GIB + 1), FACTS, "memory", "mismatch"),
        (GpuRequest(memory=1), gpus(replace(A100, memory=None)), "memory", "unknown"),
        (GpuRequest(memory=10 * 10**9), gpus(MIG), "memory", "ok"),
        (GpuRequest(memory=40 * GIB), gpus(MIG), "memory", "mismatch"),
        (GpuRequest(compute_capability=RANGE(">=8.0")), FACTS, "compute-capability", "ok"),
        (GpuRequest(compute_capability=RANGE(">=8.9")), FACTS, "compute-capability", "mismatch"),
        (GpuRequest(compute_capability=RANGE("==8.*")), FACTS, "compute-capability", "ok"),
        (
            GpuRequest(compute_capability=RANGE(">=9")),
            gpus(replace(A100, compute_capability="10.0")),
            "compute-capability",
            "ok",
        ),
        (
            GpuRequest(compute_capability=RANGE(">=8.0")),
            gpus(A100, replace(A100, index=1, compute_capability="7.5")),
            "compute-capability",
            "mismatch",
        ),
        (
            GpuRequest(compute_capability=RANGE(">=8.0")),
            gpus(replace(A100, compute_capability="")),
            "compute-capability",
            "unknown",
        ),
        (GpuRequest(driver=RANGE(">=550")), FACTS, "driver", "ok"),
        (GpuRequest(driver=RANGE(">=550.54.15")), FACTS, "driver", "ok"),
        (GpuRequest(driver=RANGE(">=550,<550.54.15")), FACTS, "driver", "mismatch"),
        (GpuRequest(driver=RANGE(">=550")), gpus(A100, driver=""), "driver", "unknown"),
        (GpuRequest(mig="1g.10gb"), gpus(MIG), "mig", "ok"),
        (GpuRequest(mig="1g.10gb"), gpus(replace(MIG, mig="2g.20gb")), "mig", "mismatch"),
        (GpuRequest(mig="1g.10gb"), FACTS, "mig", "mismatch"),
        (GpuRequest(ecc=True), FACTS, "ecc", "ok"),
        (GpuRequest(ecc=True), gpus(replace(A100, ecc=False)), "ecc", "mismatch"),
        (GpuRequest(ecc=True), gpus(replace(A100, ecc=None)), "ecc", "unknown"),
        (GpuRequest(count=2, nvlink=True), gpus(*PAIR), "nvlink", "ok"),
        (GpuRequest(count=2, nvlink=True), gpus(PAIR[0], replace(PAIR[1], nvlinks=())), "nvlink", "mismatch"),
        (GpuRequest(count=2, nvlink=True), gpus(PAIR[0], replace(PAIR[1], nvlinks=None)), "nvlink", "unknown"),
        (GpuRequest(count=2, nvlink=True), gpus(*PARTS), "nvlink", "mismatch"),
        (GpuRequest(count=2, peer_access=True), gpus(*PARTS), "peer-access", "mismatch"),
        (GpuRequest(count=2, peer_access=True), gpus(*PAIR), "peer-access", "ok"),
        (GpuRequest(count=2, peer_access=True), gpus(replace(PAIR[0], peers=()), PAIR[1]), "peer-access", "mismatch"),
    ],
)
def test_what_is_decided_of_the_gpus(asked: GpuRequest, facts: Facts, name: str, status: str) -> None:
    assert decide(asked, facts)[name].status == status


def test_one_gpu_has_no_links_to_be_told_of() -> None:
    assert "nvlink" not in decide(GpuRequest(count=2, nvlink=True), gpus(PAIR[0]))


def test_instances_of_mig_are_told_apart() -> None:
    assert decide(GpuRequest(count=2, nvlink=True), gpus(*PARTS))["nvlink"].found == "none between MIG-0 and MIG-1"


def test_without_a_driver_that_alone_is_told() -> None:
    facts = gpus(no_driver="no device node", remedy="start it elsewhere")
    findings = decide(GpuRequest(memory=1, ecc=True), facts, "12.4")
    assert [(one.name, one.found, one.why, one.hint) for one in findings.values()] == [
        ("gpu", "no NVIDIA driver", "no device node", "start it elsewhere")
    ]


def test_a_near_miss_of_memory_tells_of_units() -> None:
    h100 = replace(A100, memory=81559 * 2**20)
    assert "80GB rather than 80GiB" in decide(GpuRequest(memory=80 * GIB), gpus(h100))["memory"].hint
    for other in (81 * 10**9 * 4 // 3, 90 * GIB):
        assert "GB rather" not in decide(GpuRequest(memory=other), gpus(h100))["memory"].hint
    assert decide(GpuRequest(memory=80 * 10**9), gpus(h100))["memory"].is_met
    assert "rather" not in decide(GpuRequest(memory=141 * 10**9), gpus(h100))["memory"].hint


def test_where_some_gpus_will_do_the_hint_names_them() -> None:
    small = replace(A100, index=1, memory=GIB)
    finding = decide(GpuRequest(memory=40 * GIB), gpus(A100, small))["memory"]
    assert finding.hint == "let the step see only GPUs that do: CUDA_VISIBLE_DEVICES=0"
    parts = gpus(replace(MIG, uuid="MIG-1"), replace(MIG, uuid="MIG-2", memory=GIB))
    assert decide(GpuRequest(memory=9 * GIB), parts)["memory"].hint.endswith(" CUDA_VISIBLE_DEVICES=MIG-1")
    both = decide(GpuRequest(count=2, memory=40 * GIB), gpus(A100, small))["memory"]
    assert both.hint == "run the step on a machine with such GPUs"


def test_gpus_of_which_the_same_is_to_be_said_are_told_of_together() -> None:
    small = replace(A100, name="NVIDIA L4", memory=GIB)
    node = gpus(*(replace(small, index=number) for number in range(3)), replace(small, index=3, name="Tesla T4"))
    found = decide(GpuRequest(names=("A100",), memory=10**9 * 40), node)
    assert found["memory"].needed == "40 GB (37.3 GiB) of GPU memory"
    assert found["memory"].found == "GPU 0, 1, 2 (NVIDIA L4): 1.0 GiB; GPU 3 (Tesla T4): 1.0 GiB"
    assert found["names"].found == "GPU 0, 1, 2 (NVIDIA L4); GPU 3 (Tesla T4)"


def test_gpus_that_are_hidden_are_spoken_of() -> None:
    finding = decide(GpuRequest(), gpus(hidden="CUDA_VISIBLE_DEVICES"))["count"]
    assert finding.why == "CUDA_VISIBLE_DEVICES leaves others out"


# The host


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (HostRequest(cpus=16), "cpus"),
        (HostRequest(memory=64 * GIB), "host-memory"),
        (HostRequest(disk=100 * GIB), "disk"),
        (HostRequest(shm=32 * GIB), "shm"),
        (HostRequest(kernel=RANGE(">=6.1")), "kernel"),
        (HostRequest(architecture="x86_64"), "architecture"),
        (HostRequest(cpu="x86-64-v3"), "cpu"),
        (HostRequest(infiniband=True), "infiniband"),
    ],
)
def test_what_is_decided_of_the_host(asked: HostRequest, name: str) -> None:
    [enough] = check_host(asked, HOST)
    assert (enough.name, enough.status) == (name, "ok")
    poor = Host(
        kernel="5.10.0",
        architecture="aarch64",
        cpus=15,
        memory=GIB,
        disk=GIB,
        shm=GIB,
        cpu_level=2,
        infiniband=(),
    )
    [lacking] = check_host(asked, poor)
    assert (lacking.name, lacking.status) == (name, "mismatch")
    [silent] = check_host(asked, Host())
    assert (silent.name, silent.status) == (name, "unknown")


def test_a_processor_is_told_by_its_level() -> None:
    [finding] = check_host(HostRequest(cpu="x86-64-v4"), HOST)
    assert (finding.needed, finding.found) == ("x86-64-v4", "x86-64-v3")
    [other] = check_host(HostRequest(cpu="x86-64-v2"), replace(HOST, architecture="aarch64", cpu_level=0))
    assert (other.status, other.found) == ("mismatch", "aarch64")


# A lock of before there were CUDA facts in it


def test_the_runtime_is_derived_where_the_lock_does_not_tell() -> None:
    environment = locks.with_cuda().steps["train"].environments[locks.AMD64]
    assert cuda_of(replace(environment, cuda=None), locks.root()) == environment.cuda
    assert cuda_of(replace(environment, wheels=(), cuda=None), locks.root()) is None
    of_base = cuda_of(replace(environment, wheels=(), cuda=None), locks.image_root())
    assert of_base is not None
    assert of_base.origin == "CUDA_VERSION 12.8.1 of the base"


# A whole step


def lock_with(gpu: GpuRequest | None, host: HostRequest | None = None, root: ImageRoot | None = None) -> Lock:
    lock = locks.churn()
    step = replace(lock.steps["clean"], gpu=gpu, host=host)
    bases = {"slim": LockedBase(name="slim", image="x:1", roots={locks.AMD64: root})} if root else lock.bases
    return replace(lock, steps={"clean": step}, bases=bases)


def names(lock: Lock, facts: Facts = FACTS) -> list[tuple[str, str]]:
    return [(one.name, one.status) for one in check_step(lock, lock.steps["clean"], facts)]


def test_a_step_that_asks_for_nothing_needs_its_platform_alone() -> None:
    lock = lock_with(None, root=locks.image_root())
    assert names(lock) == [("platform", "ok")]
    assert names(lock, Facts(host=Host(architecture="aarch64"))) == [("platform", "mismatch")]
    assert names(lock, Facts(host=Host())) == [("platform", "unknown")]


def test_everything_is_told_at_once_in_one_order() -> None:
    lock = lock_with(GpuRequest(count=2, memory=GIB), HostRequest(cpus=99, memory=GIB), locks.image_root())
    found = names(lock)
    assert found == [
        ("platform", "ok"),
        ("count", "mismatch"),
        ("memory", "ok"),
        ("cuda", "ok"),
        ("require", "mismatch"),
        ("cpus", "mismatch"),
        ("host-memory", "ok"),
    ]


def test_without_a_driver_the_image_is_not_asked() -> None:
    lock = lock_with(GpuRequest(), root=locks.image_root())
    assert names(lock, gpus(no_driver="none")) == [("platform", "ok"), ("gpu", "mismatch")]


# Overrides

FAILED = [met("count", "1", "1"), not_met("memory", "2", "1", "why", "do"), unknown("ecc", "on", "why")]


def test_what_is_not_met_keeps_a_step_from_starting() -> None:
    with pytest.raises(VerificationError) as caught:
        demand("train", FAILED, ())
    error = caught.value
    assert (error.exit_status, error.exec_status) == (9, 122)
    assert error.why == (
        "memory: needed 2, found 1\n  why\n  do\n"
        "ecc: needed on, found unknown\n  why\n  allow it if you know that it is met"
    )
    assert "--allow memory --allow ecc" in error.hint


def test_what_several_in_a_row_share_is_said_once() -> None:
    several = [not_met("names", "H100", "L4", hint="elsewhere"), not_met("memory", "2", "1", hint="elsewhere")]
    assert paragraphs([*several, not_met("ecc", "on", "off", "why", "elsewhere")]) == (
        "names: needed H100, found L4\nmemory: needed 2, found 1\n  elsewhere\n"
        "ecc: needed on, found off\n  why\n  elsewhere"
    )
    assert paragraphs([]) == ""


def test_what_is_allowed_is_returned_and_the_rest_still_refused() -> None:
    assert demand("train", FAILED, {"memory", "ecc", "count"}) == ("memory", "ecc")
    with pytest.raises(VerificationError, match="not what step train needs") as caught:
        demand("train", FAILED, {"memory"})
    assert "memory" not in caught.value.why


def test_only_names_of_checks_can_be_allowed() -> None:
    assert check_allowed(NAMES) == frozenset(NAMES)
    with pytest.raises(UsageError):
        check_allowed(["vram"])
