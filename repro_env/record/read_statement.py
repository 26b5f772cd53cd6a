"""Reading a run record back from its in-toto Statement: the checked door of `statement`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from repro_env.record.door import Door, amount, choice, count, digest, digest_set, flag, mapping, text, texts, time
from repro_env.record.model import (
    STATUSES,
    GitState,
    HostFacts,
    Machine,
    RecordedFinding,
    RecordedGpu,
    RecordedInput,
    RecordedLog,
    RecordedOutput,
    Resources,
    RunRecord,
)
from repro_env.record.statement import BUILD_TYPE, PROVENANCE, STATEMENT, VERSION


def from_statement(document: object) -> RunRecord:
    """Return the record that `to_statement` wrote. Errors: `ValueError` with the key path of what is missing or wrong.

    What another program added is passed over: fields, and parts with a role that is not known here.
    """
    door = Door(document)
    door.one("_type", choice(STATEMENT))
    door.one("predicateType", choice(PROVENANCE))
    predicate = door.inside("predicate")
    definition, details = predicate.inside("buildDefinition"), predicate.inside("runDetails")
    definition.one("buildType", _build_type)
    dependencies, byproducts = definition.each("resolvedDependencies"), details.each("byproducts")
    outcome = _only(byproducts, "outcome")
    if outcome is None:
        raise ValueError("predicate.runDetails.byproducts: none of them has the role outcome")
    return RunRecord(
        outputs=tuple(map(_output, _with_role(door.each("subject"), "output"))),
        inputs=tuple(map(_input, _with_role(dependencies, "input"))),
        git=_git(dependencies),
        lock=_digest_of(dependencies, "lock"),
        image=_digest_of(dependencies, "image"),
        environment_image=_digest_of(dependencies, "environment-image"),
        log=_log(byproducts),
        program=details.inside("builder").inside("version").one("repro-env", text),
        **_metadata(details.inside("metadata")),
        **_external(definition.inside("externalParameters")),
        **_internal(definition.inside("internalParameters")),
        **_outcome(outcome.inside("annotations")),
    )


def _build_type(value: object) -> None:
    version = text(value).removeprefix(BUILD_TYPE)
    if version == value or not version.isdecimal():
        raise ValueError(f"expected {BUILD_TYPE}{VERSION}, found {value!r}: no record of a run")
    if int(version) > VERSION:
        raise ValueError(f"version {version} is newer than this program knows ({VERSION})")


def _with_role(parts: Sequence[Door], role: str) -> list[Door]:
    return [part for part in parts if part.has("annotations") and _role(part) == role]


def _role(part: Door) -> str:
    return part.inside("annotations").maybe("role", text, "")


def _only(parts: Sequence[Door], role: str) -> Door | None:
    return next(iter(_with_role(parts, role)), None)


def _digest_of(parts: Sequence[Door], role: str) -> Any:
    part = _only(parts, role)
    return part.one("digest", digest_set) if part else None


def _metadata(door: Door) -> dict[str, Any]:
    return {
        "id": door.one("invocationId", text),
        "started": door.one("startedOn", time),
        "finished": door.maybe("finishedOn", time, None),
    }


def _external(door: Door) -> dict[str, Any]:
    return {
        "project": door.one("project", text),
        "step": door.one("step", text),
        "command": door.one("command", texts),
        "arguments": door.maybe("arguments", texts, ()),
        "variables": door.maybe("variables", mapping, {}),
        "secrets": door.maybe("secrets", texts, ()),
        "environment": door.maybe("environment", texts, ()),
        "deterministic": door.maybe("deterministic", flag, False),
        "reproduces": door.maybe("reproduces", text, ""),
    }


def _internal(door: Door) -> dict[str, Any]:
    return {
        "runtime": door.one("runtime", text),
        "definition": door.maybe("definition", digest, None),
        "host": _host(door.inside("host")) if door.has("host") else None,
        "machine": _machine(door.inside("machine")) if door.has("machine") else None,
    }


def _host(door: Door) -> HostFacts:
    words = {key: door.maybe(key, text, "") for key in ("system", "kernel", "architecture", "processor")}
    return HostFacts(**words, cpus=door.one("cpus", count), memory=door.one("memory", count))


def _machine(door: Door) -> Machine:
    words = {key: door.maybe(key, text, "") for key in ("driver", "cuda")}
    return Machine(gpus=tuple(map(_gpu, door.each("gpus"))), **words)


def _gpu(door: Door) -> RecordedGpu:
    return RecordedGpu(
        index=door.one("index", count),
        name=door.maybe("name", text, ""),
        uuid=door.maybe("uuid", text, ""),
        memory=door.maybe("memory", count, None),
        compute_capability=door.maybe("computeCapability", text, ""),
        mig=door.maybe("mig", text, ""),
    )


def _output(part: Door) -> RecordedOutput:
    about = part.inside("annotations")
    return RecordedOutput(
        name=about.one("output", text),
        path=part.one("name", text),
        compare=about.maybe("compare", text, ""),
        **_content(part),
    )


def _input(part: Door) -> RecordedInput:
    about = part.inside("annotations")
    return RecordedInput(
        name=part.one("name", text),
        uri=part.maybe("uri", text, ""),
        pin=about.maybe("pin", text, "sha256"),
        run=about.maybe("run", text, None),
        record=about.maybe("record", digest, None),
        changed=about.maybe("changed", flag, False),
        **_content(part),
    )


def _content(part: Door) -> dict[str, Any]:
    about = part.inside("annotations")
    return {
        "digest": part.one("digest", digest_set),
        "kind": about.one("kind", text),
        "files": about.one("files", count),
        "size": about.one("size", count),
    }


def _git(dependencies: Sequence[Door]) -> GitState | None:
    part = _only(dependencies, "code")
    if part is None:
        return None
    about, sums = part.inside("annotations"), part.inside("digest")
    words = {key: about.maybe(key, text, "") for key in ("branch", "remote", "prefix")}
    return GitState(
        commit=sums.one("gitCommit", text),
        tree=sums.maybe("gitTree", text, ""),
        dirty=about.one("dirty", flag),
        diff=_digest_of(dependencies, "diff"),
        omitted=about.maybe("omitted", texts, ()),
        **words,
    )


def _log(byproducts: Sequence[Door]) -> RecordedLog | None:
    part = _only(byproducts, "log")
    if part is None:
        return None
    return RecordedLog(digest=part.one("digest", digest_set), size=part.inside("annotations").one("size", count))


def _outcome(about: Door) -> dict[str, Any]:
    return {
        "status": about.one("status", choice(*STATUSES)),
        "exit_status": about.maybe("exitStatus", count, None),
        "signal": about.maybe("signal", count, None),
        "kept": about.maybe("kept", text, ""),
        "waived": about.maybe("waived", texts, ()),
        "findings": tuple(map(_finding, about.each("findings"))),
        "resources": _resources(about.inside("resources")) if about.has("resources") else None,
    }


def _finding(door: Door) -> RecordedFinding:
    words = {key: door.maybe(key, text, "") for key in ("name", "status", "needed", "found")}
    return RecordedFinding(**words, allowed=door.maybe("allowed", flag, False))


def _resources(door: Door) -> Resources:
    return Resources(
        wall_seconds=door.maybe("wallSeconds", amount, None),
        cpu_seconds=door.maybe("cpuSeconds", amount, None),
        peak_memory=door.maybe("peakMemory", count, None),
        gpu_memory=door.maybe("gpuMemory", count, None),
        gpu_utilisation=door.maybe("gpuUtilisation", amount, None),
    )
