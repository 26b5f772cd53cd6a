"""`repro verify`: whether a machine is what steps need."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from repro_env.cli.examples import WithExamples
from repro_env.cli.gpus import as_given
from repro_env.cli.machine import saved_machine, this_machine
from repro_env.cli.project import fresh_lock, open_workspace
from repro_env.cli.verify_text import Findings, explanations, table
from repro_env.errors import VerificationError
from repro_env.lock.model import Lock, LockedStep
from repro_env.run.gpus import SELECTION
from repro_env.verify.checks import check_step
from repro_env.verify.demand import check_allowed
from repro_env.verify.facts import Facts
from repro_env.verify.findings import refused
from repro_env.verify.report import findings_document
from repro_env.verify.visible import visible

_VERSION = 1

_PIPE = (1000, 24)
"""The size of what is no terminal: nothing is folded there."""


_EXAMPLES = (
    ("repro verify train", "on this machine"),
    ("ssh node17 repro facts > node17.json", "collect what another machine is"),
    ("repro verify --machine node17.json train", "and compare that one"),
)


@click.command("verify", cls=WithExamples, examples=_EXAMPLES)
@click.argument("steps", nargs=-1, metavar="[STEP]...")
@click.option(
    "--machine", default="", metavar="FILE", help="Judge the facts in FILE (`repro facts`) instead; - is stdin."
)
@click.option("--allow", multiple=True, metavar="NAME", help="Let this check fail. May be given again.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    context: click.Context, *, steps: tuple[str, ...], machine: str, allow: tuple[str, ...], as_json: bool
) -> None:
    """Compare this machine with what the steps need: all of them, or those named.

    That is what [step.NAME.gpu] and [step.NAME.host] ask for. For a step with GPUs it is also the driver that the
    locked CUDA runtime needs, what the base's image requires, and whether every library has code for these GPUs. Exits
    with 9 if anything is not met.
    """
    allowed = check_allowed(allow)
    workspace = open_workspace()
    workspace.check_steps(steps)
    lock = fresh_lock(workspace)
    chosen = {name: lock.steps[name] for name in steps or workspace.project.steps}
    findings = _findings(lock, tuple(chosen.values()), machine, workspace.root)
    if as_json:
        click.echo(json.dumps(_document(findings, allowed), indent=2))
    else:
        width = shutil.get_terminal_size(_PIPE).columns
        for line in (*table(findings, allowed, width), *explanations(findings, allowed, width)):
            click.echo(line)
    if any(refused(found, allowed) for found in findings.values()):
        context.exit(VerificationError.exit_status)


def _findings(lock: Lock, steps: Sequence[LockedStep], machine: str, project: Path) -> Findings:
    """Return each step's findings. The driver, which is slow to start, is asked once for all that see the same."""
    saved = saved_machine(machine) if machine else None
    seen: dict[object, Facts] = {}
    found = {}
    for step in steps:
        view = step.gpu is not None, *(step.env.get(name) for name in SELECTION)
        if view not in seen:
            seen[view] = this_machine(project, step) if saved is None else _as_seen(saved, step)
        found[step.name] = check_step(lock, step, as_given(seen[view], step))
    return found


def _as_seen(saved: Facts, step: LockedStep) -> Facts:
    """Return another machine as a step sees it, whose own environment may hide GPUs."""
    gpus, hidden = visible(saved.gpus, step.env)
    return replace(saved, gpus=gpus, hidden=hidden or saved.hidden)


def _document(findings: Findings, allowed: Collection[str]) -> dict[str, Any]:
    steps = {
        name: {
            "ok": not refused(found, allowed),
            "findings": findings_document(found, allowed),
        }
        for name, found in findings.items()
    }
    return {"version": _VERSION, "ok": all(step["ok"] for step in steps.values()), "steps": steps}
