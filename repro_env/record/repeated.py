"""A run held against one that repeats it: how each ended, each output, and the machines they ran on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from repro_env.config.comparison import EXACT, Comparison
from repro_env.frozen import dataclass
from repro_env.record.comparison.base import Verdict
from repro_env.record.comparison.compare import RunCommand, compare
from repro_env.record.model import Machine, RecordedOutput, RunRecord
from repro_env.record.words import ended
from repro_env.values import format_size


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedOutput:
    """One output of both runs.

    `now` is None where the later run did not make it. `comparison` is how they were compared, and `verdict` what that
    gave; None where the digests alone decided, because they are the same, or because the earlier bytes are gone, which
    `gone` says.
    """

    then: RecordedOutput
    now: RecordedOutput | None
    comparison: str
    verdict: Verdict | None = None
    gone: bool = False

    @property
    def same_bytes(self) -> bool:
        """Whether both are the same to the last byte."""
        return self.now is not None and (self.now.digest, self.now.kind) == (self.then.digest, self.then.kind)

    @property
    def equal(self) -> bool:
        """Whether both are equal, as far as is known."""
        return self.same_bytes or (self.verdict is not None and self.verdict.equal)

    def __str__(self) -> str:
        if self.now is None:
            return "not made this time"
        if self.same_bytes:
            return "equal, byte for byte"
        if self.verdict is not None:
            how = "" if self.comparison == EXACT else f" ({self.comparison})"
            told = str(self.verdict)
            return (told if self.equal else f"differs: {told}") + how
        digests = f"sha256:{self.then.digest.short} then, sha256:{self.now.digest.short} now"
        return f"differs: {digests}; the earlier one is gone, so that only the digests could be compared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Originals:
    """Where both runs' outputs are.

    `then` returns where an output of the earlier run still stands with the bytes it had, or None; `now` where one of
    the later run is. `by_file` tells in words how two outputs differ of which only manifests are kept, or nothing.
    """

    then: Callable[[RecordedOutput], Path | None]
    now: Callable[[RecordedOutput], Path]
    by_file: Callable[[RecordedOutput, RecordedOutput], Sequence[str]]


def compare_outputs(
    then: RunRecord,
    now: RunRecord,
    originals: Originals,
    *,
    run_command: RunCommand,
    comparisons: Mapping[str, str] | None = None,
) -> tuple[ComparedOutput, ...]:
    """Compare every output of `then` with that of `now`, by the comparison that it was declared with.

    `comparisons` are others to use instead, by output. Errors: `ComparisonError`, `StoreError`.
    """
    made = {output.name: output for output in now.outputs}
    found = []
    for output in then.outputs:
        text = (comparisons or {}).get(output.name) or output.compare or EXACT
        compared = ComparedOutput(then=output, now=made.get(output.name), comparison=text)
        found.append(_judged(compared, originals, run_command))
    return tuple(found)


def _judged(compared: ComparedOutput, originals: Originals, run_command: RunCommand) -> ComparedOutput:
    then, now, text = compared.then, compared.now, compared.comparison
    if now is None or compared.same_bytes:
        return compared
    before = originals.then(then)
    if before is not None:
        verdict = compare(before, originals.now(now), Comparison.parse(text), run_command=run_command)
        return ComparedOutput(then=then, now=now, comparison=text, verdict=verdict)
    lines = originals.by_file(then, now)
    if not lines or text != EXACT:
        return ComparedOutput(then=then, now=now, comparison=text, gone=True)
    verdict = Verdict(equal=False, difference=lines[0], extent=_more(len(lines)), count=len(lines), total=then.files)
    return ComparedOutput(then=then, now=now, comparison=text, verdict=verdict, gone=True)


def _more(count: int) -> str:
    return f"{count:,} files differ" if count > 1 else ""


def ended_differently(then: RunRecord, now: RunRecord) -> str:
    """Return in words that a run did not end as the one it repeats, or nothing."""
    before, after = ended(then), ended(now)
    return "" if before == after else f"{after}, where the run {before}"


def machine_differences(then: RunRecord, now: RunRecord) -> tuple[str, ...]:
    """Return in words what of a run's machine is not as that of the run it repeats: none of it is an error."""
    return tuple(
        f"{what} {before or 'unknown'} then, {after or 'unknown'} now"
        for (what, before), (_, after) in zip(_machine(then), _machine(now), strict=True)
        if before != after
    )


def _machine(record: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield what can matter to a result, the likeliest causes first."""
    machine, host = record.machine or Machine(), record.host
    yield "GPUs", ", ".join(gpu.name + (f" ({gpu.mig})" if gpu.mig else "") for gpu in machine.gpus)
    yield "driver", machine.driver
    yield "CUDA of the driver", machine.cuda
    yield "runtime", record.runtime
    yield "architecture", host.architecture if host else ""
    yield "processor", host.processor if host else ""
    yield "CPUs", str(host.cpus) if host else ""
    yield "memory", format_size(host.memory) if host else ""
    yield "system", host.system if host else ""
    yield "kernel", host.kernel if host else ""
