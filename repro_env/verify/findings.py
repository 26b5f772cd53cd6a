"""What comes of holding one requirement against one machine."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import Any, Literal

from repro_env.frozen import dataclass

Status = Literal["ok", "mismatch", "unknown"]

NAMES = (
    "platform",
    "gpu",
    "count",
    "names",
    "memory",
    "compute-capability",
    "driver",
    "mig",
    "nvlink",
    "peer-access",
    "ecc",
    "cuda",
    "kernels",
    "require",
    "cpus",
    "host-memory",
    "disk",
    "shm",
    "kernel",
    "architecture",
    "cpu",
    "infiniband",
)
"""Every finding's name, in the order they are told in. `--allow` takes these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One requirement: what is `needed`, what was `found`, and, where that differs, why it matters and what to do.

    `unknown` is a requirement that this machine's facts cannot answer. It counts as not met: a run is verified or it is
    not.
    """

    name: str
    status: Status
    needed: str
    found: str
    why: str = ""
    hint: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the requirement is known to be met."""
        return self.status == "ok"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON holds it."""
        return asdict(self)


def met(name: str, needed: str, found: str, why: str = "") -> Finding:
    """Return a finding of a requirement that is met."""
    return Finding(name=name, status="ok", needed=needed, found=found, why=why)


def not_met(name: str, needed: str, found: str, why: str = "", hint: str = "") -> Finding:
    """Return a finding of a requirement that is not met."""
    return Finding(name=name, status="mismatch", needed=needed, found=found, why=why, hint=hint)


def unknown(name: str, needed: str, why: str, hint: str = "allow it if you know that it is met") -> Finding:
    """Return a finding of a requirement that cannot be checked."""
    return Finding(name=name, status="unknown", needed=needed, found="unknown", why=why, hint=hint)


def refused(findings: Iterable[Finding], allowed: Collection[str]) -> tuple[Finding, ...]:
    """Return the findings that are not met and were not allowed by name."""
    return tuple(one for one in findings if not one.is_met and one.name not in allowed)


def paragraphs(findings: Sequence[Finding]) -> str:
    """Return findings that are not met, for people: several lines each; what several in a row share is said once."""
    lines = []
    for one, following in zip_longest(findings, findings[1:]):
        lines.append(f"{one.name}: needed {one.needed}, found {one.found}")
        if following is None or (one.why, one.hint) != (following.why, following.hint):
            lines += [f"  {text}" for text in (one.why, one.hint) if text]
    return "\n".join(lines)
