"""What differs between two runs, causes before consequences, and upstream before both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from repro_env.frozen import dataclass
from repro_env.record.causes import own_causes
from repro_env.record.code import CodeChange
from repro_env.record.difference import Content, Difference, Evidence, Files
from repro_env.record.model import RunRecord
from repro_env.record.words import content, duration, ended, seconds_of
from repro_env.values import format_size

_NOISE = 1.0  # seconds by which two runs differ for no reason
_DEEPEST = 64  # runs in a row upstream that are compared: each is told inside the one that took something from it


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """An input that two runs took from different runs, and how those differ; or `why` that cannot be told."""

    input: str
    comparison: Comparison | None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs, compared. `notes` are what differs without being able to matter; resources do not make a difference."""

    before: RunRecord
    after: RunRecord
    upstream: tuple[Upstream, ...]
    causes: tuple[Difference, ...]
    outputs: tuple[Difference, ...]
    same_outputs: tuple[str, ...]
    resources: tuple[Difference, ...]
    notes: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether anything but commits without effect, and the resources that were used, differs."""
        return bool(self.upstream or self.causes or self.outputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """Where a comparison gets at what is beside the records.

    `run` finds a record by its id, `evidence` what is kept of a run, `code` the files that differ between two, or None
    where that cannot be told, and `files` tells how two contents differ, a line each, as far as it can.
    """

    run: Callable[[str], RunRecord | None]
    evidence: Callable[[RunRecord], Evidence]
    code: Callable[[RunRecord, RunRecord], Sequence[CodeChange] | None]
    files: Files


def compare(before: RunRecord, after: RunRecord, witness: Witness) -> Comparison:
    """Compare two runs, and those that their differing inputs come from. Errors: what the witness's calls raise."""
    return _Comparing(witness).compare(before, after)


