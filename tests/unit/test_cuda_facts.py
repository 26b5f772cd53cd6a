"""What CUDA a step brings along, as its packages and its base tell."""

from __future__ import annotations

from dataclasses import replace

import locks
import pytest

from repro_env.cli.cuda_conflicts import warn_of_cuda
from repro_env.edges.report import Silent
from repro_env.lock.cuda import CudaFacts, CudaLibrary, cuda_facts, cuda_words


def facts(*packages: tuple[str, str], **env: str) -> CudaFacts | None:
    return cuda_facts(packages, env)


def found(*packages: tuple[str, str], **env: str) -> CudaFacts:
    one = facts(*packages, **env)
    assert one is not None
    return one


@pytest.mark.parametrize("packages", [(), (("numpy", "2.1.0"),), (("torch", "2.7.0"),), (("torch", "2.7.0+cpu"),)])
def test_nothing_tells_of_cuda(packages: tuple[tuple[str, str], ...]) -> None:
    assert facts(*packages) is None
    assert facts(*packages, CUDA_VERSION="none") is None


@pytest.mark.parametrize(
    ("name", "number", "runtime"),
    [
        ("nvidia-cuda-runtime-cu11", "11.8.89", "11.8"),
        ("nvidia-cuda-runtime-cu117", "11.7.60", "11.7"),
        ("nvidia-cuda-runtime-cu12", "12.8.90", "12.8"),
        ("nvidia-cuda-runtime-cu13", "13.0.48", "13.0"),
        ("nvidia-cuda-runtime", "13.0.96", "13.0"),
        ("cuda-toolkit", "13.0.2", "13.0"),
        ("torch", "2.7.0+cu128", "12.8"),
        ("torch", "2.7.0+cu118", "11.8"),
        ("torch", "2.10.0+cu130", "13.0"),
        ("torch-scatter", "2.1.2+pt26cu124", "12.4"),
        ("flash-attn", "2.8.0+torch2.7.cu128", "12.8"),
        ("torch", "1.7.1+cu92", None),  # of before the tables
        ("cupy-cuda12x", "13.4.1", "12.0"),  # the major version, by the name alone
        ("jax-cuda12-plugin", "0.6.0", "12.0"),
        ("faiss-gpu-cu12", "1.11.0", "12.0"),
        ("nvidia-cuda-runtime-cu12", "0", "12.0"),
        ("nvidia-cuda-runtime-cu13", "0.0.0a0", "13.0"),
        ("nvidia-cuda-runtime", "0.0.1.dev5", None),
        ("numpy", "2.1.0+cu", None),
        ("documentcu12", "1.0", None),
    ],
)
def test_where_the_runtime_comes_from(name: str, number: str, runtime: str | None) -> None:
    one = facts((name, number))
    assert (one and one.runtime) == runtime
    assert one is None or one.origin == f"{name} {number}"


def test_the_drivers_follow() -> None:
    one = found(("nvidia-cuda-runtime-cu12", "12.8.90"))
    assert (one.driver, one.whole_driver) == ("525.60.13", "570.26")
    newer = found(("nvidia-cuda-runtime-cu12", "12.99.1"))
    assert (newer.driver, newer.whole_driver) == ("525.60.13", "")
    unknown = found(("nvidia-cuda-runtime", "19.0.1"))
    assert (unknown.driver, unknown.whole_driver) == ("", "")


def test_packages_go_before_the_base_and_the_newest_of_them_counts() -> None:
    one = found(("torch", "2.6.0+cu124"), ("nvidia-cuda-runtime-cu12", "12.6.77"), CUDA_VERSION="13.0.0")
    assert (one.runtime, one.origin) == ("12.6", "nvidia-cuda-runtime-cu12 12.6.77")
    assert one.others == ("12.4 from torch 2.6.0+cu124", "13.0 from CUDA_VERSION 13.0.0 of the base")


