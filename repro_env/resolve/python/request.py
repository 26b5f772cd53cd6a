"""What is asked of the resolver for one step on one platform."""

from __future__ import annotations

from dataclasses import field

from repro_env.frozen import dataclass
from repro_env.lock.model import LocalPackage, SourcePackage, Wheel
from repro_env.lock.sources import PythonInputs
from repro_env.values import Platform, PythonVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """What was resolved, each sorted by name: wheels, and what is built, of pinned sources and of people's own."""

    wheels: tuple[Wheel, ...] = ()
    sources: tuple[SourcePackage, ...] = ()
    local: tuple[LocalPackage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRequest:
    """One resolution.

    `interpreter` is the full version where it is known; `glibc` that of the base, which decides the manylinux tag.
    `group` and `script` are the names that `inputs.group` and `inputs.script` were read from. `previous` are the wheels
    that are kept where they still satisfy the request, and so are `previous_sources` and what the builds of both these
    and `previous_local` need. `build` are the names of packages that are built from their sources, `torch_backend` the
    index that PyTorch's packages come from.
    """

    step: str
    python: PythonVersion
    platform: Platform
    glibc: str
    inputs: PythonInputs
    interpreter: str = ""
    group: str = ""
    script: str = ""
    build: tuple[str, ...] = ()
    torch_backend: str = ""
    previous: tuple[Wheel, ...] = field(default=())
    previous_sources: tuple[SourcePackage, ...] = ()
    previous_local: tuple[LocalPackage, ...] = ()

    @property
    def where(self) -> str:
        """What the wheels must fit, for people: `Python 3.11.2 on linux/amd64 with glibc 2.36`."""
        return f"Python {self.interpreter or self.python} on {self.platform} with glibc {self.glibc}"
