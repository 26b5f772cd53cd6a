"""A comparison of two runs as text, and as a document for programs: the cause first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from repro_env.record.describe import TONES
from repro_env.record.difference import KINDS, Difference
from repro_env.record.differences import Comparison, Upstream, first_causes, headline
from repro_env.record.model import RunRecord
from repro_env.record.text import Paint, plain
from repro_env.record.words import duration, ended, seconds_of, visible

_FILES = 10
"""How many of an input's or output's files are told; a document for programs has them all."""

_MADE = "outputs"


def comparison_text(found: Comparison, paint: Paint = plain) -> str:
    """Return what differs between two runs, for people."""
    lines = [
        f"before  {_run(found.before, paint)}",
        f"after   {_run(found.after, paint)}",
        "",
        paint(visible(headline(found)), "title"),
        *_body(found, paint, set()),
        *_section("with", found.resources, paint),
        *_hint(found),
    ]
    return "\n".join(lines) + "\n"


def _hint(found: Comparison) -> Iterator[str]:
    """Yield how more can be told the next time, where the bytes of an output are gone."""
    if any(output.before and output.after and not output.details for output in found.outputs if output.kind == _MADE):
        yield ""
        yield "hint: outputs with `keep = true` stay with their run, and it is told where two differ and by how much"


def comparison_document(found: Comparison) -> dict[str, Any]:
    """Return what differs between two runs, as a JSON document's object."""
    return {
        "differs": found.differs,
        "headline": headline(found),
        "first_causes": [_plain(cause) for cause in first_causes(found)],
        **_document(found, set()),
    }


def _run(record: RunRecord, paint: Paint) -> str:
    seconds = seconds_of(record)
    took = f" in {duration(seconds)}" if seconds is not None else ""
    return f"{visible(record.id)}  {paint(ended(record), TONES[record.status])}{took}"


def _body(found: Comparison, paint: Paint, told: set[tuple[str, str]]) -> Iterator[str]:
    told.add((found.before.id, found.after.id))
    if found.upstream:
        yield from ("", paint("upstream", "title"))
        for upstream in found.upstream:
            yield from _indented(_upstream(upstream, paint, told))
    for kind in KINDS:
        yield from _section(kind, [cause for cause in found.causes if cause.kind == kind], paint)
    for note in found.notes:
        yield from ("", visible(note))
    if found.outputs or found.same_outputs:
        yield from ("", paint("so it made", "title"), *_indented(_lines(found.outputs)))
        yield from _indented(f"{visible(name)} is the same" for name in found.same_outputs)


def _section(title: str, differences: Sequence[Difference], paint: Paint) -> Iterator[str]:
    if differences:
        yield from ("", paint(title, "title"), *_indented(_lines(differences)))


def _upstream(upstream: Upstream, paint: Paint, told: set[tuple[str, str]]) -> Iterator[str]:
    name, found = visible(upstream.input), upstream.comparison
    if found is None:
        yield f"{name}: {visible(upstream.why)}"
        return
    pair = (found.before.id, found.after.id)
    seen = " (see above)" if pair in told else ""
    yield f"{name} comes from {visible(pair[0])} -> {visible(pair[1])}{seen}"
    if not seen:
        yield from (line for line in _indented(_body(found, paint, told)) if line.strip())


def _lines(differences: Iterable[Difference]) -> Iterator[str]:
    for difference in differences:
        yield visible(str(difference))
        yield from _indented(visible(detail) for detail in difference.details[:_FILES])
        if len(difference.details) > _FILES:
            yield f"  and {len(difference.details) - _FILES} more"


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}".rstrip() for line in lines)


def _document(found: Comparison, told: set[tuple[str, str]]) -> dict[str, Any]:
    """Return a comparison with those upstream of it, each pair's once: later ones are named only."""
    told.add((found.before.id, found.after.id))
    return {
        "before": found.before.id,
        "after": found.after.id,
        "upstream": [_upstream_document(upstream, told) for upstream in found.upstream],
        "causes": [_plain(cause) for cause in found.causes],
        "notes": list(found.notes),
        "outputs": [_plain(output) for output in found.outputs],
        "same_outputs": list(found.same_outputs),
        "resources": [_plain(resource) for resource in found.resources],
    }


def _upstream_document(upstream: Upstream, told: set[tuple[str, str]]) -> dict[str, Any]:
    found = upstream.comparison
    if found is None:
        return {"input": upstream.input, "why": upstream.why}
    pair = (found.before.id, found.after.id)
    rest = {"before": pair[0], "after": pair[1]} if pair in told else _document(found, told)
    return {"input": upstream.input, **rest}


def _plain(difference: Difference) -> dict[str, Any]:
    return {
        "kind": difference.kind,
        "step": difference.step,
        "what": difference.what,
        "before": difference.before,
        "after": difference.after,
        "told": str(difference),
        "details": list(difference.details),
    }
