"""One thing in which two runs differ, and what they are compared by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from repro_env.frozen import dataclass
from repro_env.lock.model import Lock, LockedStep
from repro_env.record.model import RecordedInput, RecordedOutput, RunRecord
from repro_env.values import Digest

Content = RecordedInput | RecordedOutput
Files = Callable[[Content, Content], Sequence[str]]
"""Tells how two contents differ, a line each, as far as it can."""

KINDS = (
    "step",
    "code",
    "packages",
    "base",
    "settings",
    "image",
    "data",
    "parameters",
    "machine",
    "runtime",
    "unexplained",
)
"""The kinds of causes, in the order in which they are looked for and told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that differs. Without `told` it is that `before` became `after`, of which one may be empty.

    `step` is whose run it is about; `context` says that it explains nothing by itself; `details` are lines below it.
    """

    kind: str
    step: str
    what: str
    before: str = ""
    after: str = ""
    told: str = ""
    details: tuple[str, ...] = ()
    context: bool = False

    def __str__(self) -> str:
        if self.told:
            return f"{self.what} {self.told}"
        if self.before and self.after:
            return f"{self.what} {self.before} -> {self.after}"
        return f"+ {self.what} {self.after}" if self.after else f"- {self.what} {self.before}"

    @property
    def reason(self) -> str:
        """What comes after "because"."""
        if self.kind == "code" and self.told:
            return f"{self.what} of step {self.step} {_past(self.told)}"
        if self.told:
            return f"{self.what} {self.told}"
        if self.kind == "data":
            return f"data {self.what} is another"
        if not self.after:
            return f"{self.step} had no {self.what}"
        instead = f" instead of {self.before}" if self.before else ""
        return f"{self.step} had {self.what} {self.after}{instead}"


def _past(told: str) -> str:
    return f"is {told}" if told.startswith("new") else told if told.startswith("changed") else f"was {told}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A run's record, and the copy of the lock beside it, where it is kept."""

    record: RunRecord
    lock: Lock | None

    @property
    def step(self) -> LockedStep | None:
        """The step as that lock has it."""
        return self.lock.steps.get(self.record.step) if self.lock else None


def setting(kind: str, step: str, what: str, before: str, after: str) -> Iterator[Difference]:
    """Yield that one value became another, if it did."""
    if before != after:
        yield Difference(kind=kind, step=step, what=what, before=before, after=after)


def settings(kind: str, step: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Difference]:
    """Yield the values that became others, came or went, by name."""
    for name in sorted({*before, *after}):
        yield from setting(kind, step, name, before.get(name, ""), after.get(name, ""))


def short(digest: Digest | None) -> str:
    """Return the beginning of a digest that may be unknown."""
    return digest.short if digest else "unknown"
