"""`[step.X.gpu]` held against the GPUs of a machine. Each one that programs can see must do: they may use any."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter

from repro_env.config.machine import GpuRequest, name_matches
from repro_env.lock.cuda import CudaCompat, CudaFacts
from repro_env.sizes import format_asked, format_size
from repro_env.verify.cuda_check import check_cuda
from repro_env.verify.facts import Facts, Gpu
from repro_env.verify.findings import Finding, met, not_met, unknown


def check_gpu(
    asked: GpuRequest, runtime: CudaFacts | None, facts: Facts, compat: CudaCompat | None = None
) -> Iterator[Finding]:
    """Yield a finding for everything that is asked of the GPUs; for one alone where there is no driver.

    `runtime` is the CUDA that the step brings along, and `compat` what its base has for older drivers.
    """
    if facts.no_driver:
        yield not_met("gpu", "NVIDIA's driver", "no NVIDIA driver", facts.no_driver, facts.remedy)
        return
    yield from _broken(facts.gpus)
    usable = [gpu for gpu in facts.gpus if not gpu.problem]
    yield _count(asked, usable, facts.hidden)
    if asked.driver:
        yield _driver(asked, facts)
    if runtime is not None:
        yield check_cuda(runtime, facts, compat)
    if usable:
        yield from _devices(asked, usable)
        yield from _links(asked, usable)


def _broken(gpus: Sequence[Gpu]) -> Iterator[Finding]:
    for gpu in gpus:
        if gpu.problem:
            hint = gpu.remedy or "reset it or restart the machine; nvidia-smi and the kernel's log say more"
            yield not_met("gpu", "every GPU in order", f"{gpu.label}: {gpu.problem}", hint=hint)


def _count(asked: GpuRequest, gpus: Sequence[Gpu], hidden: str) -> Finding:
    needed, found = _number(asked.count), _number(len(gpus))
    if len(gpus) >= asked.count:
        return met("count", needed, found)
    why = f"{hidden} leaves others out" if hidden else ""
    return not_met("count", needed, found, why, "run it where there are more GPUs, or ask for fewer")


def _number(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def _driver(asked: GpuRequest, facts: Facts) -> Finding:
    needed = f"driver {asked.driver}"
    if not facts.driver:
        return unknown("driver", needed, "the driver does not say its version")
    if asked.driver.accepts(facts.driver):
        return met("driver", needed, facts.driver)
    return not_met("driver", needed, facts.driver, hint="install a driver in that range on this machine")


def _devices(asked: GpuRequest, gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """Yield findings of what each device must be on its own."""
    every = partial(_every, gpus, asked.count)
    if asked.names:
        needed = " or ".join(asked.names)
        yield every("names", needed, lambda gpu: gpu.name, lambda gpu: _is_one_of(gpu, asked.names))
    if asked.memory:
        yield _memory(asked, gpus)
    if asked.compute_capability:
        needed, wanted = f"compute capability {asked.compute_capability}", asked.compute_capability
        has = attrgetter("compute_capability")
        yield every("compute-capability", needed, has, lambda gpu: wanted.accepts(gpu.compute_capability))
    if asked.mig:
        needed = f"a {asked.mig} MIG instance"
        yield every("mig", needed, lambda gpu: gpu.mig or "a whole GPU", lambda gpu: gpu.mig == asked.mig)
    if asked.ecc:
        words = {True: "on", False: "off", None: ""}
        yield every("ecc", "ECC memory on", lambda gpu: words[gpu.ecc], lambda gpu: gpu.ecc is True)


def is_suited(asked: GpuRequest, gpu: Gpu) -> bool:
    """Whether a device is on its own what is asked for."""
    return all(finding.is_met for finding in _devices(asked, [gpu]))


def _is_one_of(gpu: Gpu, names: Sequence[str]) -> bool:
    return any(name_matches(name, gpu.name) for name in names)


def _memory(asked: GpuRequest, gpus: Sequence[Gpu]) -> Finding:
    finding = _every(
        gpus,
        asked.count,
        "memory",
        f"{format_asked(asked.memory)} of GPU memory",
        lambda gpu: "" if gpu.memory is None else format_size(gpu.memory),
        lambda gpu: gpu.memory is not None and gpu.memory >= asked.memory,
    )
    size, rest = divmod(asked.memory, 2**30)
    if finding.status != "mismatch" or rest or min(gpu.memory or 0 for gpu in gpus) < size * 10**9:
        return finding
    sold = "a driver reports less than the size a GPU is sold by, which counts in GB"
    return replace(finding, hint=f"{sold}: write {size}GB rather than {size}GiB")


def _every(
    gpus: Sequence[Gpu],
    count: int,
    name: str,
    needed: str,
    shown: Callable[[Gpu], str],
    passes: Callable[[Gpu], bool],
) -> Finding:
    """Return the finding of a property that every device must have; one it does not tell, shown empty, is unknown.

    `count` are as many as the step can do with.
    """
    silent = [gpu for gpu in gpus if not shown(gpu)]
    wrong = [gpu for gpu in gpus if shown(gpu) and not passes(gpu)]
    if wrong:
        good = [gpu.cuda_name for gpu in gpus if gpu not in wrong and gpu not in silent]
        few = f"let the step see only GPUs that do: CUDA_VISIBLE_DEVICES={','.join(good)}"
        hint = few if len(good) >= count else "run the step on a machine with such GPUs"
        return not_met(name, needed, "; ".join(_alike(wrong, shown)), hint=hint)
    if silent:
        return unknown(name, needed, f"{silent[0].label} does not tell")
    return met(name, needed, ", ".join(dict.fromkeys(map(shown, gpus))))


def _alike(gpus: Sequence[Gpu], shown: Callable[[Gpu], str]) -> Iterator[str]:
    """Yield what is shown of devices, those of one model with one value together: `GPU 0, 1 (NVIDIA L4): 22.0 GiB`."""
    groups: dict[tuple[str, str], list[Gpu]] = {}
    for gpu in gpus:
        groups.setdefault((gpu.name, shown(gpu)), []).append(gpu)
    for (name, text), several in groups.items():
        numbers = ", ".join(dict.fromkeys(str(gpu.index) for gpu in several))
        yield f"GPU {numbers}" + (f" ({name})" if name else "") + (f": {text}" if text != name else "")


def _links(asked: GpuRequest, gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """Yield findings of what stands between every two devices; of one alone there is nothing to tell."""
    if len(gpus) == 1:
        return
    if asked.nvlink:
        yield _every_pair("nvlink", "NVLink between every two GPUs", gpus, lambda gpu: gpu.nvlinks)
    if asked.peer_access:
        yield _every_pair("peer-access", "peer access between every two GPUs", gpus, lambda gpu: gpu.peers)


def _every_pair(name: str, needed: str, gpus: Sequence[Gpu], reached: Callable[[Gpu], Sequence[int] | None]) -> Finding:
    for gpu in gpus:
        others = reached(gpu)
        if others is None:
            return unknown(name, needed, f"{gpu.label} does not tell")
        missing = [other for other in gpus if other is not gpu and other.index not in others]
        if missing:
            found = f"none between {_told_apart(gpu)} and {_told_apart(missing[0])}"
            return not_met(name, needed, found, hint="choose GPUs of one group: see `nvidia-smi topo -m`")
    return met(name, needed, f"between all {len(gpus)}")


def _told_apart(gpu: Gpu) -> str:
    return gpu.uuid if gpu.mig else f"GPU {gpu.index}"
