"""What is predicted of SASS and PTX, held against the driver: it loads a kernel, runs it, or says which error it is."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import pytest

from repro_env.verify.facts import Facts, Host
from repro_env.verify.kernels import Driver, Fit, Library, check_kernels, fit
from repro_env.verify.nvml import read_driver

KERNELS = sorted((Path(__file__).parents[2] / "fixtures" / "kernels").iterdir())
# A bare file of another architecture is also called an invalid image (200), or invalid PTX (218).
ERRORS = {0: "runs", 200: "no kernel image", 209: "no kernel image", 218: "no kernel image", 222: "unsupported PTX"}
EXPECTED = {Fit.SASS: "runs", Fit.PTX: "runs", Fit.NOTHING: "no kernel image", Fit.UNTRANSLATED: "unsupported PTX"}

pytestmark = pytest.mark.gpu


def library(path: Path) -> Library:
    """Return what `repro build` would note of a library that holds this file alone."""
    if path.suffix == ".cubin":
        return Library(package="fixture 1", path=path.name, sass=(path.stem,))
    return Library(package="fixture 1", path=path.name, ptx=(path.stem.replace("-", "/"),))


@pytest.fixture(scope="module")
def answer() -> Callable[[bytes], str]:
    """Return what comes of a kernel on the first GPU, through the driver's own functions."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        pytest.skip(f"there is no driver: {error}")
    context, device = ctypes.c_void_p(), ctypes.c_int()
    assert cuda.cuInit(0) == 0
    assert cuda.cuDeviceGet(ctypes.byref(device), 0) == 0
    assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device) == 0
    assert cuda.cuCtxSetCurrent(context) == 0

    def run(content: bytes) -> str:
        module, function, memory = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint64()
        status = cuda.cuModuleLoadData(ctypes.byref(module), content + b"\0")
        if status != 0:
            return ERRORS.get(status, f"error {status}")
        assert cuda.cuModuleGetFunction(ctypes.byref(function), module, b"answer") == 0
        assert cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(4)) == 0
        arguments = (ctypes.c_void_p * 1)(ctypes.cast(ctypes.byref(memory), ctypes.c_void_p))
        status = cuda.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, None, arguments, None)
        seen = ctypes.c_int()
        assert cuda.cuMemcpyDtoH_v2(ctypes.byref(seen), memory, ctypes.c_size_t(4)) == 0
        assert cuda.cuMemFree_v2(memory) == 0
        assert cuda.cuModuleUnload(module) == 0
        assert seen.value == 42 or status != 0
        return ERRORS.get(status, f"error {status}")

    return run


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.name)
def test_the_driver_does_what_was_predicted(path: Path, answer: Callable[[bytes], str]) -> None:
    machine = read_driver()
    predicted = fit(library(path), machine.gpus[0].compute_capability, Driver(machine.version, machine.cuda))
    if predicted is Fit.UNSURE:
        pytest.skip("a driver that is newer than the tables")
    assert answer(path.read_bytes()) == EXPECTED[predicted]


def test_the_finding_agrees_with_the_driver(answer: Callable[[bytes], str]) -> None:
    machine = read_driver()
    facts = Facts(host=Host(), driver=machine.version, cuda=machine.cuda, gpus=machine.gpus[:1])
    for path in KERNELS:
        [finding] = check_kernels([library(path)], facts)
        if finding.status != "unknown":
            assert finding.is_met == (answer(path.read_bytes()) == "runs"), path.name
