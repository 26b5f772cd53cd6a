"""`[step.X.gpu]` and `[step.X.host]`: what can be asked, what is refused, and what the lock makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.config.gpu_models import MODELS
from repro_env.config.machine import GpuRequest, HostRequest, amount, name_matches
from repro_env.config.model import Step
from repro_env.config.read import read_project
from repro_env.config.versions import VersionRange, _clause, version
from repro_env.errors import ConfigError
from repro_env.lock.diff import diff, diff_lines
from repro_env.lock.drift import drift, locked_step
from repro_env.lock.dump import dump_lock
from repro_env.lock.model import DebianRoot, Environment, Lock, LockedBase
from repro_env.lock.parse import parse_lock
from repro_env.lock.request import request_digests

MACHINES = Path(__file__).parents[2] / "fixtures/machines"
HEAD = """\
[project]
name = "churn"

[base.slim]
debian = "bookworm"

[step.train]
base = "slim"
python = "3.11"
command = ["python", "train.py"]
"""
WHOLE = """
[step.train.gpu]
count = 2
names = ["A100 80GB", "H100"]
memory = ">=40GiB"
compute-capability = ">=8.0,!=8.6"
driver = ">=535,<600"
nvlink = true
peer-access = true
ecc = true

[step.train.host]
cpus = 8
memory = "64GiB"
disk = "1TB"
shm = "8GiB"
kernel = ">=5.10"
architecture = "x86_64"
cpu = "x86-64-v3"
infiniband = true
"""


def step(text: str) -> Step:
    return read_project(HEAD + text, file="repro.toml").steps["train"]


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        step(text)
    return [f"{problem.key}: {problem.message}" for problem in caught.value.problems]


def test_everything_that_can_be_asked() -> None:
    found = step(WHOLE)
    assert found.gpu == GpuRequest(
        count=2,
        names=("A100 80GB", "H100"),
        memory=40 * 2**30,
        compute_capability=VersionRange.parse(">=8.0,!=8.6"),
        driver=VersionRange.parse(">=535,<600"),
        nvlink=True,
        peer_access=True,
        ecc=True,
    )
    assert found.host == HostRequest(
        cpus=8,
        memory=64 * 2**30,
        disk=10**12,
        shm=8 * 2**30,
        kernel=VersionRange.parse(">=5.10"),
        architecture="x86_64",
        cpu="x86-64-v3",
        infiniband=True,
    )


@pytest.mark.parametrize("profile", ["1g.10gb", "7g.141gb", "1g.10gb+me", "1g.24gb+me.all", "1g.24gb-me", "1c.3g.20gb"])
def test_profiles_of_mig_as_nvidia_names_them(profile: str) -> None:
    found = step(f"gpu.mig = '{profile}'").gpu
    assert found is not None
    assert found.mig == profile


def test_processors_are_those_of_the_platforms() -> None:
    both = HEAD.replace('"churn"', '"churn"\nplatforms = ["linux/amd64", "linux/arm64"]')
    arm = HEAD.replace('"churn"', '"churn"\nplatforms = ["linux/arm64"]')
    for asked in ("host.architecture = 'aarch64'", "host.cpu = 'x86-64-v3'", "gpu.compute-capability = '<90'"):
        read_project(both + asked, file="repro.toml")
    with pytest.raises(ConfigError) as caught:
        read_project(f"{arm}host.cpu = 'x86-64-v3'", file="repro.toml")
    assert [problem.key for problem in caught.value.problems] == ["step.train.host.cpu"]


def test_an_empty_table_asks_for_one_gpu_and_for_nothing_of_the_host() -> None:
    found = step("[step.train.gpu]\n[step.train.host]\n")
    assert (found.gpu, found.host) == (GpuRequest(count=1), None)
    assert step("").gpu is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpu.count = 0", "gpu.count: expected a number from 1 to 1000000, found 0"),
        ("gpu.count = true", "gpu.count: expected a number, found a boolean"),
        ("gpu.cuda = '12'", "gpu.cuda: unknown key"),
        ("gpu.names = []", "gpu.names: expected at least one, found an empty list"),
        ("gpu.names = ['--']", 'gpu.names[0]: expected a model such as "H100" or "A100 80GB", found "--"'),
        ("gpu.memory = '40 potatoes'", "gpu.memory: expected a size such as 512MiB or 40GiB, found '40 potatoes'"),
        (
            f"gpu.memory = '{'9' * 400}GiB'",
            f"gpu.memory: expected a size such as 512MiB or 40GiB, found '{'9' * 400}GiB'",
        ),
        ("gpu.memory = '0GiB'", "gpu.memory: expected more than nothing"),
        (
            "gpu.compute-capability = '8.0'",
            (
                'gpu.compute-capability: expected conditions such as ">=8.0" or ">=535,<560", '
                'found "8.0"; write ">=8.0" for that or newer'
            ),
        ),
        ("gpu.compute-capability = '>=9,<8'", 'gpu.compute-capability: no version can be ">=9,<8"'),
        ("gpu.compute-capability = '>=70'", "gpu.compute-capability: there is no 70: sm_70 is 7.0"),
        ("gpu.compute-capability = '==103'", "gpu.compute-capability: there is no 103: sm_103 is 10.3"),
        ("gpu.driver = '==550.*,>=560'", 'gpu.driver: no version can be "==550.*,>=560"'),
        ("gpu.mig = '1c.10gb'", 'gpu.mig: expected a MIG profile such as "1g.10gb", found "1c.10gb"'),
        ("gpu.mig = '10gb'", 'gpu.mig: expected a MIG profile such as "1g.10gb", found "10gb"'),
        ("gpu.nvlink = true", "gpu.nvlink: is between GPUs, and count asks for one"),
        ("gpu = {count = 2, mig = '1g.10gb', peer-access = true}", "gpu.peer-access: is not between MIG instances"),
        (
            "gpu = {mig = '1g.10gb', compute-capability = '<8'}",
            "gpu.mig: begins with compute capability 8.0, and compute-capability is <8",
        ),
        ("gpu = {mig = '1g.10gb', memory = '20GB'}", "gpu.memory: a 1g.10gb instance has less than 18.6 GiB"),
        ("host.cpus = -1", "host.cpus: expected a number from 1 to 1000000, found -1"),
        ("host.kernel = 'new'", 'host.kernel: expected conditions such as ">=8.0" or ">=535,<560", found "new"'),
        ("host.architecture = 'amd64'", 'host.architecture: expected one of x86_64, aarch64, found "amd64"'),
        (
            "host.cpu = 'avx2'",
            'host.cpu: expected one of x86-64-v1, x86-64-v2, x86-64-v3, x86-64-v4, found "avx2"',
        ),
        (
            "host = {architecture = 'aarch64', cpu = 'x86-64-v3'}",
            "host.cpu: x86-64-v3 is of x86_64, and architecture is aarch64",
        ),
        ("host.architecture = 'aarch64'", "host.architecture: the project's platforms have x86_64 alone"),
        ("host = {memory = '1GiB', shm = '2GiB'}", "host.shm: is memory, and more than memory asks for"),
    ],
)
def test_what_is_refused(text: str, expected: str) -> None:
    assert problems(text) == [f"step.train.{expected}"]


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        (
            "names = ['T4'], compute-capability = '>=8.0'",
            ["compute-capability: names asks for T4, which has compute capability 7.5"],
        ),
        ("names = ['NVIDIA L4'], memory = '40GiB'", ["memory: names asks for NVIDIA L4, which has 24 GiB at most"]),
        ("names = ['A100 40GB'], memory = '80GB'", ["memory: names asks for A100 40GB, which has 40 GiB at most"]),
        ("names = ['a100'], memory = '96GiB'", ["memory: names asks for a100, which has 80 GiB at most"]),
        ("names = ['L40S'], mig = '1g.5gb'", ["mig: names asks for L40S, which has no MIG"]),
        ("names = ['RTX 4090'], count = 2, nvlink = true", ["nvlink: names asks for RTX 4090, which has no NVLink"]),
        (
            "names = ['T4'], count = 2, nvlink = true, memory = '20GiB', compute-capability = '==8.*'",
            [
                "compute-capability: names asks for T4, which has compute capability 7.5",
                "memory: names asks for T4, which has 16 GiB at most",
                "nvlink: names asks for T4, which has no NVLink",
            ],
        ),
        (
            "names = ['T4', 'V100'], compute-capability = '>=8.0', memory = '20GiB'",
            [
                (
                    "compute-capability: names asks for T4, which has compute capability 7.5 "
                    "and for V100, which has compute capability 7.0"
                )
            ],
        ),
        (
            "names = ['V100', 'L4'], compute-capability = '>=8.0', memory = '30GiB'",
            ["names: none of them is all that is asked for: V100 has compute capability 7.0; L4 has 24 GiB at most"],
        ),
    ],
)
def test_a_model_that_is_never_what_else_is_asked_for_is_refused(gpu: str, expected: list[str]) -> None:
    assert problems(f"gpu = {{{gpu}}}") == [f"step.train.gpu.{line}" for line in expected]


@pytest.mark.parametrize(
    "gpu",
    [
        "names = ['A100'], memory = '80GiB'",  # one of them has it
        "names = ['H100 80GB'], memory = '79GiB', compute-capability = '>=9.0'",
        "names = ['H100 80GB'], mig = '1g.10gb'",
        "names = ['T4', 'L4'], compute-capability = '>=8.0'",  # the other is
        "names = ['T4', 'H400'], compute-capability = '>=8.0'",  # nobody knows the other
        "names = ['H400'], memory = '1TB'",
        "names = ['RTX 6000'], memory = '96GiB'",  # four generations of them
        "names = ['NVIDIA'], memory = '96GiB'",
        "names = ['RTX 4090'], memory = '40GiB'",  # people rebuild them
        "names = ['A100-40C'], memory = '48GiB'",  # a virtual one
        "names = ['T4'], memory = '15GiB', compute-capability = '>=7.5', driver = '<600', ecc = true",
        "names = ['V100'], count = 2, nvlink = true",
    ],
)
def test_a_model_that_may_be_what_else_is_asked_for_is_not_refused(gpu: str) -> None:
    assert step(f"gpu = {{{gpu}}}").gpu is not None


def test_models_that_are_told_apart_and_agree_with_recorded_machines() -> None:
    for word, model in MODELS.items():
        for card in model.cards:
            assert [other for other in MODELS if name_matches(other, card)] == [word]
    recorded = [gpu for path in MACHINES.glob("*.json") for gpu in json.loads(path.read_bytes()).get("gpus", ())]
    assert len(recorded) > 10
    for gpu in recorded:
        (model,) = (model for word, model in MODELS.items() if name_matches(word, gpu["name"]))
        assert model.compute_capability == ".".join(map(str, gpu["capability"]))
        assert model.mig or "mig" not in gpu
        assert gpu["memory_mib"] <= (model.cards[gpu["name"]] or 24) * 1024


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        ("A100 80GB", "NVIDIA A100-SXM4-80GB", True),
        ("a100", "NVIDIA A100 80GB PCIe", True),
        ("A100 40GB", "NVIDIA A100-SXM4-80GB", False),
        ("L4", "NVIDIA L4", True),
        ("L4", "NVIDIA L40S", False),
        ("RTX 4090", "NVIDIA GeForce RTX 4090", True),
        ("4090 RTX", "NVIDIA GeForce RTX 4090", False),
        ("T4", "Tesla T4", True),
    ],
)
def test_models_by_their_words(wanted: str, found: str, same: bool) -> None:
    assert name_matches(wanted, found) is same


def locked(text: str) -> tuple[Lock, str]:
    project = read_project(HEAD + text, file="repro.toml")
    platform = project.platforms[0]
    environment = Environment(interpreter="3.11.2", wheels=())
    root = DebianRoot(glibc="2.36", python="3.11.2", sources=(), packages=())
    lock = Lock(
        project="churn",
        inputs=request_digests(project, {}),
        bases={"slim": LockedBase(name="slim", suite="bookworm", roots={platform: root})},
        steps={"train": locked_step(project.steps["train"], {platform: environment})},
        data={},
    )
    return lock, dump_lock(lock)


def test_the_lock_holds_it_in_tables_of_its_own_and_reads_it_back() -> None:
    lock, text = locked(WHOLE)
    assert parse_lock(text) == lock
    assert '[step.train.gpu]\ncount = 2\nnames = ["A100 80GB", "H100"]\nmemory = 42949672960\n' in text
    assert "[step.train.host]\ncpus = 8\nmemory = 68719476736\n" in text
    assert "gpu" not in locked("")[1]


def test_another_requirement_makes_the_lock_stale_and_needs_no_new_resolution() -> None:
    lock, _ = locked(WHOLE)
    project = read_project(HEAD + WHOLE.replace("count = 2", "count = 4"), file="repro.toml")
    digests = request_digests(project, {})
    assert [str(change) for change in drift(lock, project, digests)] == ["step train: gpu changed"]
    assert digests["step.train.python"] == lock.inputs["step.train.python"]


def test_the_difference_in_words() -> None:
    other = WHOLE.replace("count = 2", "count = 4").replace("nvlink = true\n", "").replace("40GiB", "80GB")
    assert diff_lines(diff(locked(WHOLE)[0], locked(other)[0])) == (
        "step train",
        "  gpu count: 2 -> 4",
        "  gpu memory: 40.0 GiB -> 80 GB (74.5 GiB)",
        "  - gpu nvlink: true",
    )


clauses = st.tuples(
    st.sampled_from([">=", "<=", "==", "!=", ">", "<"]),
    st.lists(st.integers(0, 3), min_size=1, max_size=3).map(lambda numbers: ".".join(map(str, numbers))),
    st.booleans(),
).map(lambda parts: parts[0] + parts[1] + (".*" if parts[2] and parts[0] in {"==", "!="} else ""))
versions = st.lists(st.integers(0, 4), min_size=1, max_size=4).map(lambda numbers: ".".join(map(str, numbers)))


@settings(deadline=None)
@given(st.lists(clauses, min_size=1, max_size=4), st.lists(versions, max_size=30))
def test_a_range_that_is_refused_accepts_nothing_and_another_comes_back_from_its_text(
    parts: list[str], tried: list[str]
) -> None:
    text = ",".join(parts)
    try:
        found = VersionRange.parse(text)
    except ValueError:
        for one in tried:
            assert not all(_clause(part, part).accepts(version(one)) for part in parts)
        return
    assert VersionRange.parse(str(found)) == found
    assert all(VersionRange.parse(part).meets(text) for part in parts)
    assert all(found.accepts(one) == found.accepts(f"{one}.0") for one in tried)


@settings(deadline=None)
@given(st.text(max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (VersionRange.parse, version, amount):
        try:
            read(text)
        except ValueError as error:
            assert str(error)  # noqa: PT017 - either way is right
