"""This machine, or another one's saved facts, held against what a step needs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection
from pathlib import Path

from repro_env.cli.gpus import as_given
from repro_env.edges.files import os_errors
from repro_env.edges.report import Reporter
from repro_env.errors import UsageError
from repro_env.lock.model import Lock, LockedStep
from repro_env.verify.checks import check_step
from repro_env.verify.collect import collect
from repro_env.verify.demand import demand
from repro_env.verify.facts import Facts


def this_machine(project: Path, step: LockedStep | None = None) -> Facts:
    """Return this machine's facts, as a step sees it; the driver is asked unless it is one without GPUs.

    The step's own environment may hide GPUs as the caller's does.
    """
    if step is None:
        return collect(project, os.environ)
    return collect(project, {**os.environ, **step.env}, gpus=step.gpu is not None)


def saved_machine(file: str) -> Facts:
    """Return the facts in a file that `repro facts` wrote, or of standard input for `-`.

    Errors: `UsageError` where it is none, `StoreError` where it cannot be read.
    """
    with os_errors(f"read {file}"):
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    try:
        return Facts.from_dict(json.loads(data))
    except ValueError as error:
        hint = "write one on the machine it is about: repro facts > FILE"
        raise UsageError(f"{file} holds no machine's facts", str(error), hint) from error


def verify_machine(
    lock: Lock, step: LockedStep, facts: Facts, allowed: Collection[str], report: Reporter
) -> tuple[str, ...]:
    """Hold a machine against a step that is about to run, and return what is not met and was allowed.

    Errors: `VerificationError` that tells everything else that is not met.
    """
    waived = demand(step.name, check_step(lock, step, as_given(facts, step)), allowed)
    if waived:
        report.warn(f"step {step.name} goes on although this machine is not what it needs: {', '.join(waived)}")
    return waived
