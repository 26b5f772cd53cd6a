"""What CUDA a step brings along, and the driver that follows from it: derived from what is pinned, never declared.

Sources: the packages that NVIDIA publishes on PyPI; PyTorch's index, whose versions end in `+cu128`; the variables that
the images nvidia/cuda and those of NGC set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from repro_env.config.versions import version
from repro_env.frozen import dataclass
from repro_env.lock.cuda_drivers import floor_of, shipped_with, short

_RUNTIME = re.compile(r"(?:nvidia-cuda-runtime(?:-cu\d+)?|cuda-toolkit)\Z")
_LOCAL = re.compile(r"[^+]+\+(?:.*[^a-z])?cu(\d{2})(\d)(?!\d)")  # 2.7.0+cu128, 2.1.2+pt26cu124
_NAMED = re.compile(r".+-cu(?:da)?(1[1-9])x?(?:-[a-z0-9]+)?\Z")  # nvidia-cudnn-cu12, cupy-cuda12x, jax-cuda12-plugin
_NUMBERS = re.compile(r"\d+(?:\.\d+)+")
_CUDA = re.compile(r"[1-9]\d*\.\d+")  # packages of version 0 hold the place of a name and nothing else
_SUFFIX = re.compile(r"-cu\d+\Z")

_LIBRARIES = {
    "nvidia-cublas": "cuBLAS",
    "nvidia-cuda-cupti": "CUPTI",
    "nvidia-cuda-nvrtc": "NVRTC",
    "nvidia-cudnn": "cuDNN",
    "nvidia-cufft": "cuFFT",
    "nvidia-cufile": "cuFile",
    "nvidia-curand": "cuRAND",
    "nvidia-cusolver": "cuSOLVER",
    "nvidia-cusparse": "cuSPARSE",
    "nvidia-cusparselt": "cuSPARSELt",
    "nvidia-nccl": "NCCL",
    "nvidia-npp": "NPP",
    "nvidia-nvjitlink": "nvJitLink",
    "nvidia-nvjpeg": "nvJPEG",
    "nvidia-nvshmem": "NVSHMEM",
    "cutensor": "cuTENSOR",
    "tensorrt": "TensorRT",
}
"""Packages, without the suffix for a CUDA version, and the libraries that they hold."""

_VARIABLES = {
    "NV_LIBCUBLAS_VERSION": "cuBLAS",
    "CUBLAS_VERSION": "cuBLAS",
    "NV_CUDNN_VERSION": "cuDNN",
    "CUDNN_VERSION": "cuDNN",
    "CUFFT_VERSION": "cuFFT",
    "CUFILE_VERSION": "cuFile",
    "CURAND_VERSION": "cuRAND",
    "CUSOLVER_VERSION": "cuSOLVER",
    "NV_LIBCUSPARSE_VERSION": "cuSPARSE",
    "CUSPARSE_VERSION": "cuSPARSE",
    "CUSPARSELT_VERSION": "cuSPARSELt",
    "CUTENSOR_VERSION": "cuTENSOR",
    "NV_LIBNCCL_PACKAGE_VERSION": "NCCL",
    "NCCL_VERSION": "NCCL",
    "NV_LIBNPP_VERSION": "NPP",
    "NPP_VERSION": "NPP",
    "NVJPEG_VERSION": "nvJPEG",
    "NVSHMEM_VERSION": "NVSHMEM",
    "TRT_VERSION": "TensorRT",
}
"""Variables of an image, and the libraries whose versions they tell."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class CudaLibrary:
    """A library of NVIDIA's that a step holds, `cuDNN`. `origin` is the package or the base's variable."""

    name: str
    version: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaCompat:
    """A forward-compatibility package of a base: it brings CUDA `cuda`, `13.1`, to older drivers of data-centre GPUs.

    `driver` is the version of its libraries, which stand in `path`; `branches` are the major versions of the drivers
    that it is for, none where it does not say.
    """

    cuda: str
    driver: str
    branches: tuple[int, ...] = ()
    path: str = ""

    def bridges(self, driver: str) -> bool:
        """Whether it is for a driver, which has to be older than its own libraries."""
        return bool(driver) and version(driver)[0] in self.branches and version(driver) < version(self.driver)


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaFacts:
    """The CUDA runtime that a step brings along.

    `runtime` is its version, `12.8`, and `origin` what it comes from; `others` name what else tells of CUDA, and of
    another version: `12.4 from torch 2.6.0+cu124`, `11.x from cupy-cuda11x 13.6.0`. `driver` is the oldest that runs
    it, by minor-version compatibility, and `whole_driver` the first that has everything of it; both are empty where
    this program does not know.
    """

    runtime: str
    origin: str
    others: tuple[str, ...] = ()
    driver: str = ""
    whole_driver: str = ""
    libraries: tuple[CudaLibrary, ...] = ()  # sorted by name


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A CUDA version that something tells of; `vague` where it tells the major version alone."""

    version: str
    origin: str
    vague: bool = False

    def __str__(self) -> str:
        number = f"{version(self.version)[0]}.x" if self.vague else self.version
        return f"{number} from {self.origin}"

    def contradicts(self, other: _Candidate) -> bool:
        mine, others = version(self.version)[:2], version(other.version)[:2]
        return mine[:1] != others[:1] if self.vague or other.vague else mine != others


def cuda_facts(packages: Iterable[tuple[str, str]], env: Mapping[str, str]) -> CudaFacts | None:
    """Return what CUDA a step brings along, or None where nothing tells of any.

    `packages` are names and versions of what is installed, `env` what the base's image sets, nothing for another base.
    Packages go before the base, because their libraries find the runtime beside them. A package whose name tells the
    major version alone counts where nothing else tells more. Of several the newest counts: all have to be served.
    """
    known = sorted(set(packages))
    found = list(_of_packages(known))
    base = list(_of_base(env))
    exact = [one for one in found if not one.vague]
    choice = exact or base or found
    if not choice:
        return None
    chosen = max(choice, key=lambda one: version(one.version))  # the first of several
    others = {str(one) for one in (*found, *base) if one.contradicts(chosen)}
    return CudaFacts(
        runtime=chosen.version,
        origin=chosen.origin,
        others=tuple(sorted(others)),
        driver=floor_of(chosen.version),
        whole_driver=shipped_with(chosen.version),
        libraries=tuple(_libraries(known, env)),
    )


def cuda_words(facts: CudaFacts | None) -> dict[str, str]:
    """Return the facts for people, by what they are about; nothing for no CUDA."""
    if facts is None:
        return {}
    words = {
        "CUDA": f"{facts.runtime} from {facts.origin}",
        "other CUDA": ", ".join(facts.others),
        "driver for CUDA": facts.driver and f"{facts.driver} or newer",
        "driver for all of CUDA": facts.whole_driver and f"{facts.whole_driver} or newer",
    }
    libraries: dict[str, list[str]] = {}
    for library in facts.libraries:
        libraries.setdefault(library.name, []).append(library.version)
    words.update((name, " and ".join(versions)) for name, versions in libraries.items())
    return {name: text for name, text in words.items() if text}


def compat_words(compat: CudaCompat) -> str:
    """Return a forward-compatibility package for people."""
    branches = ", ".join(map(str, compat.branches)) or "drivers it does not name"
    return f"CUDA {compat.cuda} for {branches}"


def _of_packages(packages: Iterable[tuple[str, str]]) -> Iterator[_Candidate]:
    for name, number in packages:
        origin = f"{name} {number}"
        if _RUNTIME.match(name) and _CUDA.match(number):
            yield _Candidate(short(number), origin)
        elif local := _LOCAL.match(number):
            yield _Candidate(f"{int(local[1])}.{int(local[2])}", origin)
        elif named := _NAMED.match(name):
            yield _Candidate(f"{named[1]}.0", origin, vague=True)


def _of_base(env: Mapping[str, str]) -> Iterator[_Candidate]:
    text = env.get("CUDA_VERSION", "")
    if _CUDA.match(text):
        yield _Candidate(short(text), f"CUDA_VERSION {text} of the base")


def _libraries(packages: Iterable[tuple[str, str]], env: Mapping[str, str]) -> Iterator[CudaLibrary]:
    """Yield the libraries that are known, sorted; of those in the base, such as no package has."""
    named = ((_LIBRARIES.get(_SUFFIX.sub("", name)), name, number) for name, number in packages)
    found = [CudaLibrary(name=library, version=number, origin=name) for library, name, number in named if library]
    held = {library.name for library in found}
    for variable, name in _VARIABLES.items():
        number = _NUMBERS.match(env.get(variable, ""))  # without Debian's revision
        if name not in held and number:
            held.add(name)
            found.append(CudaLibrary(name=name, version=number[0], origin=f"{variable} of the base"))
    yield from sorted(found)
