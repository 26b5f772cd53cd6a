"""`NVIDIA_REQUIRE_*`: the grammar, who satisfies it, and what is told where nobody does."""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.verify.facts import Facts, Gpu, Host
from repro_env.verify.require import Condition, check_require, parse_require, requirements

# Of the images nvidia/cuda:10.1, 11.1 and, shortened, 12.0 and 12.2.
CUDA_10_1 = " ".join(["cuda>=10.1", *(f"brand=tesla,driver>={n},driver<{n + 1}" for n in (396, 410, 418))])
CUDA_11_1 = "cuda>=11.1 brand=tesla,driver>=418,driver<419 brand=tesla,driver>=440,driver<441 driver>=450"
CUDA_12_2 = (
    "cuda>=12.2 brand=tesla,driver>=470,driver<471 brand=unknown,driver>=470,driver<471 "
    "brand=nvidia,driver>=470,driver<471 brand=geforce,driver>=470,driver<471 brand=tesla,driver>=525,driver<526 "
    "brand=nvidia,driver>=525,driver<526 brand=quadrortx,driver>=525,driver<526"
)


def machine(*, cuda: str, driver: str, brand: str = "nvidia", arch: str = "8.0", count: int = 1) -> Facts:
    gpus = tuple(Gpu(index=index, name="GPU", brand=brand, compute_capability=arch) for index in range(count))
    return Facts(host=Host(), driver=driver, cuda=cuda, gpus=gpus)


def judged(text: str, facts: Facts) -> str:
    [finding] = check_require({"NVIDIA_REQUIRE_CUDA": text}, facts)
    return finding.status


@pytest.mark.parametrize(
    ("text", "facts", "expected"),
    [
        ("cuda>=9.0", machine(cuda="12.4", driver="550.54.15"), "ok"),
        ("cuda>=12.8", machine(cuda="12.4", driver="550.54.15"), "mismatch"),
        (CUDA_10_1, machine(cuda="10.1", driver="418.67"), "ok"),
        (CUDA_10_1, machine(cuda="10.0", driver="410.79", brand="tesla"), "ok"),
        (CUDA_10_1, machine(cuda="10.0", driver="410.79", brand="geforce"), "mismatch"),
        (CUDA_10_1, machine(cuda="9.0", driver="384.81", brand="tesla"), "mismatch"),
        (CUDA_11_1, machine(cuda="11.0", driver="450.80.02", brand="geforce"), "ok"),
        (CUDA_11_1, machine(cuda="10.2", driver="440.33.01", brand="geforce"), "mismatch"),
        (CUDA_12_2, machine(cuda="12.0", driver="525.60.13"), "ok"),
        (CUDA_12_2, machine(cuda="12.1", driver="530.30.02"), "mismatch"),
        (CUDA_12_2, machine(cuda="12.0", driver="525.60.13", brand="quadrortx"), "ok"),
        (CUDA_12_2, machine(cuda="12.0", driver="525.60.13", brand="geforce"), "mismatch"),
        ("arch>=7.0,arch<8.0", machine(cuda="12.4", driver="550", arch="7.5"), "ok"),
        ("arch>=7.0,arch<8.0", machine(cuda="12.4", driver="550", arch="8.0"), "mismatch"),
        ("brand!=GeForce", machine(cuda="12.4", driver="550", brand="geforce"), "mismatch"),
        ("BRAND=NVIDIA", machine(cuda="12.4", driver="550"), "ok"),
        ("driver=550.0.0", machine(cuda="12.4", driver="550"), "ok"),
        ("driver<=550", machine(cuda="12.4", driver="550.54.15"), "mismatch"),
        ("cuda>=12.8 , cuda>=12.0", machine(cuda="12.4", driver="550"), "ok"),
        ("cuda~=12", machine(cuda="12.4", driver="550"), "unknown"),
        ("cuda>=new", machine(cuda="12.4", driver="550"), "unknown"),
        ("brand>=tesla", machine(cuda="12.4", driver="550"), "unknown"),
        ("cuda>=12.0", machine(cuda="", driver="550"), "mismatch"),
        # Of the container toolkit's user guide.
        ("cuda>=8.0", machine(cuda="8.0", driver="375.26", brand="tesla", arch="6.0"), "ok"),
        ("cuda>=8.0", machine(cuda="7.5", driver="352.39", brand="tesla", arch="3.5"), "mismatch"),
        ("brand=tesla,driver>=384,driver<385", machine(cuda="9.0", driver="384.81", brand="tesla"), "ok"),
        ("brand=tesla,driver>=384,driver<385", machine(cuda="9.0", driver="384.81", brand="quadro"), "mismatch"),
        ("brand=tesla,driver>=384,driver<385", machine(cuda="9.1", driver="387.26", brand="tesla"), "mismatch"),
        ("arch>=5.0", machine(cuda="9.0", driver="384.81", arch="5.0"), "ok"),
        ("arch>=5.0", machine(cuda="9.0", driver="384.81", arch="3.7"), "mismatch"),
        # Of its tests, dsl.c and constraints/factory_test.go: what is empty holds, the first that holds ends it.
        ("cuda<13.6  cuda>=11.6,arch=5.3", machine(cuda="14.0", driver="700", arch="5.3"), "ok"),
        ("cuda<13.6 cuda>=11.6,arch=5.3", machine(cuda="14.0", driver="700", arch="7.0"), "mismatch"),
        (",", machine(cuda="12.4", driver="550"), "ok"),
        ("cuda>=13,", machine(cuda="12.4", driver="550"), "mismatch"),
        (" cuda>=12 ", machine(cuda="12.4", driver="550"), "ok"),
        ("cuda>=12 notvalid", machine(cuda="12.4", driver="550"), "ok"),
        ("cuda>=13 notvalid", machine(cuda="12.4", driver="550"), "unknown"),
        ("notvalid cuda>=12", machine(cuda="12.4", driver="550"), "unknown"),
        ("cuda>=12 foo=bar", machine(cuda="12.4", driver="550"), "ok"),
        ("cuda=foo", machine(cuda="12.4", driver="550"), "unknown"),
        ("cuda>=", machine(cuda="12.4", driver="550"), "unknown"),
    ],
)
def test_who_satisfies_what(text: str, facts: Facts, expected: str) -> None:
    assert judged(text, facts) == expected


