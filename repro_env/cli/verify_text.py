"""What came of verifying steps, for people: a table, and below it why what is not met matters and what to do."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest

from repro_env.cli.colour import styled
from repro_env.verify.findings import Finding, refused
from repro_env.verify.report import word

Findings = Mapping[str, Sequence[Finding]]
"""What was found for each step."""

_TITLES = ("step", "check", "", "needed", "found")
_STATUS = 2
_GAP = "  "
_LEAST = 16
"""Characters of a column that is folded, however narrow the terminal is."""

# Without rich, whose import takes longer than everything else here.
_COLOURS = {"ok": "green", "allowed": "yellow", "mismatch": "red", "unknown": "red"}


def table(findings: Findings, allowed: Collection[str], width: int) -> Iterator[str]:
    """Yield a line for each finding, or several where it is wider than `width` characters."""
    found = ((step, one.name, word(one, allowed), one.needed, one.found) for step in findings for one in findings[step])
    rows = [_TITLES, *found]
    widths = _widths(rows, width)
    for row in rows:
        cells = (textwrap.wrap(text, size, break_on_hyphens=False) for text, size in zip(row, widths, strict=True))
        for line in zip_longest(*cells, fillvalue=""):
            padded = [text.ljust(size) for text, size in zip(line, widths, strict=True)]
            padded[_STATUS] = _painted(padded[_STATUS])
            yield _GAP.join(padded).rstrip()


def _widths(rows: Sequence[Sequence[str]], width: int) -> Sequence[int]:
    """Return how wide each column is: what does not fit is taken from the last two, which share what is left."""
    *front, needed, found = (max(map(len, column)) for column in zip(*rows, strict=True))
    room = width - sum(front) - len(_GAP) * (len(front) + 1)
    if needed + found <= room:
        return (*front, needed, found)
    first = max(_LEAST, min(needed, max(room // 2, room - found)))
    return (*front, first, max(_LEAST, room - first))


def _painted(status: str) -> str:
    colour = _COLOURS.get(status.strip())
    return styled(status, fg=colour) if colour else status


def explanations(findings: Findings, allowed: Collection[str], width: int) -> Iterator[str]:
    """Yield what is to be said of findings: why, what to do about those not met, and how to go on all the same.

    What is to be typed stays in one line, so that it can be copied.
    """
    fold = partial(textwrap.wrap, width=width, subsequent_indent=_GAP, break_on_hyphens=False, break_long_words=False)
    for step, several in findings.items():
        for text in _said(step, several):
            yield from fold(text)
        yield from _override(step, refused(several, allowed))


def _said(step: str, findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the lines about findings; those of which the same is to be said are told of together."""
    alike: dict[tuple[str, str], list[str]] = {}
    for one in findings:
        alike.setdefault((one.why, "" if one.is_met else one.hint), []).append(one.name)
    for (why, hint), names in alike.items():
        about = ", ".join((step, *dict.fromkeys(names)))
        yield from (f"{about}: {text}" for text in (why, hint and f"hint: {hint}") if text)


def _override(step: str, findings: Collection[Finding]) -> Iterator[str]:
    """Yield how to run a step although these are not met. On another platform there is nothing to run."""
    names = tuple(dict.fromkeys(one.name for one in findings))
    if names and "platform" not in names:
        words = " ".join(f"--allow {name}" for name in names)
        yield f"hint: to run step {step} all the same, which its record will say: repro exec {words} {step}"
