"""The GPUs of this machine that a step is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from repro_env.lock.model import ImageRoot, LockedStep, Root
from repro_env.run.gpus import GpuDevice, GpuGrant, Passing, capabilities
from repro_env.verify.cuda_check import is_bridged
from repro_env.verify.facts import Facts
from repro_env.verify.gpu_choice import choose_gpus


def as_given(facts: Facts, step: LockedStep) -> Facts:
    """Return the machine as a step sees it that `repro exec` starts there: with the GPUs that it is given alone."""
    return facts if step.gpu is None else replace(facts, gpus=choose_gpus(step.gpu, facts.gpus))


def said(facts: Facts, step: LockedStep, how: str) -> str:
    """Return a line about what a step is given: `step train gets GPU 1 (NVIDIA H100), by CDI`."""
    given = ", ".join(gpu.label for gpu in as_given(facts, step).gpus)
    return f"step {step.name} gets {given}, {how}"


def grant_of(facts: Facts, step: LockedStep) -> GpuGrant | None:
    """Return what a step is given of a machine, None for a step that asks for no GPU. `facts` are of the whole one."""
    if step.gpu is None:
        return None
    given = choose_gpus(step.gpu, facts.gpus)
    return GpuGrant(
        devices=tuple(
            GpuDevice(index=gpu.index, uuid=gpu.uuid, minor=gpu.minor, instance=gpu.instance) for gpu in given
        ),
        everything=not facts.hidden and len(given) == len(facts.gpus),
        driver=facts.driver,
        capabilities=capabilities(step.env.get("NVIDIA_DRIVER_CAPABILITIES", "")),
    )


def with_compat(
    passing: Passing, root: Root, facts: Facts | None, step: LockedStep, variables: Mapping[str, str]
) -> Passing:
    """Return what is passed, and the base's own `libcuda.so` before the driver's where that is what bridges it.

    NVIDIA's container toolkit does the same, where it is asked. `variables` are those of the image and the step.
    """
    compat = root.compat if isinstance(root, ImageRoot) else None
    if facts is None or compat is None or not is_bridged(compat, as_given(facts, step)):
        return passing
    places = (compat.path, passing.variables.get("LD_LIBRARY_PATH") or variables.get("LD_LIBRARY_PATH", ""))
    return replace(passing, variables={**passing.variables, "LD_LIBRARY_PATH": ":".join(filter(None, places))})
