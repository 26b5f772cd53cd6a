"""One run record as sections of facts and tables, for whatever shows them: a terminal, a page."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from datetime import tzinfo

from repro_env.frozen import dataclass
from repro_env.record.model import GitState, Machine, RecordedGpu, RecordedInput, RecordedOutput, RunRecord
from repro_env.record.words import content, duration, ended, marks, moment, seconds_of
from repro_env.values import Digest, format_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One value: `tone` is `good`, `bad`, `doubt`, `quiet` or none; `run` is the id of the run that it is about.

    `code` says that it is a machine's word, of which each character counts: a command, a path, a digest.
    """

    text: str
    tone: str = ""
    run: str = ""
    code: bool = False


def _code(text: str, run: str = "") -> Cell:
    return Cell(text=text, run=run, code=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A titled table. Without `columns` its rows are facts, each a name and a value."""

    title: str
    rows: tuple[tuple[Cell, ...], ...]
    columns: tuple[str, ...] = ()


TONES = {"succeeded": "good", "failed": "bad", "interrupted": "doubt", "started": "quiet"}
"""By the status of a run."""

_FINDING_TONES = {"ok": "good", "mismatch": "bad", "unknown": "bad"}


def describe(record: RunRecord, zone: tzinfo | None) -> tuple[Section, ...]:
    """Return all that a record says, without what it does not say; times are in `zone`, None for the machine's own."""
    sections = (
        Section(title="what ran", rows=_facts(_what(record))),
        Section(title="from what", columns=("input", "content", "sha256", "made by"), rows=_inputs(record)),
        Section(title="made what", columns=("output", "path", "content", "sha256"), rows=_outputs(record)),
        Section(title="how it went", rows=_facts(_outcome(record, zone))),
        Section(title="in what", rows=_facts(_place(record))),
        Section(title="on what", rows=_facts(_machine(record))),
        Section(title="checks", columns=("check", "", "needed", "found"), rows=_findings(record)),
    )
    return tuple(section for section in sections if section.rows)


def _facts(pairs: Iterator[tuple[str, str | Cell]]) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        (Cell(text=name), shown)
        for name, value in pairs
        if (shown := value if isinstance(value, Cell) else Cell(text=value)).text
    )


def _outcome(record: RunRecord, zone: tzinfo | None) -> Iterator[tuple[str, str | Cell]]:
    seconds = seconds_of(record)
    yield "status", Cell(text=ended(record), tone=TONES[record.status])
    yield "started", moment(record.started, zone)
    yield "took", duration(seconds) if seconds is not None else ""
    if used := record.resources:
        yield "CPU time", duration(used.cpu_seconds) if used.cpu_seconds is not None else ""
        yield "most memory", format_size(used.peak_memory) if used.peak_memory is not None else ""
        yield "most GPU memory", format_size(used.gpu_memory) if used.gpu_memory is not None else ""
        yield "GPUs in use", f"{used.gpu_utilisation:.0%}" if used.gpu_utilisation is not None else ""
    if record.log:
        yield "log", f"{format_size(record.log.size)}, {_short(record.log.digest)}"
    if record.kept:
        yield "what it wrote", Cell(text=f"is kept in {record.kept}, beside the record", tone="doubt")
    if record.reproduces:
        yield "repeats", _code(record.reproduces, record.reproduces)
    for mark in marks(record):
        yield "note", Cell(text=mark, tone="doubt")


def _what(record: RunRecord) -> Iterator[tuple[str, str | Cell]]:
    yield "step", f"{record.step} of {record.project}"
    yield "command", _code(shlex.join(record.command))
    yield "arguments", _code(shlex.join(record.arguments))
    for name, value in sorted(record.variables.items()):
        yield "variable", _code(f"{name}={value}")
    yield "secrets", _code(", ".join(record.secrets))
    yield "environment", _code(", ".join(sorted({*record.environment} - {*record.variables} - {*record.secrets})))
    yield "deterministic", "yes, says the step" if record.deterministic else ""
    yield from _commit(record.git) if record.git else ()


