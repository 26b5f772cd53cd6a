"""`repro verify`: whether a machine is what steps need."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from repro_env.cli.gpus import as_given
from repro_env.cli.machine import saved_machine, this_machine
from repro_env.cli.project import fresh_lock, open_workspace
from repro_env.errors import VerificationError
from repro_env.lock.model import Lock, LockedStep
from repro_env.run.gpus import SELECTION
from repro_env.verify.checks import check_step
from repro_env.verify.demand import check_allowed
from repro_env.verify.facts import Facts
from repro_env.verify.findings import Finding
from repro_env.verify.report import findings_document, word

_VERSION = 1

# Without rich, whose import takes longer than everything else here.
_COLOURS = {"ok": "green", "allowed": "yellow", "mismatch": "red", "unknown": "red"}

Findings = Mapping[str, tuple[Finding, ...]]


@click.command("verify")
@click.argument("steps", nargs=-1)
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

    That is what [step.NAME.gpu] and [step.NAME.host] ask for, and what follows for the driver from the CUDA runtime
    that is locked and from what the base's image requires. Exits with 9 if anything is not met.
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
        _show(findings, allowed)
    if any(_refused(found, allowed) for found in findings.values()):
        context.exit(VerificationError.exit_status)


def _findings(lock: Lock, steps: Sequence[LockedStep], machine: str, project: Path) -> Findings:
    """Return each step's findings. The driver, which is slow to start, is asked once for all that see the same."""
    saved = saved_machine(machine) if machine else None
    seen: dict[object, Facts] = {}
    found = {}
    for step in steps:
        view = step.gpu is not None, *(step.env.get(name) for name in SELECTION)
        if saved is None and view not in seen:
            seen[view] = this_machine(project, step)
        found[step.name] = check_step(lock, step, as_given(saved or seen[view], step))
    return found


def _refused(findings: Collection[Finding], allowed: Collection[str]) -> list[Finding]:
    return [finding for finding in findings if not finding.is_met and finding.name not in allowed]


def _document(findings: Findings, allowed: Collection[str]) -> dict[str, Any]:
    steps = {
        name: {
            "ok": not _refused(found, allowed),
            "findings": findings_document(found, allowed),
        }
        for name, found in findings.items()
    }
    return {"version": _VERSION, "ok": all(step["ok"] for step in steps.values()), "steps": steps}


def _show(findings: Findings, allowed: Collection[str]) -> None:
    rows = [
        (name, one.name, word(one, allowed), one.needed, one.found) for name, found in findings.items() for one in found
    ]
    titles = ("step", "check", "", "needed", "found")
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        step, check, status, needed, found = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        mark = click.style(status, fg=_COLOURS.get(status.strip()))
        click.echo(f"{step}  {check}  {mark}  {needed}  {found}".rstrip(), color=False if _is_plain() else None)
    for name, several in findings.items():
        for finding in several:
            if not finding.is_met:
                _explain(name, finding)


def _is_plain() -> bool:
    return "NO_COLOR" in os.environ


def _explain(step: str, finding: Finding) -> None:
    if finding.why:
        click.echo(f"{step}, {finding.name}: {finding.why}")
    if finding.hint:
        click.echo(f"{step}, {finding.name}: hint: {finding.hint}")