def test_every_gpu_has_to_satisfy_it() -> None:
    facts = machine(cuda="12.4", driver="550.54.15", count=2)
    mixed = replace(facts, gpus=(facts.gpus[0], replace(facts.gpus[1], compute_capability="7.5")))
    [finding] = check_require({"NVIDIA_REQUIRE_ARCH": "arch>=8.0"}, mixed)
    assert (finding.status, finding.why) == ("mismatch", "GPU 1 (GPU) does not satisfy arch>=8.0")


@pytest.mark.parametrize(
    ("facts", "nearest", "found"),
    [
        # The toolkit's own message names the first alternative, whatever is there.
        (machine(cuda="11.4", driver="470.42.01", brand="quadrortx"), "brand=quadrortx,driver>=525,driver<526", "470"),
        (machine(cuda="12.1", driver="530.30.02"), "cuda>=12.2", "cuda 12.1"),
        (
            machine(cuda="10.2", driver="440.33.01", brand="tesla"),
            "brand=tesla,driver>=470,driver<471",
            "driver 440.33.01",
        ),
        (machine(cuda="", driver="524.0"), "brand=nvidia,driver>=525,driver<526", "driver 524.0"),
    ],
)
def test_the_nearest_alternative_is_told(facts: Facts, nearest: str, found: str) -> None:
    [finding] = check_require({"NVIDIA_REQUIRE_CUDA": CUDA_12_2}, facts)
    assert finding.needed.startswith(f"NVIDIA_REQUIRE_CUDA: {nearest}, the nearest of 8 alternatives")
    assert found in finding.found


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, {}),
        ({"PATH": "/bin"}, {}),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=12"}, {"NVIDIA_REQUIRE_CUDA": "cuda>=12"}),
        ({"CUDA_VERSION": "12.8.1"}, {"CUDA_VERSION": "cuda>=12.8"}),
        ({"CUDA_VERSION": "12.8.1", "NVIDIA_REQUIRE_CUDA": "cuda>=12"}, {"NVIDIA_REQUIRE_CUDA": "cuda>=12"}),
        ({"CUDA_VERSION": "12.8.1", "NVIDIA_REQUIRE_CUDA": ""}, {}),
        ({"CUDA_VERSION": "new"}, {}),
        ({"NVIDIA_REQUIRE_JETPACK": "csv-mounts=all", "NVIDIA_REQUIRE_JETPACK_HOST_MOUNTS": "base-only"}, {}),
        (
            {"NVIDIA_REQUIRE_A": "cuda>=1", "NVIDIA_REQUIRE_B": "arch>=8"},
            {"NVIDIA_REQUIRE_A": "cuda>=1", "NVIDIA_REQUIRE_B": "arch>=8"},
        ),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=12", "NVIDIA_DISABLE_REQUIRE": "1"}, {}),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=12", "NVIDIA_DISABLE_REQUIRE": "true"}, {}),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=12", "NVIDIA_DISABLE_REQUIRE": "0"}, {"NVIDIA_REQUIRE_CUDA": "cuda>=12"}),
    ],
)
def test_which_variables_count(env: dict[str, str], expected: dict[str, str]) -> None:
    assert requirements(env) == expected


