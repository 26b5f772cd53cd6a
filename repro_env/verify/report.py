"""What came of a verification, for programs and for people: the findings and what was made of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from repro_env.frozen import dataclass
from repro_env.verify.facts import Facts
from repro_env.verify.findings import Finding, refused
from repro_env.verify.needs import Needs

VERSION = 1
"""Of the document."""

ENFORCE, WARN, OFF = "enforce", "warn", "off"
"""What is done about a mismatch: the command is not started; it is, with a warning; nothing is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """One machine held against one step's needs. `needs` and `facts` are None where nothing was looked at."""

    mode: str = ENFORCE
    needs: Needs | None = None
    facts: Facts | None = None
    findings: tuple[Finding, ...] = ()
    allowed: frozenset[str] = frozenset()

    @property
    def refused(self) -> tuple[Finding, ...]:
        """What is not met and was not allowed by name."""
        return refused(self.findings, self.allowed)

    @property
    def waived(self) -> tuple[Finding, ...]:
        """What is not met and was allowed by name."""
        return tuple(one for one in self.findings if not one.is_met and one.name in self.allowed)

    @property
    def starts(self) -> bool:
        """Whether the command may start."""
        return self.mode != ENFORCE or not self.refused

    def to_dict(self, *, started: bool) -> dict[str, Any]:
        """Return the JSON document. `started` is whether the step's command was started."""
        return {
            "version": VERSION,
            "project": self.needs.project if self.needs else "",
            "step": self.needs.step if self.needs else "",
            "mode": self.mode,
            "ok": self.mode != OFF and not self.refused,
            "started": started,
            "findings": findings_document(self.findings, self.allowed),
            "facts": self.facts.to_dict() if self.facts else None,
        }


def findings_document(findings: Iterable[Finding], allowed: Collection[str]) -> list[dict[str, Any]]:
    """Return findings as JSON holds them, each with whether it failed and was allowed to."""
    return [{**one.to_dict(), "allowed": not one.is_met and one.name in allowed} for one in findings]


def rows(findings: Iterable[Finding], allowed: Collection[str]) -> list[str]:
    """Return a line for every finding, in columns."""
    cells = [(one.name, word(one, allowed), one.needed, one.found) for one in findings]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in cells]


def word(finding: Finding, allowed: Collection[str]) -> str:
    """Return what a finding comes to: `ok`, `allowed`, `mismatch` or `unknown`."""
    return "allowed" if not finding.is_met and finding.name in allowed else finding.status
