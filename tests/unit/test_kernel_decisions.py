"""Driver, CUDA, device, binary: a row for every rule of which code runs where, and what is told where none does.

The rules are those of NVIDIA's CUDA programming guide (binary and PTX compatibility, architecture-specific and
family-specific features) and of the compatibility guide (what a driver translates).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.lock.cuda_drivers import PTX, SHIPPED, served, translates
from repro_env.verify.facts import Facts, Gpu, Host
from repro_env.verify.findings import Finding
from repro_env.verify.kernels import Driver, Fit, Library, check_kernels, fit

NEWEST = Driver("610.43.02", "13.3")
OLD = Driver("525.60.13", "12.0")
TABLED = Driver("525.60.13", "")  # one that does not say which CUDA it serves


def library(*code: str, package: str = "ext 1.0", path: str = "ext/_C.so", unknown: str = "") -> Library:
    """Return a library with `sass` such as "80" and `ptx` such as "80/8.4"."""
    sass = tuple(one for one in code if "/" not in one)
    return Library(package=package, path=path, sass=sass, ptx=tuple(one for one in code if "/" in one), unknown=unknown)


ROWS = [
    # SASS: the same major version, and no newer a minor one.
    ("80", "8.0", NEWEST, Fit.SASS),
    ("80", "8.6", NEWEST, Fit.SASS),
    ("86", "8.0", NEWEST, Fit.NOTHING),
    ("80", "9.0", NEWEST, Fit.NOTHING),
    ("90", "8.9", NEWEST, Fit.NOTHING),
    ("70", "7.5", NEWEST, Fit.SASS),
    ("100", "10.0", NEWEST, Fit.SASS),
    ("100", "10.3", NEWEST, Fit.SASS),
    ("100", "12.0", NEWEST, Fit.NOTHING),
    ("120", "12.1", NEWEST, Fit.SASS),
    ("90", "9.0", OLD, Fit.SASS),  # no driver that knows the device is too old for its SASS
    ("90", "9", NEWEST, Fit.SASS),
    # Integrated GPUs are apart.
    ("80", "8.7", NEWEST, Fit.NOTHING),
    ("86", "8.7", NEWEST, Fit.NOTHING),
    ("87", "8.7", NEWEST, Fit.SASS),
    ("87", "8.9", NEWEST, Fit.NOTHING),
    ("72", "7.5", NEWEST, Fit.NOTHING),
    # `a` is for this architecture alone.
    ("90a", "9.0", NEWEST, Fit.SASS),
    ("100a", "10.0", NEWEST, Fit.SASS),
    ("100a", "10.3", NEWEST, Fit.NOTHING),
    ("100a", "12.0", NEWEST, Fit.NOTHING),
    # `f` is for its family.
    ("100f", "10.0", NEWEST, Fit.SASS),
    ("100f", "10.3", NEWEST, Fit.SASS),
    ("103f", "10.0", NEWEST, Fit.NOTHING),
    ("100f", "12.0", NEWEST, Fit.NOTHING),
    ("120f", "12.1", NEWEST, Fit.SASS),
    # PTX: of no newer an architecture, whatever its major version.
    ("80/7.0", "8.0", NEWEST, Fit.PTX),
    ("80/7.0", "9.0", NEWEST, Fit.PTX),
    ("52/6.4", "12.0", NEWEST, Fit.PTX),
    ("90/8.0", "8.9", NEWEST, Fit.NOTHING),
    ("80/7.0", "8.7", NEWEST, Fit.PTX),
    # Such PTX with a suffix is bound as SASS is.
    ("90a/8.0", "9.0", NEWEST, Fit.PTX),
    ("90a/8.0", "10.0", NEWEST, Fit.NOTHING),
    ("100f/8.8", "10.3", NEWEST, Fit.PTX),
    ("100f/8.8", "12.0", NEWEST, Fit.NOTHING),
    # PTX of a version that the driver does not know (error 222).
    ("90/8.0", "9.0", OLD, Fit.PTX),
    ("90/8.1", "9.0", OLD, Fit.UNTRANSLATED),
    ("90/8.4", "9.0", Driver("550.54.15", "12.4"), Fit.PTX),
    ("90/8.5", "9.0", Driver("550.54.15", "12.4"), Fit.UNTRANSLATED),
    ("90/8.5", "9.0", Driver("560.28.03", "12.6"), Fit.PTX),  # 12.6 brought no version of its own
    ("90/8.7", "9.0", Driver("560.28.03", "12.6"), Fit.UNTRANSLATED),
    ("90/8.7", "9.0", Driver("570.26", "12.8"), Fit.PTX),
    ("90/9.0", "9.0", Driver("575.51.03", "12.9"), Fit.UNTRANSLATED),
    ("90/9.0", "9.0", Driver("580.65.06", "13.0"), Fit.PTX),
    # By the table where the driver does not say which CUDA it serves.
    ("90/8.0", "9.0", TABLED, Fit.PTX),
    ("90/8.1", "9.0", TABLED, Fit.UNTRANSLATED),
    ("90/8.6", "9.0", TABLED, Fit.UNSURE),  # no toolkit came with the version that brought it
    ("90/5.0", "9.0", TABLED, Fit.PTX),
    ("90/8.0", "9.0", Driver("", ""), Fit.UNSURE),
    # Newer than the tables.
    ("90/9.9", "9.0", NEWEST, Fit.UNTRANSLATED),
    ("90/9.9", "9.0", Driver("700.10", "14.0"), Fit.UNSURE),
    ("90/9.9", "9.0", Driver("700.10", ""), Fit.UNSURE),
    # The best of several counts.
    ("80 86 90", "8.9", NEWEST, Fit.SASS),
    ("75 90a 90/9.9 80/8.0", "9.0", NEWEST, Fit.SASS),
    ("75 80/8.9 80/8.0", "9.0", OLD, Fit.PTX),
    ("75 80/8.9", "9.0", OLD, Fit.UNTRANSLATED),
    ("75 80/8.9", "7.5", OLD, Fit.SASS),
]


@pytest.mark.parametrize(("code", "device", "driver", "expected"), ROWS)
def test_which_code_runs_where(code: str, device: str, driver: Driver, expected: Fit) -> None:
    assert fit(library(*code.split()), device, driver) is expected


@pytest.mark.parametrize(("ptx", "cuda"), PTX.items())
def test_every_driver_translates_what_its_own_toolkit_writes(ptx: str, cuda: str) -> None:
    assert translates(ptx, driver="", newest=cuda)
    if cuda in SHIPPED:
        assert translates(ptx, driver=SHIPPED[cuda])
        assert served(SHIPPED[cuda]) == cuda or SHIPPED[served(SHIPPED[cuda])] == SHIPPED[cuda]


architectures = st.sampled_from([50, 60, 70, 75, 80, 86, 87, 89, 90, 100, 103, 120, 121])
devices = architectures.map(lambda number: f"{number // 10}.{number % 10}")


@settings(deadline=None)
@given(st.lists(architectures, min_size=1, max_size=4), devices, st.sampled_from(list(PTX)))
def test_more_code_is_never_worse_and_a_newer_driver_neither(numbers: list[int], device: str, isa: str) -> None:
    whole = library(*map(str, numbers), *(f"{number}/{isa}" for number in numbers))
    part = library(str(numbers[0]), f"{numbers[0]}/{isa}")
    assert fit(whole, device, OLD) >= fit(part, device, OLD)
    assert fit(whole, device, NEWEST) >= fit(whole, device, OLD)


# What is told of a step's libraries

HOST = Host(architecture="x86_64")
H100 = Gpu(index=0, name="NVIDIA H100", compute_capability="9.0")
T4 = Gpu(index=0, name="Tesla T4", compute_capability="7.5")
L4 = Gpu(index=1, name="NVIDIA L4", compute_capability="8.9")
B200 = Gpu(index=0, name="NVIDIA B200", compute_capability="10.0")


def told(*libraries: Library, gpu: Gpu = H100, more: tuple[Gpu, ...] = (), driver: Driver = NEWEST) -> list[Finding]:
    facts = Facts(host=HOST, driver=driver.version, cuda=driver.newest, gpus=(gpu, *more))
    return list(check_kernels(libraries, facts))


def one(*libraries: Library, gpu: Gpu = H100, driver: Driver = NEWEST) -> Finding:
    [finding] = told(*libraries, gpu=gpu, driver=driver)
    assert finding.name == "kernels"
    return finding


TORCH = library("75", "80", "86", "90", package="torch 2.7.0", path="torch/lib/libtorch_cuda.so")


def test_torch_passes_and_one_extension_does_not() -> None:
    finding = one(TORCH, library("80", "86", package="flash-attn 2.8.0", path="flash_attn_2_cuda.so"))
    assert finding.status == "mismatch"
    assert finding.needed == "code for compute capability 9.0 in flash-attn 2.8.0"
    assert finding.found == "flash_attn_2_cuda.so with SASS 80, 86"
    assert "no kernel image is available" in finding.why
    assert finding.hint == (
        "use a GPU of compute capability 8.x, or a version of flash-attn that is built for this one"
    )


def test_a_name_tells_a_terminal_nothing() -> None:
    assert one(library("80", path="lib/\x1b]0;x\x07ü.so")).found == "\\x1b]0;x\\x07\\xfc.so with SASS 80"


def test_everything_will_do() -> None:
    finding = one(TORCH, library("90", "90a"))
    assert (finding.status, finding.needed) == ("ok", "code for compute capability 9.0")
    assert (finding.found, finding.why) == ("2 libraries of 2 packages", "")


def test_a_step_without_such_libraries_is_not_spoken_of() -> None:
    assert told() == []
    assert told(replace(library(), amd=("gfx90a",))) == []


def test_no_gpu_to_hold_them_against() -> None:
    assert told(TORCH, gpu=replace(H100, problem="GPU is lost")) == []


def test_translation_is_told() -> None:
    finding = one(library("80", "80/8.0"))
    assert finding.status == "ok"
    assert finding.why == "_C.so: PTX that is translated for GPU 0 (NVIDIA H100) when first used"


def test_translation_that_is_impossible() -> None:
    finding = one(library("80", "86", "80/8.7"), driver=Driver("550.54.15", "12.4"))
    assert finding.status == "mismatch"
    assert finding.found == "_C.so with SASS 80, 86; PTX 80"
    assert finding.why == (
        "its PTX 8.7 is of CUDA 12.8, and the driver translates that of CUDA 12.4 and older: "
        "error 222, the provided PTX was compiled with an unsupported toolchain"
    )
    assert finding.hint == "update the driver to 570.26 or newer, or use a GPU of compute capability 8.x"


def test_translation_of_which_nothing_is_known() -> None:
    finding = one(library("80", "80/9.9"), driver=Driver("700.10", "14.0"))
    assert finding.status == "unknown"


def test_what_would_work_is_told_in_ranges() -> None:
    assert "8.x from 8.6 or 9.0 or 12.0 and newer," in one(library("86", "89", "90a", "120/8.7"), gpu=T4).hint
    assert "compute capability 9.0 or 10.x," in one(library("90a/8.0", "100f/8.8"), gpu=T4).hint


# Which libraries will not be missed


def bitsandbytes(cuda: int, *code: str) -> Library:
    return library(*code, package="bitsandbytes 0.50.2", path=f"bitsandbytes/libbitsandbytes_cuda{cuda}.so")


def test_of_variants_for_cuda_versions_one_has_to_serve() -> None:
    older = bitsandbytes(118, "50", "60", "70", "75", "80", "86", "89", "90")
    newer = bitsandbytes(128, "70", "75", "80", "86", "89", "90", "100", "120", "120/8.7")
    assert one(older, newer, gpu=B200).status == "ok"
    assert "libbitsandbytes_cuda118.so: not for GPU 0 (NVIDIA B200)" in one(older, newer, gpu=B200).why
    assert one(older, gpu=B200).status == "mismatch"


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("libbitsandbytes_cuda118.so", "libbitsandbytes_cuda128.so"),
        ("libbitsandbytes_cuda118_nocublaslt.so", "libbitsandbytes_cuda118.so"),
        ("common_ops_sm90.abi3.so", "common_ops_sm100.abi3.so"),
        ("kernels-cu12.so", "kernels-cu13.so"),
        ("libxgboost.cuda12.so", "libxgboost.so"),
        ("libfoo_sm_90a.so", "libfoo_sm_80.so"),
    ],
)
def test_names_of_variants(name: str, other: str) -> None:
    assert library("80", path=f"a/{name}").stem == library("80", path=f"b/{other}").stem


@pytest.mark.parametrize("name", ["libtorch_cuda.so", "_C.abi3.so", "_moe_C.abi3.so", "libcuda_utils.so", "fa3.so"])
def test_names_that_are_none_of_variants(name: str) -> None:
    assert library("80", path=f"a/{name}").stem == name


def test_what_is_for_one_architecture_by_name_is_not_missed_elsewhere() -> None:
    general = library("70", "75", "80", "86", "89", "90", package="vllm 0.10", path="vllm/_C.abi3.so")
    hopper = library("90a", package="vllm 0.10", path="vllm/_flashmla_C.abi3.so")
    blackwell = library("100", "100/8.7", package="vllm 0.10", path="vllm/_C.abi3.so")
    assert one(general, hopper, gpu=L4).status == "ok"
    assert one(blackwell, hopper, gpu=B200).status == "ok"
    assert one(hopper, gpu=L4).status == "mismatch"  # a package that has nothing else


def test_what_is_for_newer_gpus_is_not_missed_where_the_rest_of_the_package_serves() -> None:
    general = library("75", "80", "90", package="vllm 0.10", path="vllm/_C.abi3.so")
    flash = library("80", "90", package="vllm 0.10", path="vllm/_vllm_fa2_C.abi3.so")
    assert one(general, flash, gpu=T4).status == "ok"
    assert one(flash, gpu=T4).status == "mismatch"


def test_what_was_forgotten_for_a_newer_gpu_is_missed() -> None:
    general = library("80", "90", "100", package="ext 1.0", path="ext/_C.so")
    forgotten = library("80", "90", package="ext 1.0", path="ext/ops.so")
    assert one(general, forgotten, gpu=B200).found == "ops.so with SASS 80, 90"


def test_nvidias_own_libraries_are_asked_by_who_calls_them() -> None:
    sparse = library(
        "80", "90", package="nvidia-cusparselt-cu12 0.6.3", path="nvidia/cusparselt/lib/libcusparseLt.so.0"
    )
    finding = one(TORCH, sparse, gpu=T4)
    assert finding.status == "ok"
    assert "libcusparseLt.so.0: not for GPU 0 (Tesla T4), and not needed there" in finding.why


def test_a_package_is_told_of_once_with_how_many_lack() -> None:
    finding = one(*(library("80", path=f"ext/{name}.so") for name in "abc"))
    assert finding.found == "a.so with SASS 80, and 2 more"


def test_every_gpu_that_can_be_seen_counts_once_for_each_kind() -> None:
    findings = told(library("80", "89"), gpu=T4, more=(L4, replace(T4, index=2)))
    assert [finding.needed for finding in findings] == ["code for compute capability 7.5 in ext 1.0"]
    [fine] = told(library("75", "89"), gpu=T4, more=(L4, replace(T4, index=2)))
    assert fine.needed == "code for compute capability 7.5 and 8.9"


def test_a_gpu_that_does_not_tell() -> None:
    finding = one(TORCH, gpu=replace(H100, compute_capability=""))
    assert (finding.status, finding.why) == ("unknown", "GPU 0 (NVIDIA H100) does not tell its compute capability")


def test_a_library_that_cannot_be_read_is_told_and_is_no_failure_beside_others() -> None:
    damaged = library(path="ext/odd.so", unknown="a container of version 2")
    assert one(TORCH, damaged).status == "ok"
    assert one(TORCH, damaged).why == "odd.so: cannot be read, a container of version 2"
    assert one(damaged).status == "unknown"


@pytest.mark.parametrize("text", ["", "x", "9", "90b", "9000", "sm_90"])
def test_an_architecture_that_is_none_does_not_get_in(text: str) -> None:
    with pytest.raises(ValueError, match="architecture"):
        Library.from_dict({"package": "a 1", "path": "a.so", "sass": [text]})
    with pytest.raises(ValueError, match="architecture"):
        Library.from_dict({"package": "a 1", "path": "a.so", "ptx": [f"{text}/8.4"]})


@pytest.mark.parametrize("text", ["90", "90/", "90/8", "90/new", "90/8.4/1"])
def test_a_version_of_ptx_that_is_none_does_not_get_in(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected an architecture such as 90/8\.4"):
        Library.from_dict({"package": "a 1", "path": "a.so", "ptx": [text]})


# Libraries as they are published

REAL = json.loads((Path(__file__).parents[2] / "fixtures" / "gpu_code.json").read_text())["packages"]


def published(package: str) -> list[Library]:
    """Return the libraries of a wheel, by its package's name."""
    [(name, found)] = [(key, libraries) for key, libraries in REAL.items() if key.partition(" ")[0] == package]
    listed = ({"package": name, "path": path, **_lists(code)} for path, code in found.items())
    return [Library.from_dict(values) for values in listed]


