"""What the lock says of a step's CUDA, on one platform."""

from __future__ import annotations

from collections.abc import Mapping

from repro_env.lock.cuda import CudaFacts, cuda_facts
from repro_env.lock.model import Environment, ImageRoot, Root


def cuda_of(environment: Environment, root: Root) -> CudaFacts | None:
    """Return the CUDA facts of a step. A lock of before there were any has what they follow from."""
    return environment.cuda or cuda_facts(environment.versions, root.env if isinstance(root, ImageRoot) else {})


def image_requirements(root: Root) -> Mapping[str, str]:
    """Return what a base's image says of CUDA to NVIDIA's container toolkit; nothing for a base of Debian packages."""
    if not isinstance(root, ImageRoot):
        return {}
    switch = root.env.get("NVIDIA_DISABLE_REQUIRE")
    return {**root.cuda, **({"NVIDIA_DISABLE_REQUIRE": switch} if switch is not None else {})}
