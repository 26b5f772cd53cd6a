"""Forward compatibility: what a base's package says of itself, and for which machines it is."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro_env.config.machine import GpuRequest
from repro_env.image.base_facts import LayerFacts, image_facts, read_facts
from repro_env.image.cuda_compat import is_compat, newest_compat, read_compat
from repro_env.lock.cuda import CudaCompat, CudaFacts, cuda_facts
from repro_env.values import Platform
from repro_env.verify.cuda_check import check_cuda, is_bridged
from repro_env.verify.facts import Facts, Gpu, Host
from repro_env.verify.kernels import Library
from repro_env.verify.needs import Needs, check

PATH = "usr/local/cuda-13.1/compat/libcuda.so.590.44.01"
NOTE = {"format": 1, "CUDA version": "13.1", "driver": [535, 550, 570, 575, 580, 590], "device": [1, 2]}
COMPAT = CudaCompat(
    cuda="13.1", driver="590.44.01", branches=(535, 550, 570, 575, 580, 590), path="/usr/local/cuda-13.1/compat"
)


def library(note: object = NOTE, *, before: int = 4096, after: int = 4096) -> bytes:
    text = note if isinstance(note, bytes) else json.dumps(note).encode()
    return b"\x7fELF" + b"{" * before + b"\x00" + text + b"\x00" * after


def read(content: bytes, path: str = PATH) -> CudaCompat | None:
    return newest_compat({path: read_compat(path, io.BytesIO(content))})


@pytest.mark.parametrize(
    "path",
    [
        "usr/local/cuda-13.1/compat/libcuda.so.590.44.01",
        "usr/local/cuda/compat/libcuda.so.550.54.15",
        "usr/local/cuda/compat/lib.real/libcuda.so.550.54.15",
        "usr/local/cuda-12.8/compat_orin/libcuda.so.1.1",
    ],
)
def test_where_the_library_stands(path: str) -> None:
    assert is_compat(path) is ("orin" not in path)  # Jetson's own, which is for other drivers


@pytest.mark.parametrize(
    "path",
    ["usr/lib/x86_64-linux-gnu/libcuda.so.590.44.01", "usr/local/cuda/compat/libcuda.so.1", "compat/libcuda.so.1.2"],
)
def test_what_is_none(path: str) -> None:
    assert not is_compat(path)


@pytest.mark.parametrize("before", [0, 4096, (1 << 20) - 40, (1 << 20) - 5, (1 << 20), 3 << 20])
def test_the_note_is_found_wherever_it_stands(before: int) -> None:
    assert read(library(before=before)) == COMPAT


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b'{"format":1,"CUDA version":"13.1"',
        b'"CUDA version"',
        {**NOTE, "format": 2},
        {**NOTE, "CUDA version": 13.1},
        {**NOTE, "driver": "all"},
        {**NOTE, "driver": [550, "x"]},
        {**NOTE, "driver": [True]},
        b"[" * 5000 + b'"CUDA version"',
        b'{"a":' * 2000 + b'"CUDA version"',
    ],
)
def test_without_a_note_the_package_does_not_say_for_which_drivers_it_is(note: Any) -> None:
    assert read(library(note)) == replace(COMPAT, branches=())
    assert read(library(note), "usr/local/cuda/compat/libcuda.so.590.44.01") is None


@given(st.binary(max_size=200), st.integers(0, 40))
def test_no_content_is_a_failure(noise: bytes, cut: int) -> None:
    text = json.dumps(NOTE).encode()
    found = read(noise + text[:cut] + noise + text[cut:])
    assert found is not None
    assert found.driver == "590.44.01"


def layer(**files: bytes) -> LayerFacts:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    made.seek(0)
    return read_facts(made)


def test_an_images_newest_package_counts_and_one_that_was_removed_does_not() -> None:
    older = "usr/local/cuda-12.4/compat/libcuda.so.550.54.15"
    both = layer(**{PATH: library(), older: library({**NOTE, "CUDA version": "12.4", "driver": [470, 535]})})
    platform = Platform("amd64")
    assert image_facts([both], {}, platform).compat == COMPAT
    gone = layer(**{"usr/local/cuda-13.1/.wh.compat": b""})
    found = image_facts([both, gone], {}, platform).compat
    assert found is not None
    assert (found.cuda, found.branches) == ("12.4", (470, 535))
    assert image_facts([both, layer(**{"usr/local/.wh..wh..opq": b""})], {}, platform).compat is None


# Driver x package x GPU

H100 = Gpu(index=0, name="NVIDIA H100", brand="nvidia", compute_capability="9.0")
FACTS = Facts(host=Host(architecture="x86_64"), driver="550.54.15", cuda="12.4", gpus=(H100,))


def runtime(version: str) -> CudaFacts:
    found = cuda_facts([("nvidia-cuda-runtime", version)], {})
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("driver", "brand", "bridged"),
    [
        ("550.54.15", "nvidia", True),
        ("550.54.15", "tesla", True),
        ("550.54.15", "geforce", False),  # data-centre GPUs alone
        ("545.23.08", "nvidia", False),  # a branch that is not named
        ("590.44.01", "nvidia", False),  # nothing is newer
        ("590.48.01", "nvidia", False),
        ("590.40", "nvidia", True),
        ("", "nvidia", False),
    ],
)
def test_for_which_machines_it_is(driver: str, brand: str, bridged: bool) -> None:
    facts = replace(FACTS, driver=driver, gpus=(replace(H100, brand=brand),))
    assert is_bridged(COMPAT, facts) is bridged


@pytest.mark.parametrize(
    ("version", "driver", "compat", "status", "words"),
    [
        ("13.1.80", "550.54.15", COMPAT, "ok", "the base's cuda-compat brings CUDA 13.1 to driver 550"),
        ("13.0.96", "550.54.15", COMPAT, "ok", "brings CUDA 13.1"),
        ("13.2.1", "550.54.15", COMPAT, "mismatch", "the base's cuda-compat is of CUDA 13.1, for drivers 535, 550"),
        ("13.1.80", "545.23.08", COMPAT, "mismatch", "for drivers 535, 550"),
        ("13.1.80", "550.54.15", replace(COMPAT, branches=()), "mismatch", "does not say for which drivers it is"),
        ("13.1.80", "550.54.15", None, "mismatch", "cuda-compat-13-1 in the base may bridge it"),
        ("12.8.90", "550.54.15", None, "ok", "error 222"),
        ("12.8.90", "550.54.15", COMPAT, "ok", "brings CUDA 13.1"),
    ],
)
def test_the_finding(version: str, driver: str, compat: CudaCompat | None, status: str, words: str) -> None:
    cuda = {"550.54.15": "12.4", "545.23.08": "12.3"}[driver]
    finding = check_cuda(runtime(version), replace(FACTS, driver=driver, cuda=cuda), compat)
    assert finding.status == status
    assert words in f"{finding.why} {finding.hint}"


@pytest.mark.parametrize(
    ("driver", "cuda", "still"),
    [
        ("550.54.15", "12.4", "packages made for CUDA 12.4, or any CUDA 12 compiled for its GPU"),
        ("470.82.01", "11.4", "packages made for CUDA 11.4, or any CUDA 11 compiled for its GPU"),
        ("470.82.01", "", "packages made for CUDA 11.4, or any CUDA 11 compiled for its GPU"),
        ("440.33.01", "10.2", "packages made for CUDA 10.2 or older"),
        ("440.33.01", "", "packages made for an older CUDA"),
    ],
)
def test_what_would_still_work(driver: str, cuda: str, still: str) -> None:
    finding = check_cuda(runtime("13.0.96"), replace(FACTS, driver=driver, cuda=cuda))
    assert finding.status == "mismatch"
    assert still in finding.hint


def test_a_bridge_translates_ptx_too_and_travels_with_a_steps_needs() -> None:

    needs = Needs(
        project="p",
        step="s",
        platform="linux/amd64",
        gpu=GpuRequest(),
        cuda=runtime("13.1.80"),
        compat=COMPAT,
        libraries=(Library(package="ext 1", path="ext/_C.so", ptx=("90/9.1",)),),
    )
    assert Needs.from_dict(json.loads(json.dumps(needs.to_dict()))) == needs
    found = {one.name: one.status for one in check(needs, FACTS)}
    assert (found["cuda"], found["kernels"]) == ("ok", "ok")
    bare = {one.name: one.status for one in check(replace(needs, compat=None), FACTS)}
    assert (bare["cuda"], bare["kernels"]) == ("mismatch", "mismatch")
