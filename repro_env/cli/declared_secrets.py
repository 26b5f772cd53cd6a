"""Saying which variables that steps declare look like secrets: their values are kept wherever the lock goes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from repro_env.edges.report import Reporter
from repro_env.lock.model import LockedStep

_NAME = re.compile(
    r"(?i)(?:^|_)(?:token|secret|password|passwd|passphrase|credentials?|api_?key|access_key(?:_id)?|private_key)$"
)
_VALUE = re.compile(r"(?:gh[pousr]|github_pat|glpat|hf|sk|xox[abp])[-_][A-Za-z0-9_-]{16,}|AKIA[A-Z0-9]{16}")
_HARMLESS = re.compile(r"|[</].*|\d+|(?i:true|false|none|yes|no)")  # places, the tokens of a language model, switches


def warn_of_secrets(steps: Iterable[LockedStep], report: Reporter) -> None:
    """Name the variables of these steps that look like secrets, and say where their values are kept."""
    for step in steps:
        if names := ", ".join(name for name, value in sorted(step.env.items()) if looks_secret(name, value)):
            report.warn(
                f"step {step.name} declares {names}, which looks like a secret: what `env` holds stands in repro.lock, "
                "the image, the record of every run, and what [export] tells others; "
                "name it in `secrets` instead, and its value is taken from the environment of whoever runs the step"
            )


def looks_secret(name: str, value: str) -> bool:
    """Whether a variable is called as a secret is, or holds what begins as the tokens of well-known services do."""
    return bool(_VALUE.match(value) or (_NAME.search(name) and not _HARMLESS.fullmatch(value)))
