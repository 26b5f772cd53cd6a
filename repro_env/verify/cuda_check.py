"""The CUDA runtime that a step brings along, held against a machine's driver.

Source: the guide "CUDA Compatibility", https://docs.nvidia.com/deploy/cuda-compatibility/.
"""

from __future__ import annotations

from repro_env.config.versions import version
from repro_env.lock.cuda import CudaCompat, CudaFacts
from repro_env.lock.cuda_drivers import FLOORS, Service, floor_of, served, serves, shipped_with
from repro_env.verify.facts import Facts
from repro_env.verify.findings import Finding, met, not_met, unknown

_DATA_CENTRE = ("nvidia", "tesla")


def check_cuda(runtime: CudaFacts, facts: Facts, compat: CudaCompat | None = None) -> Finding:
    """Return the finding of the driver for a CUDA runtime; `compat` is what the base has for older drivers."""
    wanted, floor = runtime.runtime, floor_of(runtime.runtime)
    needed = f"a driver for CUDA {wanted}" + (f": {floor} or newer" if floor else "")
    found = f"{facts.driver or 'unknown'}" + (f", which is for CUDA {facts.cuda}" if facts.cuda else "")
    source = f"CUDA {wanted} comes from {runtime.origin}"
    if runtime.others:
        source += f" (others: {', '.join(runtime.others)})"
    service = serves(wanted, driver=facts.driver, newest=facts.cuda)
    if service is Service.WHOLE:
        return met("cuda", needed, found, source if runtime.others else "")
    if compat is not None and is_bridged(compat, facts) and version(compat.cuda) >= version(wanted)[:2]:
        bridge = f"the base's cuda-compat brings CUDA {compat.cuda} to driver {version(facts.driver)[0]}"
        return met("cuda", needed, found, f"{source}; {bridge}, where the container gets it from {compat.path}")
    if service is Service.MINOR:
        limit = "it runs what is compiled for its GPU; newer PTX fails with error 222, newer functions with error 36"
        return met("cuda", needed, found, f"{source}; {limit}{_whole(wanted)}")
    if service is Service.UNKNOWN:
        silent = "the driver does not say its version" if floor else "this program has no driver floor for that"
        return unknown("cuda", needed, f"{source}, and {silent}", "allow it if it runs")
    why = f"{source}; programs fail with error 35, driver version is insufficient"
    return not_met("cuda", needed, found, why, _hint(runtime, facts, compat))


def is_bridged(compat: CudaCompat, facts: Facts) -> bool:
    """Whether a forward-compatibility package is for a machine: for its driver, and for data-centre GPUs."""
    return compat.bridges(facts.driver) and _has_data_centre_gpus(facts)


def _has_data_centre_gpus(facts: Facts) -> bool:
    return bool(facts.gpus) and all(gpu.brand.lower() in _DATA_CENTRE for gpu in facts.gpus)


def _whole(wanted: str) -> str:
    shipped = shipped_with(wanted)
    return f"; driver {shipped} has all" if shipped else ""


def _hint(runtime: CudaFacts, facts: Facts, compat: CudaCompat | None) -> str:
    hint = f"update the driver to {floor_of(runtime.runtime)} or newer, or lock packages made for {_still(facts)}"
    if not _has_data_centre_gpus(facts):
        return hint
    package = f"cuda-compat-{runtime.runtime.replace('.', '-')}"
    if compat is None:
        return f"{hint}; on data-centre GPUs {package} in the base may bridge it, with --allow cuda"
    if not compat.branches:
        return f"{hint}; the base has a cuda-compat of CUDA {compat.cuda} that does not say for which drivers it is"
    branches = ", ".join(map(str, compat.branches))
    return f"{hint}; the base's cuda-compat is of CUDA {compat.cuda}, for drivers {branches}"


def _still(facts: Facts) -> str:
    """Return what this driver does serve, for people: `CUDA 11.4, or any CUDA 11 compiled for its GPU`."""
    whole = served(facts.driver, facts.cuda)
    if not whole:
        return "an older CUDA"
    major = version(whole)[0]
    floor = FLOORS.get(major, "")
    at_the_floor = bool(floor and facts.driver) and version(facts.driver) >= version(floor)
    return f"CUDA {whole}" + (f", or any CUDA {major} compiled for its GPU" if at_the_floor else " or older")