def test_what_agrees_is_no_conflict() -> None:
    one = found(("torch", "2.6.0+cu124"), ("nvidia-cuda-runtime-cu12", "12.4.127"), CUDA_VERSION="12.4.1")
    assert (one.runtime, one.others) == ("12.4", ())


def test_a_name_tells_less_than_a_version() -> None:
    of_base = found(("cupy-cuda12x", "13.4.1"), CUDA_VERSION="12.6.3")
    assert (of_base.runtime, of_base.others) == ("12.6", ())
    other_major = found(("cupy-cuda11x", "13.4.1"), CUDA_VERSION="12.6.3")
    assert other_major.others == ("11.x from cupy-cuda11x 13.4.1",)
    two = found(("nvidia-cudnn-cu11", "9.1.0.70"), ("nvidia-cuda-runtime-cu12", "12.8.90"))
    assert (two.runtime, two.others) == ("12.8", ("11.x from nvidia-cudnn-cu11 9.1.0.70",))


def test_libraries_are_those_of_packages_and_then_those_of_the_base() -> None:
    packages = (
        ("nvidia-cuda-runtime-cu12", "12.8.90"),
        ("nvidia-cublas-cu12", "12.8.4.1"),
        ("nvidia-cudnn-cu12", "9.8.0.87"),
        ("nvidia-cusparselt-cu12", "0.6.3"),
    )
    env = {"NV_CUDNN_VERSION": "9.7.0.66-1", "NCCL_VERSION": "2.25.1-1", "NV_LIBNCCL_PACKAGE_VERSION": "2.25.1-1"}
    one = found(*packages, **env)
    assert one.libraries == (
        CudaLibrary(name="NCCL", version="2.25.1", origin="NV_LIBNCCL_PACKAGE_VERSION of the base"),
        CudaLibrary(name="cuBLAS", version="12.8.4.1", origin="nvidia-cublas-cu12"),
        CudaLibrary(name="cuDNN", version="9.8.0.87", origin="nvidia-cudnn-cu12"),
        CudaLibrary(name="cuSPARSELt", version="0.6.3", origin="nvidia-cusparselt-cu12"),
    )


def test_the_order_of_packages_does_not_matter() -> None:
    packages = [("torch", "2.6.0+cu124"), ("nvidia-nccl-cu12", "2.21.5"), ("nvidia-cuda-runtime-cu12", "12.4.127")]
    assert cuda_facts(packages, {}) == cuda_facts(reversed(packages), {})


def test_the_facts_in_words() -> None:
    assert cuda_words(None) == {}
    one = found(("torch", "2.6.0+cu124"), ("nvidia-nccl-cu12", "2.21.5"))
    assert cuda_words(one) == {
        "CUDA": "12.4 from torch 2.6.0+cu124",
        "driver for CUDA": "525.60.13 or newer",
        "driver for all of CUDA": "550.54.14 or newer",
        "NCCL": "2.21.5",
    }


@pytest.mark.parametrize(
    ("packages", "said"),
    [
        ((("torch", "2.6.0+cu124"), ("nvidia-cuda-runtime-cu12", "12.8.90")), []),
        (
            (("nvidia-cudnn-cu11", "9.1.0.70"), ("nvidia-cuda-runtime-cu12", "12.8.90")),
            ["CUDA 12.8, from nvidia-cuda-runtime-cu12 12.8.90, and CUDA 11.x from nvidia-cudnn-cu11 9.1.0.70"],
        ),
    ],
)
def test_two_major_versions_are_warned_of_and_two_minor_ones_are_not(
    packages: tuple[tuple[str, str], ...], said: list[str]
) -> None:
    class Heard(Silent):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def warn(self, text: str) -> None:
            self.lines.append(text)

    step = locks.churn().steps["train"]
    environments = {key: replace(one, cuda=found(*packages)) for key, one in step.environments.items()}
    heard = Heard()
    warn_of_cuda([replace(step, environments=environments), replace(step, environments={})], heard)
    assert heard.lines == [
        f"step train holds {one}: libraries of one do not work with those of the other" for one in said
    ]
