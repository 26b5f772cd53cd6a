"""What a runtime is: something on this machine that can start a plan and see it through to its end."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Protocol

from repro_env.edges.child import Ended
from repro_env.frozen import dataclass
from repro_env.lock.places import Roots
from repro_env.run.gpus import GpuGrant, Passing
from repro_env.run.plan import RunPlan


class Needs(Enum):
    """What has to be in the store before a runtime can start a step."""

    STEP_IMAGE = "the step image"
    ENVIRONMENT_IMAGE = "the environment image; the code is mounted, so editing it builds nothing"
    WHEELS = "the step's wheels"


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why a runtime cannot start anything here, and what would change that. Neither ends in a full stop."""

    reason: str
    hint: str = ""


class Runtime(Protocol):
    """One way to run a step."""

    @property
    def name(self) -> str:
        """How a person asks for it: `bwrap`, `podman`, `docker`, `venv`."""

    @property
    def needs(self) -> Needs:
        """What of the step has to be in the store."""

    def roots(self, *, code: Path, run: Path) -> Roots:
        """Return where a step started by this runtime finds its places; `run` is the run's own directory."""

    def unavailable(self) -> Unavailable | None:
        """Return why this runtime cannot be used here, or None. Asking starts nothing that lasts."""

    def pass_gpus(self, grant: GpuGrant) -> Passing | Unavailable:
        """Return how a step gets these GPUs of this machine and no others, or why it cannot."""

    def not_isolated(self, plan: RunPlan) -> Sequence[str]:
        """Return, in plain sentences, what of this machine the step can see or change beyond its plan."""

    def run(self, plan: RunPlan, *, log: Path | None) -> Ended:
        """Start the plan's command, pass on streams and signals, and return how it ended.

        What the step prints is also kept in `log`, with the plan's secrets masked.
        Errors: `RuntimeUnavailableError` when the command could not be started.
        """