def _lists(code: dict[str, str]) -> dict[str, list[str]]:
    return {kind: text.split() for kind, text in code.items()}


EVERY = ("6.1", "7.0", "7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "10.3", "12.0", "12.1")


@pytest.mark.parametrize(
    ("package", "runs"),
    [
        ("bitsandbytes", EVERY),  # a library for each CUDA version, of which one is loaded
        ("cupy-cuda12x", EVERY),
        ("torchaudio", EVERY),
        ("torchvision", EVERY),  # with a copy of NVIDIA's nvJPEG
        ("xformers", EVERY),  # and FlashAttention 3, for Hopper by name
        ("vllm", EVERY[2:]),  # and kernels for Hopper and for Blackwell by name
        ("fbgemm-gpu", ("8.0", "8.6", "8.9", "9.0", "10.0", "10.3")),
        ("nvidia-nccl-cu12", EVERY),
        ("nvidia-cudnn-cu12", EVERY),
        ("nvidia-cublas-cu12", EVERY),
        ("nvidia-cusparselt-cu12", EVERY),  # which has nothing older than 8.0, and who calls it knows
    ],
)
@pytest.mark.parametrize("device", EVERY)
def test_published_packages_give_no_false_alarm(package: str, runs: tuple[str, ...], device: str) -> None:
    gpu = Gpu(index=0, name="GPU", compute_capability=device)
    statuses = [finding.status for finding in told(*published(package), gpu=gpu, driver=Driver("580.65.06", "13.0"))]
    assert statuses == ["ok" if device in runs else "mismatch"]


def test_a_new_gpu_with_an_old_driver_is_told_of_the_code_that_it_would_translate() -> None:
    finding = one(*published("xformers"), gpu=B200, driver=Driver("550.54.15", "12.4"))
    assert finding.found == "_C.so with SASS 60, 70, 75, 80, 90a; PTX 60, 80"
    assert (
        finding.hint
        == "update the driver to 555.42.02 or newer, or use a GPU of compute capability 6.x or 7.x or 8.x or 9.0"
    )
