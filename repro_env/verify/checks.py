"""A locked step held against everything that a machine is, at once."""

from __future__ import annotations

from repro_env.lock.model import Lock, LockedStep
from repro_env.verify.facts import Facts
from repro_env.verify.findings import Finding
from repro_env.verify.needs import check, wrong_platform
from repro_env.verify.slice import needs_of


def check_step(lock: Lock, step: LockedStep, facts: Facts) -> tuple[Finding, ...]:
    """Return a finding for each requirement of a step, in the order of `findings.NAMES`.

    What follows from its packages and its base, the driver for their CUDA and `NVIDIA_REQUIRE_*`, counts for a step
    with `[step.X.gpu]` alone: without one its programs may run on the CPU.
    """
    machines = {platform.machine: platform for platform in step.environments}
    platform = machines.get(facts.host.architecture)
    if platform is None:
        return (wrong_platform(", ".join(map(str, sorted(step.environments))), facts),)
    return check(needs_of(lock, step, platform), facts)
