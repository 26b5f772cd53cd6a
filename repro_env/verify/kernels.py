"""Whether the libraries of a step hold code that runs on the GPUs of a machine.

A library holds SASS, machine code for architectures, and PTX, which a driver translates when it is first used. Each GPU
that programs can see is held against each library. Not every library that holds nothing for a GPU will be missed: see
`_is_excused`.

Sources: CUDA programming guide, "Compute Capabilities", "Binary Compatibility", "PTX Compatibility", "Family-Specific
Features"; CUDA driver API, `CUDA_ERROR_UNSUPPORTED_PTX_VERSION` (222), `CUDA_ERROR_NO_BINARY_FOR_GPU` (209).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Tuple

from repro_env.config.versions import version
from repro_env.frozen import dataclass
from repro_env.lock.cuda_drivers import PTX, served, shipped_with, short, translates
from repro_env.verify.door import Door
from repro_env.verify.facts import Facts, Gpu
from repro_env.verify.findings import Finding, met, not_met, unknown

if TYPE_CHECKING:
    from typing import Self

JETSON = frozenset({(5, 3), (6, 2), (7, 2), (8, 7), (10, 1), (11, 0)})
"""Integrated GPUs: SASS for these runs on them alone, and they run no other."""

_VARIANT = re.compile(r"(?:[._-]?(?:cuda|cu|sm|rocm|hip))[._-]?\d+[a-z]?|[._-]?(?:nocublaslt|cpu)\b", re.IGNORECASE)
_SASS = re.compile(r"[1-9]\d{1,2}[af]?\Z")
_PTX = re.compile(r"[1-9]\d{1,2}[af]?/\d{1,3}\.\d{1,3}\Z")
_NVIDIA_PACKAGES = ("nvidia-", "cutensor", "tensorrt")
_NVIDIA_LIBRARIES = re.compile(
    r"lib(?:cublas|cudnn|cufft|curand|cusolver|cusparse|cutensor|nccl|npp|nvinfer|nvjpeg|nvrtc|nvshmem)[A-Za-z_]*[.-]"
)

Capability = Tuple[int, int]


class Fit(IntEnum):
    """How far a library serves a GPU, the best last."""

    NOTHING = 0
    UNTRANSLATED = 1  # PTX that the driver is too old for
    UNSURE = 2  # PTX of which it is not known whether the driver translates it
    PTX = 3
    SASS = 4


@dataclass(frozen=True, slots=True)
class Driver:
    """A driver's version and the newest CUDA version that it serves; either may be empty."""

    version: str
    newest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A library with code for GPUs, as `lock.gpu_code.GpuCode` tells of it. `package` is of what: `torch 2.7.0`."""

    package: str
    path: str
    sass: tuple[str, ...] = ()
    ptx: tuple[str, ...] = ()
    amd: tuple[str, ...] = ()
    unknown: str = ""

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """Read a JSON object. Errors: `ValueError`."""
        door = Door(values, "library")
        for key, shape, example in (("sass", _SASS, "90a"), ("ptx", _PTX, "90/8.4")):
            wrong = [text for text in door.texts(key) if not shape.match(text)]
            if wrong:
                raise ValueError(f"library.{key}: expected an architecture such as {example}, found {wrong[0]!r}")
        return cls(
            package=door.text("package"),
            path=door.text("path"),
            sass=door.texts("sass"),
            ptx=door.texts("ptx"),
            amd=door.texts("amd"),
            unknown=door.text("unknown"),
        )

    @property
    def name(self) -> str:
        """The file's name, `libtorch_cuda.so`, with nothing in it that a terminal would act on."""
        name = self.path.rpartition("/")[2]
        return name if name.isprintable() else ascii(name)[1:-1]

    @property
    def stem(self) -> str:
        """The file's name without the CUDA version or architecture that it is one of several for."""
        return _VARIANT.sub("", self.name)

    @property
    def is_nvidias(self) -> bool:
        """Whether it is one of NVIDIA's own libraries, which other packages may hold a copy of."""
        return self.package.startswith(_NVIDIA_PACKAGES) or _NVIDIA_LIBRARIES.match(self.name) is not None

    @property
    def carried(self) -> str:
        """What it holds for NVIDIA's GPUs, for people: `SASS 80, 90a; PTX 90`."""
        ptx = tuple(dict.fromkeys(text.partition("/")[0] for text in self.ptx))
        parts = (f"{kind} {', '.join(found)}" for kind, found in (("SASS", self.sass), ("PTX", ptx)) if found)
        return "; ".join(parts)


