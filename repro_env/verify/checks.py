"""Everything that a step needs of a machine, held against everything that a machine is, at once."""

from __future__ import annotations

from repro_env.lock.model import Lock, LockedStep
from repro_env.verify.facts import Facts
from repro_env.verify.findings import NAMES, Finding, met, not_met
from repro_env.verify.gpu_checks import check_gpu
from repro_env.verify.host_checks import check_host
from repro_env.verify.require import check_require
from repro_env.verify.runtime import cuda_of, image_requirements


def check_step(lock: Lock, step: LockedStep, facts: Facts) -> tuple[Finding, ...]:
    """Return a finding for each requirement of a step, in the order of `findings.NAMES`.

    What follows from its packages and its base, the driver for their CUDA and `NVIDIA_REQUIRE_*`, counts for a step
    with `[step.X.gpu]` alone: without one its programs may run on the CPU.
    """
    machines = {platform.machine: platform for platform in step.environments}
    known = ", ".join(map(str, sorted(step.environments)))
    platform = machines.get(facts.host.architecture)
    if platform is None:
        hint = "add the machine's platform to [project] platforms and lock"
        return (not_met("platform", known, facts.host.architecture or "unknown", hint=hint),)
    findings = [met("platform", known, str(platform))]
    if step.gpu is not None:
        root = lock.bases[step.base].roots[platform]
        findings += check_gpu(step.gpu, cuda_of(step.environments[platform], root), facts)
        if not facts.no_driver:
            findings += check_require(image_requirements(root), facts)
    if step.host is not None:
        findings += check_host(step.host, facts.host)
    return tuple(sorted(findings, key=lambda finding: NAMES.index(finding.name)))