def test_several_variables_all_have_to_hold() -> None:
    env = {"NVIDIA_REQUIRE_A": "cuda>=12", "NVIDIA_REQUIRE_B": "arch>=9.0"}
    findings = list(check_require(env, machine(cuda="12.4", driver="550")))
    assert [finding.status for finding in findings] == ["ok", "mismatch"]


def by_parts(left: str, operator: str, right: str) -> bool:
    """Compare two versions as the toolkit does, number by number, a missing one being 0."""
    pairs = zip_longest(left.split("."), right.split("."), fillvalue="0")
    order = next((int(a) - int(b) for a, b in pairs if int(a) != int(b)), 0)
    equal = operator in {"=", "<=", ">="}
    return equal if order == 0 else operator in ({"!=", "<", "<="} if order < 0 else {"!=", ">", ">="})


numbers = st.lists(st.integers(0, 12), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
operators = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
conditions = st.tuples(st.sampled_from(["cuda", "driver", "arch"]), operators, numbers)
values = st.lists(st.lists(conditions, min_size=1, max_size=3), min_size=1, max_size=4)


@settings(deadline=None)
@given(values, numbers, numbers, numbers)
def test_alternatives_of_conditions_are_judged_as_by_the_toolkit(
    alternatives: list[list[tuple[str, str, str]]], cuda: str, driver: str, arch: str
) -> None:
    text = " ".join(",".join(map("".join, one)) for one in alternatives)
    found = {"cuda": cuda, "driver": driver, "arch": arch}
    expected = any(all(by_parts(found[key], sign, value) for key, sign, value in one) for one in alternatives)
    assert (judged(text, machine(cuda=cuda, driver=driver, arch=arch)) == "ok") is expected


@settings(deadline=None)
@given(values)
def test_what_is_read_is_what_was_written(alternatives: list[list[tuple[str, str, str]]]) -> None:
    text = " ".join(",".join(map("".join, one)) for one in alternatives)
    read = parse_require(text)
    assert read == tuple(tuple(Condition(key=k, operator=o, value=v) for k, o, v in one) for one in alternatives)
    assert " ".join(",".join(map(str, one)) for one in read) == text


@settings(deadline=None)
@given(st.text(alphabet="cuda<>=!,. 0123456789brandtesla\u0663", max_size=30))
def test_any_value_gives_findings_and_no_failure(text: str) -> None:
    for finding in check_require({"NVIDIA_REQUIRE_CUDA": text}, machine(cuda="12.4", driver="550")):
        assert finding.status in {"ok", "mismatch", "unknown"}