def check_kernels(libraries: Sequence[Library], facts: Facts, newest: str = "") -> Iterator[Finding]:
    """Yield a finding for each package that holds nothing for a GPU, or one alone where all of them do.

    `newest` is the newest CUDA version that can be served, where that is more than the driver says; nothing is yielded
    for a step without such libraries. Those for AMD's GPUs are not judged.
    """
    driver = Driver(facts.driver, newest or facts.cuda)
    readable = [one for one in libraries if one.sass or one.ptx]
    unread = [one for one in libraries if one.unknown]
    usable = [gpu for gpu in facts.gpus if not gpu.problem]
    if not usable or not (readable or unread):
        return
    silent = [gpu for gpu in usable if not gpu.compute_capability]
    kinds: dict[str, Gpu] = {}
    for gpu in usable:
        if gpu.compute_capability:
            kinds.setdefault(gpu.compute_capability, gpu)
    gpus = list(kinds.values())
    needed = f"code for compute capability {' and '.join(gpu.compute_capability for gpu in gpus) or 'of the GPU'}"
    if silent or not readable:
        told = f"{silent[0].label} does not tell its compute capability" if silent else _unread(unread)
        yield unknown("kernels", needed, told)
        return
    failed = [one for gpu in gpus for one in _failures(readable, gpu, driver)]
    yield from failed
    if not failed:
        yield met("kernels", needed, _counted(readable), "; ".join(_notes(readable, unread, gpus, driver)))


def fit(library: Library, capability: str, driver: Driver) -> Fit:
    """Return how far a library serves a GPU of this compute capability, `9.0`, with this driver."""
    device = _pair(capability)
    if any(_runs(*_architecture(text), device) for text in library.sass):
        return Fit.SASS
    found = Fit.NOTHING
    for text in library.ptx:
        architecture, _, isa = text.partition("/")
        if _translatable(*_architecture(architecture), device):
            answer = translates(isa, driver=driver.version, newest=driver.newest)
            found = max(found, {True: Fit.PTX, False: Fit.UNTRANSLATED, None: Fit.UNSURE}[answer])
    return found


def _runs(architecture: Capability, suffix: str, device: Capability) -> bool:
    """Whether SASS for an architecture runs on a device; `a` is that one alone, `f` its family."""
    if suffix == "a" or architecture in JETSON or device in JETSON:
        return architecture == device
    return architecture[0] == device[0] and architecture[1] <= device[1]


def _translatable(architecture: Capability, suffix: str, device: Capability) -> bool:
    """Whether PTX for an architecture can be translated for a device, by a driver that knows its version."""
    if suffix:
        return _runs(architecture, suffix, device)
    return architecture <= device


def _failures(libraries: Sequence[Library], gpu: Gpu, driver: Driver) -> Iterator[Finding]:
    """Yield a finding for each package of which a library that will be missed does not serve a GPU."""
    fits = {one: fit(one, gpu.compute_capability, driver) for one in libraries}
    packages: dict[str, list[Library]] = {}
    for one, found in fits.items():
        if found <= Fit.UNSURE and not _is_excused(one, gpu, fits):
            packages.setdefault(one.package, []).append(one)
    for lacking in packages.values():
        worst = min(lacking, key=fits.__getitem__)
        yield _finding(worst, lacking, fits[worst], gpu, driver)


def _is_excused(library: Library, gpu: Gpu, fits: dict[Library, Fit]) -> bool:
    """Whether a library that does not serve a GPU will not be missed there.

    - Another one of its package that differs by the CUDA version or architecture in its name does serve it: the package
      loads the one that fits.
    - It is one of NVIDIA's own: who calls it asks first, as PyTorch does with cuSPARSELt.
    - The rest of its package is for this GPU, too, and this one for GPUs that can do more: all its code is for newer
      ones, or for architectures by name (`90a`, `100f`).
    """
    others = [one for one in fits if one.package == library.package and one != library]
    if library.is_nvidias or any(one.stem == library.stem and fits[one] > Fit.UNSURE for one in others):
        return True
    found = [_architecture(text.partition("/")[0]) for text in (*library.sass, *library.ptx)]
    is_newer = min(number for number, _ in found) > _pair(gpu.compute_capability)
    return any(fits[one] > Fit.NOTHING for one in others) and (is_newer or all(suffix for _, suffix in found))


