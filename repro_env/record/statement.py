"""A run record as others read it: an in-toto Statement v1 whose predicate is SLSA provenance v1.

`docs/reference/run-record.md` tells each field. Every fact of a run stands in one place, and nowhere in a field that
the two specifications do not have, because strict readers refuse such a document. What they have no field for is an
annotation. Each part says by the annotation `role` what it is to the run.

Source: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, https://slsa.dev/spec/v1.0/provenance.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from repro_env.record.model import GitState, HostFacts, Machine, RecordedInput, RecordedOutput, Resources, RunRecord
from repro_env.values import Digest

STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
BUILDER = "https://pypi.org/project/repro-env/"
"""This program, by the one address that stays its own: all its documents name it so, and their types begin with it."""

BUILD_TYPE = f"{BUILDER}#run/v"
VERSION = 1
OUTCOME = f"{BUILDER}#outcome"
RUN = f"{BUILDER}#runs/"

_SCP = re.compile(r"(?P<host>[^/:]+):(?!//)/?(?P<path>.+)")  # git-clone(1), "GIT URLS"

Json = dict[str, Any]


def to_statement(record: RunRecord) -> Json:
    """Return the JSON document of a record."""
    return {
        "_type": STATEMENT,
        "subject": [_output(output) for output in record.outputs] or [_run_itself(record)],
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": f"{BUILD_TYPE}{VERSION}",
                "externalParameters": _external(record),
                "internalParameters": _internal(record),
                "resolvedDependencies": list(_dependencies(record)),
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"repro-env": record.program}},
                "metadata": {
                    "invocationId": record.id,
                    **_said(startedOn=record.started, finishedOn=record.finished),
                },
                "byproducts": list(_byproducts(record)),
            },
        },
    }


def _said(**values: Any) -> Json:
    """Return the values that say something, as JSON has them."""
    return {key: _plain(value) for key, value in values.items() if value not in (None, "", ()) and value is not False}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, Digest):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _descriptor(role: str, name: str, digest: Digest | None = None, *, uri: str = "", **annotations: Any) -> Json:
    """Return a ResourceDescriptor, which has a digest, an address, or both."""
    sums = {"sha256": digest.hex} if digest else None
    return {"name": name, **_said(uri=uri, digest=sums), "annotations": {"role": role, **_said(**annotations)}}


def _output(output: RecordedOutput) -> Json:
    return _descriptor(
        "output",
        output.path,
        output.digest,
        output=output.name,
        kind=output.kind,
        files=output.files,
        size=output.size,
        manifest=manifest_name(output) if output.kind == "directory" else "",
        compare=output.compare,
    )


def manifest_name(output: RecordedOutput) -> str:
    """Return where, beside the record, the manifest of a directory is kept: what its digest is of."""
    return f"manifests/{output.name}.manifest"


def _run_itself(record: RunRecord) -> Json:
    """Return what stands for the outputs of a run that has none, because a Statement needs a subject with a digest.

    It is of the run's id, so that no file is ever taken for something that this run vouches for.
    """
    return _descriptor("run", record.id, Digest(hashlib.sha256(record.id.encode()).hexdigest()), uri=RUN + record.id)


def _external(record: RunRecord) -> Json:
    return {
        "project": record.project,
        "step": record.step,
        "command": list(record.command),
        **_said(
            arguments=record.arguments,
            variables=record.variables or None,
            secrets=record.secrets,
            environment=record.environment,
            deterministic=record.deterministic,
            reproduces=record.reproduces,
        ),
    }


def _internal(record: RunRecord) -> Json:
    return {
        "runtime": record.runtime,
        **_said(
            definition=record.definition,
            host=_host(record.host) if record.host else None,
            machine=_machine(record.machine) if record.machine else None,
        ),
    }


def _host(host: HostFacts) -> Json:
    return _said(
        system=host.system,
        kernel=host.kernel,
        architecture=host.architecture,
        processor=host.processor,
        cpus=host.cpus,
        memory=host.memory,
    )


def _machine(machine: Machine) -> Json:
    gpus = [
        _said(
            index=gpu.index,
            name=gpu.name,
            uuid=gpu.uuid,
            memory=gpu.memory,
            computeCapability=gpu.compute_capability,
            mig=gpu.mig,
        )
        for gpu in machine.gpus
    ]
    return {**_said(driver=machine.driver, cuda=machine.cuda), "gpus": gpus}


def _dependencies(record: RunRecord) -> Iterator[Json]:
    if record.git:
        yield _code(record.git)
    if record.git and record.git.diff:
        yield _descriptor("diff", "code.diff", record.git.diff)
    named = (
        ("lock", "repro.lock", record.lock),
        ("image", "step image", record.image),
        ("environment-image", "environment image", record.environment_image),
    )
    yield from (_descriptor(role, name, digest) for role, name, digest in named if digest)
    yield from map(_input, record.inputs)
    makers = {used.run: used.record for used in record.inputs if used.run}
    yield from (_descriptor("run", run, digest, uri=RUN + run) for run, digest in makers.items())


def _code(git: GitState) -> Json:
    return {
        **_said(name="code", uri=_git_uri(git)),
        "digest": {"gitCommit": git.commit, **_said(gitTree=git.tree)},
        "annotations": {
            "role": "code",
            "dirty": git.dirty,
            **_said(branch=git.branch, remote=git.remote, prefix=git.prefix, omitted=git.omitted),
        },
    }


def _git_uri(git: GitState) -> str:
    """Return where the commit is, as SPDX writes it (SPDX 2.3, 7.7); nothing for a remote that is no absolute place."""
    remote = git.remote
    if scp := _SCP.fullmatch(remote):
        remote = f"ssh://{scp['host']}/{scp['path']}"
    elif remote.startswith("/"):
        remote = f"file://{remote}"
    return f"git+{remote}@{git.commit}" if "://" in remote else ""


def _input(used: RecordedInput) -> Json:
    return _descriptor(
        "input",
        used.name,
        used.digest,
        uri=used.uri,
        kind=used.kind,
        files=used.files,
        size=used.size,
        pin=used.pin,
        run=used.run,
        record=used.record,
        changed=used.changed,
    )


def _byproducts(record: RunRecord) -> Iterator[Json]:
    yield _descriptor(
        "outcome",
        "outcome",
        uri=OUTCOME,
        status=record.status,
        exitStatus=record.exit_status,
        signal=record.signal,
        kept=record.kept,
        waived=record.waived,
        findings=tuple(
            _said(name=each.name, status=each.status, needed=each.needed, found=each.found, allowed=each.allowed)
            for each in record.findings
        ),
        resources=_resources(record.resources) if record.resources else None,
    )
    if record.log:
        yield _descriptor("log", "output.log", record.log.digest, size=record.log.size)
    directories = (output for output in record.outputs if output.kind == "directory")
    yield from (_descriptor("manifest", manifest_name(each), each.digest) for each in directories)


def _resources(used: Resources) -> Json:
    return _said(
        wallSeconds=used.wall_seconds,
        cpuSeconds=used.cpu_seconds,
        peakMemory=used.peak_memory,
        gpuMemory=used.gpu_memory,
        gpuUtilisation=used.gpu_utilisation,
    )
