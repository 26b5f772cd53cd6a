"""Which GPUs programs can see, what a host is, and that facts come back from their document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.verify.facts import Facts, Gpu, Host
from repro_env.verify.host import cpu_level, read_host
from repro_env.verify.visible import visible

GPUS = tuple(Gpu(index=index, uuid=f"GPU-{index}aaa-0") for index in range(4))
PARTS = tuple(Gpu(index=0, uuid=f"MIG-{number}bbb-0", mig="1g.10gb") for number in range(3))


@pytest.mark.parametrize(
    ("environment", "expected", "hidden"),
    [
        ({}, [0, 1, 2, 3], ""),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, [0, 1, 2, 3], ""),
        ({"CUDA_VISIBLE_DEVICES": "2, 0"}, [2, 0], "CUDA_VISIBLE_DEVICES"),
        ({"CUDA_VISIBLE_DEVICES": ""}, [], "CUDA_VISIBLE_DEVICES"),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, [], "CUDA_VISIBLE_DEVICES"),
        ({"CUDA_VISIBLE_DEVICES": "1,7,2"}, [1], "CUDA_VISIBLE_DEVICES"),  # those before the first that is none
        ({"CUDA_VISIBLE_DEVICES": "1,1"}, [1], "CUDA_VISIBLE_DEVICES"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-3a"}, [3], "CUDA_VISIBLE_DEVICES"),
        ({"CUDA_VISIBLE_DEVICES": "gpu-3a"}, [], "CUDA_VISIBLE_DEVICES"),
        ({"NVIDIA_VISIBLE_DEVICES": "all"}, [0, 1, 2, 3], ""),
        ({"NVIDIA_VISIBLE_DEVICES": ""}, [0, 1, 2, 3], ""),
        ({"NVIDIA_VISIBLE_DEVICES": "none"}, [], "NVIDIA_VISIBLE_DEVICES"),
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, [0, 1, 2, 3], ""),
        ({"NVIDIA_VISIBLE_DEVICES": "1,GPU-2aaa-0"}, [1, 2], "NVIDIA_VISIBLE_DEVICES"),
        ({"NVIDIA_VISIBLE_DEVICES": "4,5,6,7"}, [0, 1, 2, 3], ""),  # heeded by the runtime, and numbered anew
        ({"NVIDIA_VISIBLE_DEVICES": "/var/run/nvidia-container-devices"}, [0, 1, 2, 3], ""),
        ({"NVIDIA_VISIBLE_DEVICES": "2,3", "CUDA_VISIBLE_DEVICES": "3"}, [3], "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_which_gpus_are_visible(environment: Mapping[str, str], expected: list[int], hidden: str) -> None:
    seen, why = visible(GPUS, environment)
    assert ([gpu.index for gpu in seen], why) == (expected, hidden)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, [0, 1, 2]),
        ({"CUDA_VISIBLE_DEVICES": "MIG-1bbb-0"}, [1]),
        ({"CUDA_VISIBLE_DEVICES": "0"}, [0]),
        ({"NVIDIA_VISIBLE_DEVICES": "0:2"}, [2]),
        ({"NVIDIA_VISIBLE_DEVICES": "0:0,MIG-1bbb-0"}, [0, 1]),
    ],
)
def test_which_parts_of_a_gpu_are_visible(environment: Mapping[str, str], expected: list[int]) -> None:
    assert list(visible(PARTS, environment)[0]) == [PARTS[index] for index in expected]


V1 = "lm cmov cx8 fpu fxsr mmx syscall sse sse2"
V2 = f"{V1} cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
V3 = f"{V2} avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"


@pytest.mark.parametrize(
    ("flags", "level"), [("", None), ("mmx", 0), (V1, 1), (V2, 2), (V3, 3), (V4, 4), (V4.replace("avx2 ", ""), 2)]
)
def test_the_level_of_a_processor(flags: str, level: int | None) -> None:
    assert cpu_level(frozenset(flags.split())) == level


def put(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_host_within_the_limits_of_its_control_group(tmp_path: Path) -> None:
    root = put(tmp_path, sys__fs__cgroup__cpu_dot_max="150000 100000\n", sys__fs__cgroup__memory_dot_max="1048576\n")
    host = read_host(tmp_path, root)
    assert (host.cpus, host.memory) == (1, 2**20)
    assert host.shm is None
    assert host.disk
    unlimited = read_host(tmp_path, put(tmp_path / "b", sys__fs__cgroup__cpu_dot_max="max 100000\n"))
    assert (unlimited.cpus or 0) >= 1
    assert (unlimited.memory or 0) > 2**20


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


UNIFIED = {
    "proc/self/cgroup": "0::/system.slice/slurmstepd.scope/job_7/step_0\n",
    "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/memory.max": "3145728\n",
    "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/cpu.max": "100000 100000\n",
    "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0/memory.max": "max\n",
}
FIRST = {
    "proc/self/cgroup": "9:cpu,cpuacct:/slurm/job_7\n4:memory:/slurm/job_7\n1:name=systemd:/slurm\n0::/\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes": "3145728\n",
    "sys/fs/cgroup/cpu/slurm/job_7/cpu.cfs_quota_us": "100000\n",
    "sys/fs/cgroup/cpu/slurm/job_7/cpu.cfs_period_us": "100000\n",
}
# In a container the kernel tells the host's path, and the container's own group is mounted at the top.
INSIDE = {
    "proc/self/cgroup": "4:memory:/docker/0123\n2:cpu:/docker/0123\n0::/../../docker/0123\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "3145728\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000\n",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
}


@pytest.mark.parametrize("files", [UNIFIED, FIRST, INSIDE])
def test_limits_of_every_control_group_above(tmp_path: Path, files: dict[str, str]) -> None:
    host = read_host(tmp_path, write(tmp_path, files))
    assert (host.cpus, host.memory) == (1, 3 << 20)


def test_no_limit_where_none_is_told(tmp_path: Path) -> None:
    quota = "sys/fs/cgroup/cpu/cpu.cfs_quota_us"
    free = read_host(tmp_path, write(tmp_path, {**INSIDE, quota: "-1\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}))
    assert free.cpus == read_host(tmp_path, tmp_path / "nothing").cpus


def test_infiniband_by_its_active_ports(tmp_path: Path) -> None:
    put(tmp_path, sys__class__infiniband__mlx5_0__ports__1__state="4: ACTIVE\n")
    put(tmp_path, sys__class__infiniband__mlx5_0__ports__1__link_layer="InfiniBand\n")
    put(tmp_path, sys__class__infiniband__mlx5_1__ports__1__state="1: DOWN\n")
    put(tmp_path, sys__class__infiniband__mlx5_2__ports__1__state="4: ACTIVE\n")
    put(tmp_path, sys__class__infiniband__mlx5_2__ports__1__link_layer="Ethernet\n")
    assert read_host(tmp_path, tmp_path).infiniband == ("mlx5_0",)
    assert read_host(tmp_path, tmp_path / "none").infiniband == ()


texts = st.text(max_size=8)
lines = st.text(st.characters(exclude_categories=("C", "Z")), max_size=8)
versions = st.sampled_from(["", "550.54.15", "12.8"])
indices = st.none() | st.lists(st.integers(0, 9), max_size=3).map(tuple)
gpus = st.builds(
    Gpu,
    index=st.integers(0, 9),
    name=lines,
    uuid=lines,
    brand=lines,
    memory=st.none() | st.integers(0, 2**40),
    compute_capability=versions,
    ecc=st.none() | st.booleans(),
    mig=lines,
    peers=indices,
    nvlinks=indices,
    problem=lines,
    remedy=lines,
)
hosts = st.builds(
    Host,
    kernel=versions,
    architecture=lines,
    cpus=st.none() | st.integers(0, 999),
    cpu_level=st.none() | st.integers(0, 4),
    infiniband=st.none() | st.lists(lines, max_size=2).map(tuple),
)
facts = st.builds(
    Facts,
    host=hosts,
    driver=versions,
    cuda=versions,
    gpus=st.lists(gpus, max_size=3).map(tuple),
    no_driver=lines,
    remedy=lines,
    hidden=lines,
)


@settings(deadline=None)
@given(facts)
def test_facts_come_back_from_their_document(found: Facts) -> None:
    assert Facts.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_what_a_later_version_adds_is_passed_over_and_what_is_missing_is_unknown() -> None:
    document = {"version": 1, "host": {"numa": 2}, "gpus": [{"index": 0, "tensor_cores": 4}], "fabric": {}}
    assert Facts.from_dict(document) == Facts(host=Host(), gpus=(Gpu(index=0),))


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*Host.__slots__, "gpus", "host"]), inner)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(anything)
def test_any_document_is_read_or_refused(document: object) -> None:
    for whole in (document, {"version": 1, "host": document}, {"version": 1, "host": {}, "gpus": document}):
        try:
            Facts.from_dict(whole)
        except ValueError as error:
            assert str(error)  # noqa: PT017 - either way is right


@pytest.mark.parametrize(
    "document",
    [
        {"host": {}, "gpus": [{"index": 0, "name": "NVIDIA\nH100"}]},
        {"host": {"processor": "\x1b[31m"}},
        {"host": {"infiniband": ["mlx5_0\r"]}},
        {"host": {}, "driver": "550.54\x07"},
        {"host": {}, "no_driver": "\u202enone"},
        {"host": {}, "cuda": "12.8" * 1000},
    ],
)
def test_nothing_gets_in_that_would_not_be_shown_as_it_is(document: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected one line of text"):
        Facts.from_dict({"version": 1, **document})


@pytest.mark.parametrize("key", ["driver", "cuda"])
def test_a_version_of_nothing_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=f"{key}: expected a version such as 550.54.15, found '0.0'"):
        Facts.from_dict({"version": 1, "host": {}, key: "0.0"})


def test_a_gpu_without_a_name_has_a_label() -> None:
    assert GPUS[1].label == "GPU 1"
    assert replace(GPUS[1], name="NVIDIA L4").label == "GPU 1 (NVIDIA L4)"