def _commit(git: GitState) -> Iterator[tuple[str, str | Cell]]:
    yield "commit", _code(git.commit + (f" on {git.branch}" if git.branch else ""))
    yield "repository", _code(git.remote)
    yield "directory", _code(git.prefix)
    if git.dirty:
        kept = f", kept as code.diff {_short(git.diff)}" if git.diff else ""
        yield "on top", Cell(text=f"changes that are not committed{kept}", tone="doubt")
    for omitted in git.omitted:
        yield "not kept", Cell(text=omitted, tone="doubt")


def _inputs(record: RunRecord) -> tuple[tuple[Cell, ...], ...]:
    return tuple((Cell(text=one.name), _content(one), _digest(one), _maker(one)) for one in record.inputs)


def _maker(one: RecordedInput) -> Cell:
    if one.run is None:
        return Cell(text=f"data from {one.uri}" if one.uri else "data", tone="quiet")
    return _code(one.run, one.run)


def _content(one: RecordedInput) -> Cell:
    return Cell(text=f"{content(one)}, changed meanwhile", tone="doubt") if one.changed else Cell(text=content(one))


def _digest(one: RecordedInput) -> Cell:
    return _code(_short(one.digest) if one.pin == "sha256" else f"{_short(one.digest)}, pinned by its {one.pin}")


def _outputs(record: RunRecord) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        (Cell(text=one.name), _code(one.path), Cell(text=_made(one)), _code(_short(one.digest)))
        for one in record.outputs
    )


def _made(one: RecordedOutput) -> str:
    return content(one) + (f", compared as {one.compare}" if one.compare else "")


def _place(record: RunRecord) -> Iterator[tuple[str, str | Cell]]:
    yield "runtime", record.runtime
    yield "image", _code(str(record.image or ""))
    yield "environment image", _code(str(record.environment_image or ""))
    yield "lock", _code(str(record.lock or ""))
    yield "definition", _code(str(record.definition or ""))
    yield "repro", record.program


def _machine(record: RunRecord) -> Iterator[tuple[str, str | Cell]]:
    if host := record.host:
        yield "system", ", ".join(filter(None, (host.system, host.kernel, host.architecture)))
        yield "processors", f"{host.cpus}" + (f" of {host.processor}" if host.processor else "")
        yield "memory", format_size(host.memory)
    if machine := record.machine:
        yield "driver", machine.driver + (f", for CUDA {machine.cuda}" if machine.cuda else "")
        yield from (("GPU", gpu_words(gpu)) for gpu in machine.gpus)


def gpu_words(gpu: RecordedGpu) -> str:
    """Return a GPU in a line: `0: NVIDIA H100, 80.0 GiB, compute capability 9.0, GPU-1`."""
    parts = (
        gpu.name,
        format_size(gpu.memory) if gpu.memory is not None else "",
        f"compute capability {gpu.compute_capability}" if gpu.compute_capability else "",
        f"MIG {gpu.mig}" if gpu.mig else "",
        gpu.uuid,
    )
    return f"{gpu.index}: {', '.join(filter(None, parts))}"


def gpu_kinds(machine: Machine) -> str:
    """Return the GPUs of a machine by kind: `2 of NVIDIA H100 (80.0 GiB)`."""
    kinds: dict[str, int] = {}
    for gpu in machine.gpus:
        memory = f" ({format_size(gpu.memory)})" if gpu.memory is not None else ""
        kind = (gpu.name or "unknown kind") + memory + (f" MIG {gpu.mig}" if gpu.mig else "")
        kinds[kind] = kinds.get(kind, 0) + 1
    return ", ".join(f"{count} of {kind}" for kind, count in sorted(kinds.items())) or "none"


def _findings(record: RunRecord) -> tuple[tuple[Cell, ...], ...]:
    rows: Sequence[tuple[Cell, ...]] = [
        (
            Cell(text=one.name),
            Cell(text="allowed", tone="doubt")
            if one.allowed
            else Cell(text=one.status, tone=_FINDING_TONES.get(one.status, "")),
            Cell(text=one.needed),
            Cell(text=one.found),
        )
        for one in record.findings
    ]
    return tuple(rows)


def _short(digest: Digest | None) -> str:
    return digest.short if digest else ""