class _Comparing:
    """One comparison; each pair of runs is compared once, however many ways lead to it."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._done: dict[tuple[str, str], Comparison | None] = {}
        self._depth = 0

    def compare(self, before: RunRecord, after: RunRecord) -> Comparison:
        pair = (before.id, after.id)
        self._done[pair] = None  # where the records say that a run comes from itself
        upstream = tuple(self._upstream(before, after))
        evidence = self._witness.evidence(before), self._witness.evidence(after)
        causes, notes = own_causes(*evidence, self._witness.code(before, after), self._witness.files)
        outputs = (*_outcome(before, after), *_outputs(before, after, self._witness.files))
        if outputs and not causes and not upstream and before.id != after.id:
            causes = (_unexplained(before),)
        differing = {difference.what for difference in outputs}
        found = Comparison(
            before=before,
            after=after,
            upstream=upstream,
            causes=causes,
            outputs=outputs,
            same_outputs=tuple(made.name for made in after.outputs if made.name not in differing),
            resources=tuple(_resources(before, after)),
            notes=notes,
        )
        self._done[pair] = found
        return found

    def _upstream(self, before: RunRecord, after: RunRecord) -> Iterator[Upstream]:
        others = {used.name: used for used in after.inputs}
        for used in before.inputs:
            other = others.get(used.name)
            if other and used.digest != other.digest and used.run and other.run and used.run != other.run:
                yield self._makers(used.name, used.run, other.run)

    def _makers(self, name: str, before: str, after: str) -> Upstream:
        if (before, after) in self._done:
            done = self._done[before, after]
            return Upstream(input=name, comparison=done, why="" if done else "its run comes from itself")
        if self._depth == _DEEPEST:
            return Upstream(
                input=name, comparison=None, why=f"what is more than {_DEEPEST} runs upstream is not compared"
            )
        makers = self._witness.run(before), self._witness.run(after)
        if makers[0] is None or makers[1] is None:
            missing = " and ".join(run for run, maker in zip((before, after), makers, strict=True) if maker is None)
            return Upstream(input=name, comparison=None, why=f"it was made by {missing}, whose record is not here")
        self._depth += 1
        found = self.compare(makers[0], makers[1])
        self._depth -= 1
        return Upstream(input=name, comparison=found)


def first_causes(comparison: Comparison) -> tuple[Difference, ...]:
    """Return the differences that nothing recorded accounts for, those furthest upstream first, each once."""
    return tuple(dict.fromkeys(_first_causes(comparison, set())))


def _first_causes(comparison: Comparison, told: set[tuple[str, str]]) -> Iterator[Difference]:
    pair = comparison.before.id, comparison.after.id
    if pair in told:
        return
    told.add(pair)
    for upstream in comparison.upstream:
        if upstream.comparison:
            yield from _first_causes(upstream.comparison, told)
    yield from (cause for cause in comparison.causes if not cause.context)


def _unknown(comparison: Comparison) -> Iterator[Upstream]:
    """Yield the inputs that came from different runs of which at least one cannot be looked at."""
    for upstream in comparison.upstream:
        if upstream.comparison:
            yield from _unknown(upstream.comparison)
        else:
            yield upstream


def headline(comparison: Comparison) -> str:
    """Return the most important in a sentence: what came out different, and the first cause of it."""
    if comparison.before.id == comparison.after.id:
        return "that is one and the same run"
    causes = first_causes(comparison)
    changed = [one.what for one in comparison.outputs]
    if not changed and not causes and not comparison.upstream:
        return "nothing that is recorded differs"
    effect = (
        f"{_listed(changed)} {'differs' if len(changed) == 1 else 'differ'}" if changed else "all outputs are the same"
    )
    if not causes:
        unknown = next(_unknown(comparison), None)
        return f"{effect}: {unknown.input} is another, and {unknown.why}" if unknown else effect
    return f"{effect}{' because ' if changed else ', although '}{_reasons(causes)}"


def _reasons(causes: Sequence[Difference]) -> str:
    """Return the first cause and how many there are besides it.

    Where the first is code, a package is named, too: a script that declares its own packages changes with them.
    """
    packages = (cause for cause in causes[1:] if cause.kind == "packages" and causes[0].kind == "code")
    told = [causes[0].reason, *(cause.reason for cause in islice(packages, 1))]
    rest = len(causes) - len(told)
    if not rest:
        return " and ".join(told)
    return f"{', '.join(told)}, and {rest} more {'difference' if rest == 1 else 'differences'}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _unexplained(record: RunRecord) -> Difference:
    told = "is not deterministic: nothing that is recorded differs"
    return Difference(kind="unexplained", step=record.step, what=record.step, told=told)


def _outcome(before: RunRecord, after: RunRecord) -> Iterator[Difference]:
    if ended(before) != ended(after):
        yield Difference(kind="outcome", step=after.step, what="outcome", before=ended(before), after=ended(after))


def _outputs(before: RunRecord, after: RunRecord, files: Files) -> Iterator[Difference]:
    old = {made.name: made for made in before.outputs}
    new = {made.name: made for made in after.outputs}
    for name in dict.fromkeys((*old, *new)):
        one, other = old.get(name), new.get(name)
        if one and other and one.digest == other.digest and one.kind == other.kind:
            continue
        details = tuple(files(one, other)) if one and other else ()
        yield Difference(
            kind="outputs", step=after.step, what=name, before=_words(one), after=_words(other), details=details
        )


def _words(made: Content | None) -> str:
    return f"{made.digest.short} ({content(made)})" if made else ""


def _resources(before: RunRecord, after: RunRecord) -> Iterator[Difference]:
    old, new = seconds_of(before), seconds_of(after)
    if old is not None and new is not None:
        ratio = f", {new / old:.1f} times as long" if old and abs(new - old) > _NOISE else ""
        texts = (duration(old), duration(new) + ratio)
        yield Difference(kind="resources", step=after.step, what="took", before=texts[0], after=texts[1])
    if before.resources and after.resources:
        names = {"peak_memory": "most memory", "gpu_memory": "most GPU memory"}
        for field, name in names.items():
            sizes = getattr(before.resources, field), getattr(after.resources, field)
            if None not in sizes and sizes[0] != sizes[1]:
                old_size, new_size = map(format_size, sizes)
                yield Difference(kind="resources", step=after.step, what=name, before=old_size, after=new_size)
