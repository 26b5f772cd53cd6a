"""Whatever a machine's facts and a step's needs say: what passes its door is judged, in whole sentences."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.verify.facts import Facts
from repro_env.verify.findings import paragraphs
from repro_env.verify.gpu_choice import choose_gpus
from repro_env.verify.needs import Needs, check

Documents = st.SearchStrategy[dict[str, Any]]


def objects(required: dict[str, Any] | None = None, /, **optional: Any) -> Documents:
    """Return objects with these keys, `-` in place of `_`; what is no strategy is one of a list."""
    strategies = {key.replace("_", "-"): _strategy(values) for key, values in optional.items()}
    return st.fixed_dictionaries({key: _strategy(one) for key, one in (required or {}).items()}, optional=strategies)


def _strategy(values: Any) -> st.SearchStrategy[Any]:
    return values if isinstance(values, st.SearchStrategy) else st.sampled_from(values)


VERSIONS = [
    "",
    "0",
    "0.1",
    "8",
    "7.5",
    "9.0",
    "11.0",
    "12",
    "12.8",
    "13.5.1",
    "99.1",
    "450.80.02",
    "525.60.13",
    "580.65",
]
RANGES = [">=8.0", "<12", "==550.*", ">=0", "<=9.0,!=8.6"]
NUMBERS = [0, 1, 2, 7, 80, 2**30, 80 * 2**30, 10**7]
FLAGS = [True, False]
NAMES = ["NVIDIA H100 80GB HBM3", "Tesla T4", "x"]
INDICES = st.none() | st.lists(st.integers(0, 3), max_size=3)

GPUS = st.fixed_dictionaries(
    {"index": st.integers(0, 3)},
    optional={
        "name": st.sampled_from(["", *NAMES]),
        "uuid": st.sampled_from(["GPU-1", "MIG-2"]),
        "brand": st.sampled_from(["tesla", "nvidia", "geforce"]),
        "memory": st.sampled_from(NUMBERS),
        "compute_capability": st.sampled_from(VERSIONS),
        "ecc": st.booleans(),
        "mig": st.sampled_from(["1g.10gb", "unknown"]),
        "peers": INDICES,
        "nvlinks": INDICES,
        "problem": st.sampled_from(["", "GPU is lost"]),
    },
)
HOSTS = st.fixed_dictionaries(
    {"architecture": st.sampled_from(["x86_64", "x86_64", "aarch64", ""])},
    optional={
        "kernel": st.sampled_from(VERSIONS),
        **dict.fromkeys(("cpus", "memory", "disk", "shm"), st.sampled_from(NUMBERS)),
        "cpu_level": st.integers(0, 9),
        "infiniband": st.lists(st.sampled_from(NAMES), max_size=2),
    },
)
FACTS = objects(
    {"version": [1], "host": HOSTS},
    driver=VERSIONS,
    cuda=VERSIONS,
    gpus=st.lists(GPUS, max_size=3),
    hidden=["CUDA_VISIBLE_DEVICES"],
)
ARCHITECTURES = st.sampled_from(["10", "70", "75", "80", "87", "90a", "100f", "101", "120"])
PTX = st.builds("{}/{}".format, ARCHITECTURES, st.sampled_from(["1.0", "6.0", "8.4", "8.6", "9.9", "99.1", "9", ""]))
LIBRARIES = objects(
    {"package": ["torch 2.7.0", "nvidia-x 1", "a 1"], "path": ["a/b.so", "libx_cu12.so", ""]},
    sass=st.lists(ARCHITECTURES, max_size=3),
    ptx=st.lists(PTX, max_size=2),
    amd=[["gfx90a"]],
    unknown=["it is cut short"],
)
REQUIRE = ["cuda>=12.8 brand=tesla,driver>=535,driver<536", "arch>=0", "12.8.1", "0.0", "cuda=0", "brand!=x", ",", "?"]
NEEDS = objects(
    {
        "version": [1],
        "platform": ["linux/amd64"],
        "gpu": objects(
            count=st.integers(0, 12),
            names=st.lists(st.sampled_from(NAMES), max_size=2),
            memory=NUMBERS,
            compute_capability=RANGES,
            driver=RANGES,
            mig=["1g.10gb"],
            nvlink=FLAGS,
            peer_access=FLAGS,
            ecc=FLAGS,
        ),
    },
    host=objects(
        cpus=NUMBERS,
        memory=NUMBERS,
        shm=NUMBERS,
        kernel=RANGES,
        architecture=["aarch64"],
        cpu=["x86-64-v1", "x86-64-v4"],
        infiniband=FLAGS,
    ),
    cuda=objects({"runtime": VERSIONS, "origin": ["torch 2.7.0+cu128"]}, others=[["12.4 from x"]]),
    compat=objects(cuda=VERSIONS, driver=VERSIONS, branches=st.lists(st.sampled_from([525, 580]), max_size=2)),
    require=st.dictionaries(st.sampled_from(["NVIDIA_REQUIRE_CUDA", "NVIDIA_REQUIRE_X"]), st.sampled_from(REQUIRE)),
    libraries=st.lists(LIBRARIES, max_size=4),
)


@settings(max_examples=400, deadline=None)
@given(NEEDS, FACTS)
def test_every_machine_is_judged(asked: dict[str, Any], machine: dict[str, Any]) -> None:
    try:
        needs, facts = Needs.from_dict(asked), Facts.from_dict(machine)
    except ValueError:
        return
    assert Facts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts
    assert needs.gpu is not None
    for seen in (facts, replace(facts, gpus=choose_gpus(needs.gpu, facts.gpus))):
        findings = check(needs, seen)
        assert all(one.needed and one.found for one in findings)
        text = paragraphs([replace(one, status="unknown") for one in findings])
        assert not [sign for sign in ("None", " ,", ", \n", ": \n", "of \n") if sign in f"{text}\n"]
