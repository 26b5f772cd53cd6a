"""What is asked of the resolver for one step on one platform."""

from __future__ import annotations

from dataclasses import dataclass, field

from repro_env.lock.model import Wheel
from repro_env.lock.sources import PythonInputs
from repro_env.values import Platform, PythonVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRequest:
    """One resolution.

    `interpreter` is the full version where it is known; `glibc` that of the base, which decides the manylinux tag.
    `group` and `script` are the names that `inputs.group` and `inputs.script` were read from. `previous` are the wheels
    that are kept where they still satisfy the request.
    """

    step: str
    python: PythonVersion
    platform: Platform
    glibc: str
    inputs: PythonInputs
    interpreter: str = ""
    group: str = ""
    script: str = ""
    previous: tuple[Wheel, ...] = field(default=())

    @property
    def where(self) -> str:
        """What the wheels must fit, for people: `Python 3.11.2 on linux/amd64 with glibc 2.36`."""
        return f"Python {self.interpreter or self.python} on {self.platform} with glibc {self.glibc}"
