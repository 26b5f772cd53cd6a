"""Saying which steps hold CUDA of two major versions, whose libraries do not go together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from repro_env.config.versions import version
from repro_env.edges.report import Reporter
from repro_env.lock.model import LockedStep


def warn_of_cuda(steps: Iterable[LockedStep], report: Reporter) -> None:
    """Say what of these steps tells of another major version of CUDA than counts. A minor one is of no matter."""
    for step in steps:
        for told in dict.fromkeys(_conflicts(step)):
            report.warn(f"step {step.name} holds {told}: libraries of one do not work with those of the other")


def _conflicts(step: LockedStep) -> Iterator[str]:
    for environment in step.environments.values():
        facts = environment.cuda
        if facts is not None:
            major = version(facts.runtime)[0]
            others = [other for other in facts.others if version(other)[0] != major]
            if others:
                yield f"CUDA {facts.runtime}, from {facts.origin}, and CUDA {', '.join(others)}"
