"""What well-known GPU models are: a step cannot ask for one by its name and for what no card of that name has.

Whatever is not certain is left out, for a wrong refusal could not be overridden. A name that stands for no card here is
never refused; `cards` of one model are all there are; their memory is what they are built with, of which a driver
reports less. That of GeForce cards is left out because people rebuild them with more.

Sources: names, the machines in `fixtures/machines` and those of https://github.com/NVIDIA/k8s-test-infra; compute
capabilities, https://developer.nvidia.com/cuda-gpus; MIG, NVIDIA's MIG user guide, "Supported GPUs"; memory and NVLink,
the models' data sheets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from repro_env.config.machine import GpuRequest, name_matches
from repro_env.frozen import dataclass

_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuModel:
    """The cards that have one word in their names. `cards` are what a driver calls them, with their memory in GiB.

    A memory of 0 is not known; `mig` and `nvlink` are whether any of them may have that.
    """

    compute_capability: str
    cards: Mapping[str, int]
    mig: bool = False
    nvlink: bool = False


MODELS: Mapping[str, GpuModel] = {
    "P100": GpuModel(
        compute_capability="6.0",
        cards={"Tesla P100-PCIE-12GB": 12, "Tesla P100-PCIE-16GB": 16, "Tesla P100-SXM2-16GB": 16},
        nvlink=True,
    ),
    "V100": GpuModel(
        compute_capability="7.0",
        cards={
            **{f"Tesla V100-{form}-16GB": 16 for form in ("PCIE", "FHHL", "SXM2", "DGXS")},
            **{f"Tesla V100-{form}-32GB": 32 for form in ("PCIE", "SXM2", "SXM3", "DGXS")},
        },
        nvlink=True,
    ),
    "T4": GpuModel(compute_capability="7.5", cards={"Tesla T4": 16}),
    "A100": GpuModel(
        compute_capability="8.0",
        cards={
            "NVIDIA A100-PCIE-40GB": 40,
            "NVIDIA A100-SXM4-40GB": 40,
            "NVIDIA A100-SXM-64GB": 64,
            "NVIDIA A100-SXM4-80GB": 80,
            "NVIDIA A100 80GB PCIe": 80,
        },
        mig=True,
        nvlink=True,
    ),
    "A30": GpuModel(compute_capability="8.0", cards={"NVIDIA A30": 24}, mig=True, nvlink=True),
    "A2": GpuModel(compute_capability="8.6", cards={"NVIDIA A2": 16}),
    "A10": GpuModel(compute_capability="8.6", cards={"NVIDIA A10": 24}),
    "A10G": GpuModel(compute_capability="8.6", cards={"NVIDIA A10G": 24}),
    "A16": GpuModel(compute_capability="8.6", cards={"NVIDIA A16": 16}),
    "A40": GpuModel(compute_capability="8.6", cards={"NVIDIA A40": 48}, nvlink=True),
    "A6000": GpuModel(compute_capability="8.6", cards={"NVIDIA RTX A6000": 48}, nvlink=True),
    "L4": GpuModel(compute_capability="8.9", cards={"NVIDIA L4": 24}),
    "L40": GpuModel(compute_capability="8.9", cards={"NVIDIA L40": 48}),
    "L40S": GpuModel(compute_capability="8.9", cards={"NVIDIA L40S": 48}),
    "6000 Ada": GpuModel(compute_capability="8.9", cards={"NVIDIA RTX 6000 Ada Generation": 48}),
    "RTX 4090": GpuModel(compute_capability="8.9", cards={"NVIDIA GeForce RTX 4090": 0}),
    "H100": GpuModel(
        compute_capability="9.0",
        cards={
            "NVIDIA H100 64GB HBM2": 64,
            "NVIDIA H100 80GB HBM3": 80,
            "NVIDIA H100 PCIe": 80,
            "NVIDIA H100 NVL": 96,
            "NVIDIA H100 96GB HBM3": 96,
        },
        mig=True,
        nvlink=True,
    ),
    "H200": GpuModel(
        compute_capability="9.0", cards={"NVIDIA H200": 144, "NVIDIA H200 NVL": 144}, mig=True, nvlink=True
    ),
    "GH200": GpuModel(
        compute_capability="9.0",
        cards={"NVIDIA GH200 480GB": 96, "NVIDIA GH200 144G HBM3e": 144},
        mig=True,
        nvlink=True,
    ),
    "B200": GpuModel(compute_capability="10.0", cards={"NVIDIA B200": 192}, mig=True, nvlink=True),
    "GB200": GpuModel(compute_capability="10.0", cards={"NVIDIA GB200": 192}, mig=True, nvlink=True),
    "B300": GpuModel(
        compute_capability="10.3", cards={"NVIDIA B300": 288, "NVIDIA B300 SXM6 AC": 288}, mig=True, nvlink=True
    ),
    "GB300": GpuModel(compute_capability="10.3", cards={"NVIDIA GB300": 288}, mig=True, nvlink=True),
    "RTX PRO 6000": GpuModel(
        compute_capability="12.0",
        cards={
            f"NVIDIA RTX PRO 6000 Blackwell {edition} Edition": 96
            for edition in ("Server", "Workstation", "Max-Q Workstation")
        },
        mig=True,
    ),
    "RTX 5090": GpuModel(compute_capability="12.0", cards={"NVIDIA GeForce RTX 5090": 0}),
}
"""By what a name has to have so that no card but these can be meant."""


def model_contradictions(gpu: GpuRequest) -> Iterator[tuple[str, str]]:
    """Yield what no card of the names asked for has, as a key and why; nothing where one of them may be all of it."""
    lacking = {name: _lacking(name, gpu) for name in gpu.names}
    if not lacking or not all(lacking.values()):
        return
    first, *others = lacking.values()
    shared = [key for key in first if all(key in other for other in others)]
    for key in shared:
        yield key, "names asks for " + " and for ".join(f"{name}, which has {lacking[name][key]}" for name in lacking)
    if not shared:
        each = (f"{name} has {' and '.join(objections.values())}" for name, objections in lacking.items())
        yield "names", f"none of them is all that is asked for: {'; '.join(each)}"


def _lacking(name: str, gpu: GpuRequest) -> dict[str, str]:
    """Return what cards of a name have instead of what is asked for, by key; nothing where one may be all of it."""
    model = next((model for word, model in MODELS.items() if name_matches(word, name)), None)
    sizes = [size for card, size in model.cards.items() if name_matches(name, card)] if model else []
    if model is None or not sizes:
        return {}
    memory = max(sizes)
    rows = (
        (
            "compute-capability",
            not gpu.compute_capability.accepts(model.compute_capability),
            f"compute capability {model.compute_capability}",
        ),
        ("memory", 0 < memory * _GIB < gpu.memory, f"{memory} GiB at most"),
        ("mig", bool(gpu.mig) and not model.mig, "no MIG"),
        ("nvlink", gpu.nvlink and not model.nvlink, "no NVLink"),
    )
    return {key: has for key, is_lacking, has in rows if is_lacking}
