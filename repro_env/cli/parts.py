"""What a step is put together from before it runs: its code, and the images or the wheels that its runtime needs."""

from __future__ import annotations

import os
from collections.abc import Sequence

from repro_env.build.code import CodeFile, find_code
from repro_env.build.images import Order, local_wheels, warn_of_code
from repro_env.build.native import Built
from repro_env.cli.building import built_steps, record_in_lock
from repro_env.cli.project import Workspace
from repro_env.edges.report import Reporter
from repro_env.errors import LockError
from repro_env.frozen import dataclass
from repro_env.image.store import Store
from repro_env.lock.model import Lock, LockedStep, Wheel
from repro_env.run.runtimes.base import Needs, Runtime
from repro_env.values import Digest, Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The parts of one step, all in the store. `built` is None, and `local` filled, for a runtime without an image.

    `local` are wheels of people's own packages. `lock` has what building from sources added to it.
    """

    lock: Lock
    code: Sequence[CodeFile]
    built: Built | None = None
    local: Sequence[Wheel] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Finds the parts of one step, and makes or fetches what is not there yet."""

    workspace: Workspace
    lock: Lock
    step: str
    platform: Platform
    store: Store
    report: Reporter

    def for_images(self) -> Found:
        """Return the parts with the step's images. Errors: `BuildError`, `FetchError`, `StoreError`."""
        names, platforms = (self.step,), (self.platform,)
        built = built_steps(self.workspace, self.lock, names, platforms, self.store, self.report)
        if not all(one.reused for one in built):
            from repro_env.cli.missing_report import warn_missing_in_new  # noqa: PLC0415 - a warm start does without

            warn_missing_in_new(self.workspace, self.lock, built, self.store, self.report)
        return Found(lock=self.lock, code=built[0].code.files, built=built[0])

    def for_wheels(self) -> Found:
        """Return the parts with the step's wheels. Errors: as `for_images`."""
        lock = self._with_sources_built()
        environment = lock.steps[self.step].environments[self.platform]
        if not all(self.store.has(wheel.sha256, wheel.size) for wheel in environment.all_wheels):
            from repro_env.cli.fetching import Fetching  # noqa: PLC0415 - urllib3, which a warm start does without

            Fetching(self.workspace).have_wheels(lock, self.step, self.platform, self.store, self.report)
        code = find_code(lock.steps[self.step], lock, self.workspace.root)
        warn_of_code({self.step: code}, lock, self.report)
        order = Order(lock=lock, steps=(self.step,), platforms=(self.platform,), root=self.workspace.root, workers=1)
        local = local_wheels(order, self.store, self.report)
        return Found(lock=lock, code=code.files, local=local.get((self.step, self.platform), ()))

    def _with_sources_built(self) -> Lock:
        """Have in the store, and in the lock, the wheels of what the step takes from its sources."""
        if not self.lock.steps[self.step].environments[self.platform].sources:
            return self.lock
        from repro_env.cli.building_sources import with_sources_built  # noqa: PLC0415 - what most projects do without

        pair = (self.step, self.platform)
        made = with_sources_built(self.workspace, self.lock, [pair], self.store, self.report, workers=1, update=False)
        if made != self.lock:
            record_in_lock(self.workspace, self.lock, made, self.store)
        return made


def image_for(runtime: Runtime, built: Built | None) -> Digest | None:
    """Return the image that a runtime starts from: the step's, the environment's, or none."""
    if built is None:
        return None
    return built.image if runtime.needs is Needs.STEP_IMAGE else built.packaged


def this_platform(step: LockedStep) -> Platform:
    """Return this machine's platform. Errors: `LockError` when the step is not locked for it."""
    machine = os.uname().machine
    for platform in step.environments:
        if platform.machine == machine:
            return platform
    known = ", ".join(map(str, sorted(step.environments)))
    why = f"this machine is {machine}; step {step.name} is locked for {known}"
    raise LockError("the lock has nothing for this machine", why, "add its platform to [project] platforms and lock")
