"""Which CUDA runtime a step's programs bring along, and from where: derived from what the lock pins."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from repro_env.config.versions import version
from repro_env.lock.model import Environment, ImageRoot, Root
from repro_env.verify.cuda import short

_RUNTIME = re.compile(r"nvidia-cuda-runtime(?:-cu\d\d)?\Z")
_LOCAL = re.compile(r"[^+]+\+cu(\d\d)(\d)\Z")  # the local version that PyTorch's own index gives, +cu128


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaRuntime:
    """A CUDA version, `12.8`, with the package or image that it comes from; `others` tell of different ones."""

    version: str
    origin: str
    others: tuple[str, ...] = ()


def cuda_runtime(environment: Environment, root: Root) -> CudaRuntime | None:
    """Return the newest CUDA runtime that a step holds, or None where it holds none.

    Wheels go before the base, because their libraries find the runtime beside them. Every wheel's runtime has to be
    served, so the newest counts.
    """
    found = list(_of_wheels(environment))
    if isinstance(root, ImageRoot) and root.env.get("CUDA_VERSION"):
        text = root.env["CUDA_VERSION"]
        found += [(short(text), f"CUDA_VERSION {text} of the base")] if _is_version(text) else []
    wheels = [one for one in found if "of the base" not in one[1]]
    if not found:
        return None
    chosen = max(wheels or found, key=lambda one: version(one[0]))
    others = tuple(sorted({origin for number, origin in found if number != chosen[0]}))
    return CudaRuntime(version=chosen[0], origin=chosen[1], others=others)


def image_requirements(root: Root) -> Mapping[str, str]:
    """Return what a base's image says of CUDA to NVIDIA's container toolkit; nothing for a base of Debian packages."""
    if not isinstance(root, ImageRoot):
        return {}
    switch = root.env.get("NVIDIA_DISABLE_REQUIRE")
    return {**root.cuda, **({"NVIDIA_DISABLE_REQUIRE": switch} if switch is not None else {})}


def _of_wheels(environment: Environment) -> Iterator[tuple[str, str]]:
    for wheel in environment.wheels:
        origin = f"{wheel.name} {wheel.version}"
        if _RUNTIME.match(wheel.name) and _is_version(wheel.version):
            yield short(wheel.version), origin
        elif local := _LOCAL.match(wheel.version):
            yield f"{int(local[1])}.{int(local[2])}", origin


def _is_version(text: str) -> bool:
    return bool(re.match(r"\d+\.\d+", text))
