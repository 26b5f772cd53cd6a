"""This machine as one step finds it: what it is, the GPUs that the step is given, and whether it is what that needs.

A step that asks nothing of a machine starts sooner: what knows of machines is imported for the others alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from repro_env.lock.model import Lock, LockedStep, Root
from repro_env.run.gpus import NOTHING
from repro_env.values import Platform

if TYPE_CHECKING:
    from repro_env.run.gpus import GpuGrant, Passing
    from repro_env.verify.facts import Facts
    from repro_env.verify.gpu_use import GpuWatch
    from repro_env.verify.report import Verification


class StepMachine:
    """What this machine is to one step, found when it is made."""

    def __init__(self, project: Path, step: LockedStep) -> None:
        self._step = step
        self._facts: Facts | None = None  # of the whole machine; None for a step that asks nothing of it
        if step.gpu is not None or step.host is not None:
            from repro_env.cli.machine import this_machine  # noqa: PLC0415 - see above

            self._facts = this_machine(project, step)

    def grant(self) -> GpuGrant | None:
        """Return the GPUs that the step is given."""
        if self._facts is None:
            return None
        from repro_env.cli.gpus import grant_of  # noqa: PLC0415 - see above

        return grant_of(self._facts, self._step)

    def said(self, gpus: Passing) -> str:
        """Return a line about the GPUs that the step is given and how they are passed, or nothing without any."""
        if self._facts is None or gpus == NOTHING:
            return ""
        from repro_env.cli.gpus import said  # noqa: PLC0415 - see above

        return said(self._facts, self._step, gpus.how)

    def verify(
        self, lock: Lock, platform: Platform, allowed: Collection[str], *, isolated: bool
    ) -> Verification | None:
        """Hold the machine against the step, whose runtime may be `isolated` from it.

        Errors: `VerificationError` that tells everything that is not met and was not allowed.
        """
        if self._facts is None:
            return None
        from repro_env.cli.machine import verify_machine  # noqa: PLC0415 - see above

        return verify_machine(lock, self._step, platform, self._facts, allowed, isolated=isolated)

    def passing(self, gpus: Passing, root: Root, variables: Mapping[str, str]) -> Passing:
        """Return how the GPUs are passed into an image of that root, with what it has itself for older drivers.

        `variables` are those of the image and the step.
        """
        from repro_env.cli.gpus import with_compat  # noqa: PLC0415 - see above

        return with_compat(gpus, root, self._facts, self._step, variables)

    def watched(self) -> contextlib.AbstractContextManager[GpuWatch | None]:
        """Return what samples the GPUs that the step is given, for as long as the block lasts."""
        if self._facts is None or self._step.gpu is None:
            return contextlib.nullcontext()
        from repro_env.cli.gpus import as_given  # noqa: PLC0415 - see above
        from repro_env.verify.gpu_use import GpuWatch  # noqa: PLC0415 - see above

        return GpuWatch([gpu.uuid for gpu in as_given(self._facts, self._step).gpus])
