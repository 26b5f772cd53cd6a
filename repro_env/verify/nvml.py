"""GPUs and their driver through NVML: the only use of `pynvml`.

Source: https://docs.nvidia.com/deploy/nvml-api/.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from repro_env.edges.host import read_text
from repro_env.frozen import dataclass
from repro_env.verify.facts import Gpu

_Value = TypeVar("_Value")

# In the words that NVIDIA_REQUIRE_* uses, by NVML's numbers.
# Source: nvml.h, nvmlBrandType_t; libnvidia-container, nvc_info.c.
_BRANDS = (
    "unknown",
    "quadro",
    "tesla",
    "nvs",
    "grid",
    "geforce",
    "titan",
    "vapps",
    "vpc",
    "vcs",
    "vws",
    "cloudgaming",
    "quadrortx",
    "nvidiartx",
    "nvidia",
    "geforcertx",
    "titanrtx",
)
_MIG = re.compile(r"\bMIG (\S+)\s*$")
_NO_INSTANCE = "in MIG mode, without an instance that programs could use"
_MAKE_INSTANCE = "make instances (nvidia-smi mig -cgi PROFILE -C), let the container have one, or turn MIG mode off"

_FORBIDDEN = "missing permission"
_LIBRARY = "libnvidia-ml.so.1"
_READ_AND_WRITE = os.R_OK | os.W_OK
_ELSEWHERE = "run the step where a GPU and its driver are, or start the container with its GPUs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """What NVML tells: as `Facts` holds it, before environment variables hide any GPU.

    `hidden` says what leaves GPUs out nevertheless. `missing` says why there is no driver, and `remedy` what to do
    about it.
    """

    version: str = ""
    cuda: str = ""
    gpus: tuple[Gpu, ...] = ()
    hidden: str = ""
    missing: str = ""
    remedy: str = ""


def read_driver(root: Path = Path("/")) -> Driver:
    """Return the driver's version and every GPU; where there is no driver, why."""
    try:
        import pynvml  # noqa: PLC0415 - a module of 250 KB, which a step without GPUs does without
    except ImportError as error:  # of an interpreter that was built without ctypes
        remedy = "use a Python that has ctypes"
        return Driver(missing=f"this Python cannot load NVML: {error}", remedy=remedy)
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        missing, remedy = _why_missing(pynvml, error, root)
        return Driver(missing=missing, remedy=remedy)
    try:
        count = _ask(pynvml, lambda: int(pynvml.nvmlDeviceGetCount())) or 0
        gpus = tuple(_gpus(pynvml, count))
        hidden = _FORBIDDEN if len({gpu.index for gpu in gpus}) < count else ""
        return Driver(version=_version(pynvml), cuda=_cuda(pynvml), gpus=gpus, hidden=hidden)
    finally:
        pynvml.nvmlShutdown()


def _why_missing(pynvml: Any, error: Any, root: Path) -> tuple[str, str]:
    """Return why NVML could not be started, as far as the kernel's files tell, and what to do about it."""
    control, kernel = root / "dev/nvidiactl", _kernel_driver(root)
    if error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        loaded = f"has {kernel}" if kernel else "has another one than libnvidia-ml.so.1"
        why = f"driver and library versions differ: the kernel still {loaded}, from before an update"
        return why, "restart the machine; in a container, see that the image brings no libnvidia-ml.so.1 of its own"
    if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return _without_library(kernel, there=control.exists())
    if error.value == pynvml.NVML_ERROR_NO_PERMISSION or (control.exists() and not os.access(control, _READ_AND_WRITE)):
        why = "no permission to use /dev/nvidiactl: the container or the user may not open it"
        return why, "let the container have the nodes /dev/nvidia*, and the user read and write them"
    if error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED:
        unloaded = ("the kernel module is not loaded", "load it: sudo modprobe nvidia")
        return unloaded if control.exists() else ("no device node /dev/nvidiactl", _ELSEWHERE)
    return f"NVML cannot be started: {error}", "nvidia-smi and the kernel's log say more"


def _without_library(kernel: str, *, there: bool) -> tuple[str, str]:
    """Return the same where NVML's library is missing; `there` is whether the driver's device node is."""
    reason = _load_error()
    if reason:
        remedy = "in a container, see that its C library is not older than the driver's libraries need"
        return f"the library libnvidia-ml.so.1 cannot be loaded: {reason}", remedy
    if not there and not kernel:
        return "no device node /dev/nvidiactl, and no library libnvidia-ml.so.1", _ELSEWHERE
    driver = f"driver {kernel}" if kernel else "a driver"
    remedy = "install it; in a container, let NVIDIA_DRIVER_CAPABILITIES have utility"
    return f"the library libnvidia-ml.so.1 is missing, while the kernel has {driver}", remedy


def _load_error() -> str:
    """Return why the loader refuses NVML's library, or nothing where it finds none."""
    import ctypes  # noqa: PLC0415 - comes with `pynvml`, which takes each error of the loader for this one

    try:
        ctypes.CDLL(_LIBRARY)
    except OSError as error:
        text = str(error)
        return "" if _LIBRARY in text and "No such file" in text else text
    return ""


def _kernel_driver(root: Path) -> str:
    """Return the version of the kernel module that is loaded, or nothing."""
    match = re.search(r"Kernel Module\s+(?:for \S+\s+)?(\d[\d.]+)", read_text(root / "proc/driver/nvidia/version"))
    return match[1] if match else read_text(root / "sys/module/nvidia/version").strip()


def _version(pynvml: Any) -> str:
    return _ask(pynvml, lambda: str(pynvml.nvmlSystemGetDriverVersion())) or ""


