"""A run as text for a terminal: what is worth knowing first, its sections, its lineage as a tree."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo

from repro_env.record.describe import TONES, Cell, Section, describe
from repro_env.record.lineage import MISSING, Branch, Lineage, branches
from repro_env.record.model import RunRecord
from repro_env.record.words import content, duration, ended, seconds_of, visible

Paint = Callable[[str, str], str]
"""Gives a text its tone, of `Cell.tone` or `title`; on what has no colours, the text as it is."""

_GAP = "  "
_LEAST = 24
"""Characters of a value that is folded, however narrow the terminal is."""

_NOTES = {
    MISSING: "whose record is not here",
    "above": "see above",
    "circle": "which says that it comes from this run: not followed",
}


def plain(text: str, _tone: str) -> str:
    """Return a text without any tone."""
    return text


def run_text(found: Lineage, zone: tzinfo | None, paint: Paint = plain, width: int | None = None) -> str:
    """Return a run with its lineage; times are in `zone`, None for the machine's own.

    `width` is that of the terminal, within which long values are folded; None for what is no terminal.
    """
    lines = [_headline(found.run, paint)]
    for section in describe(found.run, zone):
        lines += ["", paint(section.title, "title"), *section_lines(section, paint, width)]
    if found.run.inputs:
        lines += ["", paint("lineage", "title"), *lineage_lines(found, paint)]
    return "\n".join(lines) + "\n"


def section_lines(section: Section, paint: Paint = plain, width: int | None = None) -> Iterator[str]:
    """Yield a section's rows, in columns that are as wide as they need to be.

    Facts whose value goes beyond `width` are folded between its words. A digest stays whole, so that it can be copied.
    """
    titles = [tuple(Cell(text=title, tone="quiet") for title in section.columns)] if section.columns else []
    rows = [*titles, *section.rows]
    texts = [[visible(cell.text) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row, words in zip(rows, texts, strict=True):
        for part in [words] if section.columns or width is None else _folded(words, widths, width):
            yield f"{_GAP}{_row(row, part, widths, paint)}".rstrip()


def _folded(words: Sequence[str], widths: Sequence[int], width: int) -> Iterator[Sequence[str]]:
    """Yield a fact's name and value, line by line."""
    name, value = words
    room = max(_LEAST, width - widths[0] - 2 * len(_GAP))
    lines = textwrap.wrap(value, room, break_long_words=False, break_on_hyphens=False)
    yield from ((name if number == 0 else "", line) for number, line in enumerate(lines or [""]))


def _row(row: Sequence[Cell], words: Sequence[str], widths: Sequence[int], paint: Paint) -> str:
    cells = (
        (paint(word, cell.tone) if word else "") + " " * (width - len(word))
        for cell, word, width in zip(row, words, widths, strict=True)
    )
    return _GAP.join(cells)


def lineage_lines(found: Lineage, paint: Paint = plain) -> Iterator[str]:
    """Yield the lineage as a tree, from the run to the raw data."""
    yield f"  {visible(found.run.id)}"
    for line in branches(found):
        yield f"  {line.indent}{visible(line.used.name)} {_origin(line, paint)}"


def _origin(line: Branch, paint: Paint) -> str:
    used = line.used
    if line.maker is None:
        made_by = paint(f"{visible(used.run)}, {_NOTES[line.note]}", "doubt") if used.run else f"data, {content(used)}"
        return f"{used.digest.short} <- {made_by}"
    word = paint(ended(line.maker), TONES[line.maker.status])
    told = f", {_NOTES[line.note]}" if line.note else ""
    return f"{used.digest.short} <- {visible(line.maker.id)} {word}{told}"


def _headline(record: RunRecord, paint: Paint) -> str:
    seconds = seconds_of(record)
    took = f" in {duration(seconds)}" if seconds is not None else ""
    return f"run {visible(record.id)} {paint(ended(record), TONES[record.status])}{took}"
