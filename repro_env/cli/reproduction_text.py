"""How repeated runs are told: lines for people, one document for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from repro_env.cli.history import paint
from repro_env.cli.project import near
from repro_env.cli.reproducing import Reproduction
from repro_env.record.comparison.base import Verdict
from repro_env.record.exports.common import json_text
from repro_env.record.repeated import ComparedOutput
from repro_env.record.words import duration, ended, visible

_VERSION = 1
_WIDTH = 9


def reproduction_text(result: Reproduction) -> str:
    """Return one repeated run as lines. What its record says may be anybody's, and is shown, not acted on."""
    head = f"run {visible(result.then.id)} repeated as {result.now.id} in {duration(result.seconds)}"
    return "\n".join([head, *(f"  {title:<{_WIDTH}}{text}".rstrip() for title, text in _facts(result))])


def _facts(result: Reproduction) -> Iterator[tuple[str, str]]:
    yield "code", _code(result)
    yield "lock", "as it is here now" if result.here else "the run's own"
    if result.now.image:
        same = result.now.image == result.then.image
        yield "image", "the same" if same else "another" if result.then.image else "the run had none"
    yield from _listed("changed", result.changed)
    yield from _listed("machine", result.elsewhere or ("alike",))
    if result.ended:
        yield "ended", paint(result.ended, "bad")
        yield "log", str(result.directory / "output.log")
    names = max((len(visible(output.then.name)) for output in result.outputs), default=0)
    for index, output in enumerate(result.outputs):
        told = paint(visible(str(output)), "good" if output.equal else "bad")
        yield "" if index else "outputs", f"{visible(output.then.name):<{names}}  {told}"
    if result.now.outputs:
        yield "", f"the new ones are in {near(result.place)}"


def _code(result: Reproduction) -> str:
    git = result.then.git
    if result.here or git is None:
        same = result.then.definition == result.now.definition
        return "as it is here now, " + ("which is what ran" if same else "which is not what ran")
    return f"commit {git.commit[:12]}" + (", with what was not committed" if git.diff else "")


def _listed(title: str, lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    for index, line in enumerate(lines):
        yield "" if index else title, visible(line)


def verdict_line(results: Sequence[Reproduction]) -> str:
    """Return the last line: whether all came out as it was, or what did not first."""
    different = next((result for result in results if not result.equal), None)
    count = sum(len(result.outputs) for result in results)
    if different is None:
        runs = "the run" if len(results) == 1 else f"{len(results)} runs"
        return paint(f"reproduced: {runs}, " + ("1 equal output" if count == 1 else f"{count} equal outputs"), "good")
    output = next((output for output in different.outputs if not output.equal), None)
    what = different.ended if output is None or different.ended else f"{output.then.name} {output}"
    hint = f"hint: `repro diff {visible(different.then.id)} {different.now.id}` tells what else differs between the two"
    told = paint(visible(f"not reproduced: {different.then.step}: {what}"), "bad")
    return "\n".join(filter(None, (told, different.cause and f"cause: {visible(different.cause)}", hint)))


def reproduction_document(results: Sequence[Reproduction]) -> str:
    """Return the JSON document."""
    document = {
        "version": _VERSION,
        "equal": all(result.equal for result in results),
        "runs": [_run(result) for result in results],
    }
    return json_text(document, indent=2).removesuffix("\n")


def _run(result: Reproduction) -> dict[str, Any]:
    then, now = result.then, result.now
    digests = {key: (getattr(then, key), getattr(now, key)) for key in ("lock", "definition", "image")}
    return {
        "run": then.id,
        "as": now.id,
        "step": then.step,
        "equal": result.equal,
        "seconds": round(result.seconds, 1),
        "here": result.here,
        "outputs_in": str(result.place),
        "commit": then.git.commit if then.git else None,
        **{key: {"then": _text(before), "now": _text(after)} for key, (before, after) in digests.items()},
        "ended": {"then": ended(then), "now": ended(now)},
        "changed": list(result.changed),
        "cause": result.cause or None,
        "machine": list(result.elsewhere),
        "outputs": [_output(output) for output in result.outputs],
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _output(output: ComparedOutput) -> dict[str, Any]:
    return {
        "name": output.then.name,
        "path": output.then.path,
        "compare": output.comparison,
        "equal": output.equal,
        "same_bytes": output.same_bytes,
        "original_gone": output.gone,
        "then": str(output.then.digest),
        "now": _text(output.now.digest if output.now else None),
        "told": str(output),
        "difference": _difference(output.verdict) if output.verdict else None,
    }


def _difference(verdict: Verdict) -> dict[str, Any]:
    return {
        "where": verdict.where,
        "what": verdict.difference,
        "extent": verdict.extent,
        "count": verdict.count,
        "total": verdict.total,
        "absolute": _finite(verdict.absolute),
        "relative": _finite(verdict.relative),
    }


def _finite(value: float | None) -> float | str | None:
    """Return a number as JSON can hold it."""
    return str(value) if value is not None and not math.isfinite(value) else value