def _cuda(pynvml: Any) -> str:
    """Return the newest CUDA version that the driver serves, which NVML tells as 12080 for 12.8."""
    number = _ask(pynvml, lambda: int(pynvml.nvmlSystemGetCudaDriverVersion_v2()))
    return f"{number // 1000}.{number % 1000 // 10}" if number else ""


def _gpus(pynvml: Any, count: int) -> Iterator[Gpu]:
    """Yield what programs see of as many GPUs as NVML counts.

    It counts those that this process may not use as well. Programs do not see them, and CUDA numbers the others alone.
    """
    handles: dict[int, Any] = {}
    found: list[Gpu] = []
    for place in range(count):
        index = len(found)
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(place)
            found.append(_gpu(pynvml, index, handle))
            handles[index] = handle
        except pynvml.NVMLError as error:
            if error.value != pynvml.NVML_ERROR_NO_PERMISSION:
                found.append(Gpu(index=index, problem=str(error)))
    for gpu in found:
        try:
            yield from [gpu] if gpu.problem else _whole_or_parts(pynvml, gpu, handles)
        except pynvml.NVMLError as error:  # noqa: PERF203 - a handful of devices
            yield replace(gpu, problem=str(error))


def _whole_or_parts(pynvml: Any, gpu: Gpu, handles: dict[int, Any]) -> list[Gpu]:
    """Return what programs see of a GPU: itself, or its MIG instances. Errors: `NVMLError` of a device that is gone."""
    handle = handles[gpu.index]
    if not _ask(pynvml, lambda: pynvml.nvmlDeviceGetMigMode(handle)[0]):
        return [_linked(pynvml, gpu, handles)]
    return list(_instances(pynvml, gpu, handle)) or [replace(gpu, problem=_NO_INSTANCE, remedy=_MAKE_INSTANCE)]


def _gpu(pynvml: Any, index: int, handle: Any) -> Gpu:
    """Return one device. Errors: `NVMLError` where not even its name can be had, as of a GPU that is lost."""
    capability = _ask(pynvml, lambda: pynvml.nvmlDeviceGetCudaComputeCapability(handle))
    brand = _ask(pynvml, lambda: int(pynvml.nvmlDeviceGetBrand(handle)))
    return Gpu(
        index=index,
        name=str(pynvml.nvmlDeviceGetName(handle)),
        uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
        brand=_BRANDS[brand] if brand is not None and brand < len(_BRANDS) else "",
        memory=_memory(pynvml, handle),
        compute_capability=f"{capability[0]}.{capability[1]}" if capability else "",
        ecc=_ask(pynvml, lambda: bool(pynvml.nvmlDeviceGetEccMode(handle)[0])),
        minor=_ask(pynvml, lambda: int(pynvml.nvmlDeviceGetMinorNumber(handle))),
    )


def _memory(pynvml: Any, handle: Any) -> int | None:
    return _ask(pynvml, lambda: int(pynvml.nvmlDeviceGetMemoryInfo(handle).total))


def _instances(pynvml: Any, parent: Gpu, handle: Any) -> Iterator[Gpu]:
    most = _ask(pynvml, lambda: int(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)))
    for number in range(most or 0):
        instance = _ask(pynvml, partial(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number))
        if instance is not None:
            yield _instance(pynvml, parent, instance)


def _instance(pynvml: Any, parent: Gpu, handle: Any) -> Gpu:
    name = _ask(pynvml, lambda: str(pynvml.nvmlDeviceGetName(handle))) or parent.name
    profile = _MIG.search(name)
    part = _ask(pynvml, lambda: int(pynvml.nvmlDeviceGetGpuInstanceId(handle)))
    compute = _ask(pynvml, lambda: int(pynvml.nvmlDeviceGetComputeInstanceId(handle)))
    return replace(
        parent,
        name=name,
        uuid=_ask(pynvml, lambda: str(pynvml.nvmlDeviceGetUUID(handle))) or "",
        memory=_memory(pynvml, handle),
        mig=profile[1] if profile else "unknown",
        instance=None if part is None or compute is None else (part, compute),
        peers=(),
        nvlinks=(),
    )


def _linked(pynvml: Any, gpu: Gpu, handles: dict[int, Any]) -> Gpu:
    """Return a GPU with those that it reaches directly."""
    others = {index: handle for index, handle in handles.items() if index != gpu.index}
    read = pynvml.NVML_P2P_CAPS_INDEX_READ
    # pynvml ends this one constant with a comma, which makes it a tuple.
    direct = read[0] if isinstance(read, tuple) else read
    return replace(
        gpu,
        peers=_reached(pynvml, handles[gpu.index], others, direct),
        nvlinks=_reached(pynvml, handles[gpu.index], others, pynvml.NVML_P2P_CAPS_INDEX_NVLINK),
    )


def _reached(pynvml: Any, handle: Any, others: dict[int, Any], kind: int) -> tuple[int, ...] | None:
    found = []
    for index, other in others.items():
        status = _ask(pynvml, partial(pynvml.nvmlDeviceGetP2PStatus, handle, other, kind))
        if status is None:
            return None
        if status == pynvml.NVML_P2P_STATUS_OK:
            found.append(index)
    return tuple(found)


def _ask(pynvml: Any, question: Callable[[], _Value]) -> _Value | None:
    """Return an answer, or None where there is none. Errors: `NVMLError` of a device that is gone."""
    try:
        return question()
    except pynvml.NVMLError as error:
        gone = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED)
        if error.value in gone:
            raise
        return None