def _finding(library: Library, lacking: Sequence[Library], found: Fit, gpu: Gpu, driver: Driver) -> Finding:
    """Return the finding of a package: `library` is what is told of, of all that are `lacking`."""
    needed = f"code for compute capability {gpu.compute_capability} in {library.package}"
    more = f", and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    carried = f"{library.name} with {library.carried}{more}"
    if found is Fit.UNSURE:
        return unknown("kernels", needed, f"{carried}: whether the driver translates its PTX is not known")
    if found is Fit.UNTRANSLATED:
        return not_met("kernels", needed, carried, *_untranslated(library, gpu, driver))
    why = f"nothing of it runs on {gpu.label}: error 209, no kernel image is available for execution on the device"
    name = library.package.partition(" ")[0]
    hint = f"use a GPU of {_suited(library)}, or a version of {name} that is built for this one"
    return not_met("kernels", needed, carried, why, hint)


def _untranslated(library: Library, gpu: Gpu, driver: Driver) -> tuple[str, str]:
    """Return why, and what to do, where the PTX that would do is newer than the driver."""
    device = _pair(gpu.compute_capability)
    split = (text.partition("/") for text in library.ptx)
    versions = [isa for name, _, isa in split if _translatable(*_architecture(name), device)]
    oldest = min(versions, key=version)
    cuda = PTX.get(short(oldest), "")
    known = served(driver.version, driver.newest)
    why = f"its PTX {oldest} is of CUDA {cuda or 'a newer version'}"
    why += f", and the driver translates that of CUDA {known} and older" if known else ""
    why += ": error 222, the provided PTX was compiled with an unsupported toolchain"
    first = shipped_with(cuda) if cuda else ""
    update = (
        f"update the driver to {first} or newer"
        if first
        else f"update the driver to one of CUDA {cuda or 'that version'}"
    )
    return why, f"{update}, or use a GPU of {_suited(library, sass_alone=True)}" if library.sass else update


def _suited(library: Library, *, sass_alone: bool = False) -> str:
    """Return the compute capabilities that a library serves, for people: `compute capability 7.x from 7.5 or 9.0`."""
    texts = [] if sass_alone else [_architecture(text.partition("/")[0]) for text in library.ptx]
    all_from = min((number for number, suffix in texts if not suffix), default=(10**3, 0))
    lowest: dict[int, int] = {}
    alone = []
    for (major, minor), suffix in (*map(_architecture, library.sass), *(one for one in texts if one[1])):
        if suffix == "a" or (major, minor) in JETSON:
            alone.append((major, minor))
        elif (major, minor) < all_from:
            lowest[major] = min(minor, lowest.get(major, minor))
    words = {
        (major, minor): f"{major}.x" + (f" from {major}.{minor}" if minor else "") for major, minor in lowest.items()
    }
    words.update({(ma, mi): f"{ma}.{mi}" for ma, mi in alone if mi < lowest.get(ma, 10) and (ma, mi) < all_from})
    if all_from[0] < 10**3:
        words[all_from] = f"{all_from[0]}.{all_from[1]} and newer"
    return "compute capability " + " or ".join(words[number] for number in sorted(words))


def _notes(
    readable: Sequence[Library], unread: Sequence[Library], gpus: Sequence[Gpu], driver: Driver
) -> Iterator[str]:
    """Yield what is worth saying where nothing fails."""
    for gpu in gpus:
        fits = {one: fit(one, gpu.compute_capability, driver) for one in readable}
        translated = [one for one, found in fits.items() if found is Fit.PTX]
        unused = [one for one, found in fits.items() if found <= Fit.UNSURE]
        if translated:
            yield f"{_listed(translated)}: PTX that is translated for {gpu.label} when first used"
        if unused:
            yield f"{_listed(unused)}: not for {gpu.label}, and not needed there"
    if unread:
        yield _unread(unread)


def _unread(libraries: Sequence[Library]) -> str:
    return f"{_listed(libraries)}: cannot be read, {libraries[0].unknown}"


def _listed(libraries: Sequence[Library]) -> str:
    names = ", ".join(one.name for one in libraries[:3])
    return names + (f" and {len(libraries) - 3} more" if len(libraries) > 3 else "")  # noqa: PLR2004 - as many are named


def _counted(libraries: Sequence[Library]) -> str:
    packages = sorted({one.package.partition(" ")[0] for one in libraries})
    libraries_text = "1 library" if len(libraries) == 1 else f"{len(libraries)} libraries"
    return f"{libraries_text} of " + (packages[0] if len(packages) == 1 else f"{len(packages)} packages")


def _architecture(text: str) -> tuple[Capability, str]:
    """Return `90a` as compute capability and suffix."""
    digits = text.rstrip("af")
    return (int(digits[:-1]), int(digits[-1])), text[len(digits) :]


def _pair(capability: str) -> Capability:
    numbers = (*version(capability), 0, 0)
    return numbers[0], numbers[1]
