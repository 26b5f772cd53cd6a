"""Saying where a step's own variables go before the settings that it asks for with `deterministic = true`."""

from __future__ import annotations

from collections.abc import Iterable

from repro_env.edges.report import Reporter
from repro_env.lock.model import LockedStep


def warn_overridden(steps: Iterable[LockedStep], report: Reporter) -> None:
    """Say which settings of these steps are not in force."""
    for step in steps:
        changed = (f"{name} is {value}, not {step.deterministic[name]}" for name, value in step.overridden.items())
        if words := ", ".join(changed):
            report.warn(f"step {step.name} is deterministic but for what its own env says: {words}")
