"""A run record with something in every field."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from repro_env.record.model import (
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
from repro_env.values import Digest

START = datetime(2026, 11, 23, 4, 33, 54, 123000, tzinfo=UTC)
END = START + timedelta(seconds=90)
TABLE = RecordedOutput(
    name="table", path="build/table.csv", kind="file", digest=Digest.of(b"table"), files=1, size=5
)  # fmt: skip
FULL = RunRecord(
    id="20261123T043354Z-clean-3f2a",
    project="penguins",
    step="clean",
    status="succeeded",
    started=START,
    finished=END,
    command=("python", "clean.py", "é"),
    runtime="bwrap",
    exit_status=0,
    environment=("LANG", "PATH"),
    lock=Digest.of(b"lock"),
    image=Digest.of(b"image"),
    environment_image=Digest.of(b"environment"),
    inputs=(
        RecordedInput(name="raw", kind="directory", digest=Digest.of(b"raw"), files=3, size=12),
        RecordedInput(
            name="a.b",
            kind="file",
            digest=Digest.of(b"b"),
            files=1,
            size=1,
            run="20261123T000000Z-a-0000",
            record=Digest.of(b"record"),
            pin="etag",
            uri="https://example.org/b",
            changed=True,
        ),
    ),
    outputs=(TABLE,),
    host=HostFacts(
        system="Debian GNU/Linux 12", kernel="Linux 6.1", architecture="x86_64", processor="", cpus=2, memory=2**34
    ),
    git=GitState(
        commit="0" * 40,
        dirty=True,
        tree="1" * 40,
        branch="main",
        remote="https://example.org/penguins.git",
        prefix="work/",
        diff=Digest.of(b"diff"),
        omitted=("notes.bin: 20.0 MiB",),
    ),
    waived=("memory", "driver"),
    program="0.1.0",
    arguments=("é",),
    variables={"GREETING": "hello"},
    secrets=("DEPLOY_KEY", "HF_TOKEN"),
    findings=(RecordedFinding(name="memory", status="mismatch", needed=">=40 GiB", found="24.0 GiB", allowed=True),),
    machine=Machine(
        driver="570.124.06",
        cuda="12.8",
        gpus=(RecordedGpu(index=0, name="NVIDIA L4", uuid="GPU-0", memory=2**34, compute_capability="8.9"),),
    ),
    resources=Resources(wall_seconds=90.0, cpu_seconds=1.5, peak_memory=2**20, gpu_memory=2**30, gpu_utilisation=0.5),
    log=RecordedLog(digest=Digest.of(b"log"), size=3),
    kept="output",
    reproduces="20261122T000000Z-clean-0000",
    deterministic=True,
)
SPARSE = RunRecord(
    id="20261123T043354Z-clean-3f2a",
    project="penguins",
    step="clean",
    status="interrupted",
    started=START,
    command=("true",),
    runtime="venv",
)
MODEL = RecordedOutput(
    name="model",
    path="build/model",
    kind="directory",
    digest=Digest.of(b"model"),
    files=2,
    size=7,
    compare="numeric: rtol=1e-6",
)
WHOLE = replace(
    FULL,
    definition=Digest.of(b"definition"),
    outputs=(TABLE, MODEL),
    machine=Machine(
        driver="570.124.06",
        cuda="12.8",
        gpus=(
            RecordedGpu(index=0, name="NVIDIA L4", uuid="GPU-0", memory=2**34, compute_capability="8.9", mig="1g.5gb"),
        ),
    ),
)
"""The same with something in every field but `signal`, which a run that succeeded has not."""
