"""Why two runs of a step may have come out different: code, packages, base, data, parameters, machine, runtime."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from repro_env.record.code import CodeChange
from repro_env.record.definition import code_causes, lock_causes
from repro_env.record.describe import gpu_kinds
from repro_env.record.difference import KINDS, Difference, Evidence, Files, setting, settings, short
from repro_env.record.model import Machine, RecordedInput, RunRecord
from repro_env.record.words import content

_HOST = {
    "processor": "processor",
    "architecture": "architecture",
    "cpus": "number of processors",
    "kernel": "kernel",
    "system": "system",
}
"""The fields of a host in people's words, what matters most first."""


def own_causes(
    before: Evidence, after: Evidence, code: Sequence[CodeChange] | None, files: Files
) -> tuple[tuple[Difference, ...], tuple[str, ...]]:
    """Return what differs between what two runs started from, but for what other runs made, and notes.

    `code` are the files of the project that differ, None where that cannot be told.
    """
    old, new = before.record, after.record
    changed, notes = code_causes(before, after, code)
    data, parameters = tuple(_data(old, new, files)), tuple(_parameters(before, after))
    found = [*_step(old, new), *changed, *lock_causes(before, after), *data, *parameters]
    if old.definition is None or old.definition != new.definition:
        found = _explained(found, old, new)
    if old.definition == new.definition:
        found += _image(old, new)
    found += [*_machine(old, new), *_runtime(old, new)]
    return tuple(sorted(found, key=_rank)), notes


def _rank(cause: Difference) -> tuple[int, bool]:
    """Return what sorts causes: by kind, and packages of another version before those that came or went with them."""
    return KINDS.index(cause.kind), cause.kind == "packages" and not (cause.before and cause.after)


def _explained(found: list[Difference], old: RunRecord, new: RunRecord) -> list[Difference]:
    """Return the differences, of which one at least explains that the step's definition is another.

    Where none does, it was the commit, whose files cannot be told, or what no record tells.
    """
    if any(not cause.context for cause in found):
        return found
    if found or old.definition is None or new.definition is None:
        return [replace(cause, context=False) for cause in found]
    return [_undefined(old, new)]


def _step(old: RunRecord, new: RunRecord) -> Iterator[Difference]:
    yield from setting("step", new.step, "step", old.step, new.step)
    yield from setting("step", new.step, "project", old.project, new.project)


def _undefined(old: RunRecord, new: RunRecord) -> Difference:
    details = (
        "its code or its slice of the lock, in what the records do not tell:",
        "a package of one's own, or a file that git does not know",
    )
    known = (short(old.definition), short(new.definition))
    return Difference(kind="code", step=new.step, what="definition", before=known[0], after=known[1], details=details)


def _image(old: RunRecord, new: RunRecord) -> Iterator[Difference]:
    """Yield images that differ although all they are made from is the same."""
    for name in ("environment_image", "image"):
        one, other = getattr(old, name), getattr(new, name)
        if one and other and one != other:
            details = ("although code and lock are the same: `repro build --check` builds it twice",)
            yield Difference(
                kind="image",
                step=new.step,
                what=name.replace("_", " "),
                before=one.short,
                after=other.short,
                details=details,
            )
            return


def _data(old: RunRecord, new: RunRecord, files: Files) -> Iterator[Difference]:
    one, other = {used.name: used for used in old.inputs}, {used.name: used for used in new.inputs}
    for name in dict.fromkeys((*one, *other)):
        was, now = one.get(name), other.get(name)
        if was is None or now is None:
            yield Difference(kind="data", step=new.step, what=name, before=_content(was), after=_content(now))
        elif was.digest != now.digest and not (was.run and now.run and was.run != now.run):
            details = tuple(files(was, now))
            yield Difference(
                kind="data", step=new.step, what=name, before=_content(was), after=_content(now), details=details
            )
    for record in (old, new):
        for used in record.inputs:
            if used.changed:
                yield Difference(
                    kind="data", step=new.step, what=used.name, told=f"changed while run {record.id} read it"
                )


def _content(used: RecordedInput | None) -> str:
    return f"{used.digest.short} ({content(used)})" if used else ""


def _parameters(before: Evidence, after: Evidence) -> Iterator[Difference]:
    old, new = before.record, after.record
    if before.step is None or after.step is None:
        yield from _command(old, new)
    else:
        yield from setting("parameters", new.step, "arguments", shlex.join(old.arguments), shlex.join(new.arguments))
    yield from settings("parameters", new.step, old.variables, new.variables)
    yield from setting("parameters", new.step, "secrets", ", ".join(old.secrets), ", ".join(new.secrets))
    if old.runtime == new.runtime:
        declared = {*old.variables, *new.variables, *old.secrets, *new.secrets}
        gone = ", ".join(sorted({*old.environment} - {*new.environment} - declared))
        came = ", ".join(sorted({*new.environment} - {*old.environment} - declared))
        yield from setting("parameters", new.step, "variables of the environment", gone, came)


def _command(old: RunRecord, new: RunRecord) -> Iterator[Difference]:
    """Yield how commands differ as they ran, for where no lock tells how they were meant.

    In another runtime the same command has other places.
    """
    if old.runtime == new.runtime:
        texts = (shlex.join(word.replace(record.id, "RUN") for word in record.command) for record in (old, new))
        yield from setting("parameters", new.step, "command", *texts)


def _machine(old: RunRecord, new: RunRecord) -> Iterator[Difference]:
    gpus = old.machine or Machine(), new.machine or Machine()
    yield from setting("machine", new.step, "GPUs", *(gpu_kinds(one) for one in gpus))
    yield from setting("machine", new.step, "driver", *(one.driver for one in gpus))
    if old.host and new.host:
        for field, name in _HOST.items():
            texts = (str(getattr(host, field)) for host in (old.host, new.host))
            yield from setting("machine", new.step, name, *texts)
    units = tuple(", ".join(gpu.uuid for gpu in one.gpus) for one in gpus)
    if gpu_kinds(gpus[0]) == gpu_kinds(gpus[1]) and all(units):
        yield from setting("machine", new.step, "GPU of that kind", *units)


def _runtime(old: RunRecord, new: RunRecord) -> Iterator[Difference]:
    yield from setting("runtime", new.step, "runtime", old.runtime, new.runtime)
    yield from setting("runtime", new.step, "repro", old.program, new.program)
    yield from setting("runtime", new.step, "allowed checks", ", ".join(old.waived), ", ".join(new.waived))
