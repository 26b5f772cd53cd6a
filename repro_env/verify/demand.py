"""Findings that end a command: what a step needs and does not have."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from repro_env.errors import UsageError, VerificationError
from repro_env.verify.findings import NAMES, Finding, paragraphs, refused


def check_allowed(names: Iterable[str]) -> frozenset[str]:
    """Return the names given to `--allow`. Errors: `UsageError` for one that no finding has."""
    chosen = frozenset(names)
    wrong = sorted(chosen.difference(NAMES))
    if wrong:
        raise UsageError(f"--allow {wrong[0]}: there is no such check", f"the checks are {', '.join(NAMES)}")
    return chosen


def demand(step: str, findings: Iterable[Finding], allowed: Collection[str]) -> tuple[str, ...]:
    """Return the names of what is not met and was allowed, in order.

    Errors: `VerificationError` that tells everything else that is not met.
    """
    failed = [finding for finding in findings if not finding.is_met]
    wrong = refused(failed, allowed)
    if wrong:
        names = " ".join(f"--allow {name}" for name in dict.fromkeys(finding.name for finding in wrong))
        raise VerificationError(
            f"this machine is not what step {step} needs",
            paragraphs(wrong),
            f"to go on all the same: {names}, which the run's record will say",
        )
    return tuple(dict.fromkeys(finding.name for finding in failed))
