"""This machine, or another one's saved facts, held against what a step needs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from repro_env.cli.gpus import as_given
from repro_env.edges.files import os_errors
from repro_env.errors import UsageError
from repro_env.lock.model import Lock, LockedStep
from repro_env.values import Platform
from repro_env.verify.collect import collect
from repro_env.verify.demand import demand
from repro_env.verify.facts import Facts
from repro_env.verify.needs import check
from repro_env.verify.report import Verification
from repro_env.verify.slice import needs_of


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
    except (ValueError, RecursionError) as error:
        hint = "write one on the machine it is about: repro facts > FILE"
        raise UsageError(f"{file} holds no machine's facts", str(error), hint) from error


def verify_machine(
    lock: Lock, step: LockedStep, platform: Platform, facts: Facts, allowed: Collection[str], *, isolated: bool
) -> Verification:
    """Hold a machine against a step that is about to run there, with the GPUs that it is given.

    A runtime that is `isolated` gives it a `/dev/shm` of its own. Errors: `VerificationError` that tells everything
    that is not met and was not allowed.
    """
    asked = replace(step, host=replace(step.host, shm=0)) if isolated and step.host is not None else step
    needs, given = needs_of(lock, asked, platform), as_given(facts, step)
    findings = check(needs, given)
    demand(step.name, findings, allowed)
    return Verification(needs=needs, facts=given, findings=findings, allowed=frozenset(allowed))
