"""Run records that no run left: histories of any shape, for what reads, compares and draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

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
HOST = HostFacts(
    system="Debian GNU/Linux 12 (bookworm)",
    kernel="Linux 6.1.0-28-amd64",
    architecture="x86_64",
    processor="AMD EPYC 7763 64-Core Processor",
    cpus=16,
    memory=2**36,
)


def _digest(text: str) -> Digest:
    return Digest.of(text.encode(errors="surrogatepass"))  # names may hold bytes that are no UTF-8


def data(name: str, content: str = "") -> RecordedInput:
    """Return an input that no run made."""
    return RecordedInput(name=name, kind="file", digest=_digest(content or name), files=1, size=len(content or name))


def output(name: str, content: str = "", **changes: Any) -> RecordedOutput:
    """Return an output with this content."""
    text = content or name
    known = {"path": f"build/{name}.csv", "kind": "file", "files": 1, "size": len(text)}
    return RecordedOutput(name=name, digest=_digest(text), **{**known, **changes})


def taken(record: RunRecord, name: str = "") -> RecordedInput:
    """Return an output of a run, by default its first, as the input of another."""
    made = next(one for one in record.outputs if name in {"", one.name})
    return RecordedInput(
        name=f"{record.step}.{made.name}",
        kind=made.kind,
        digest=made.digest,
        files=made.files,
        size=made.size,
        run=record.id,
    )


def ran(step: str, number: int = 0, **changes: Any) -> RunRecord:
    """Return the record of a run that succeeded, `number` minutes after the first."""
    started = START + timedelta(minutes=number)
    known: dict[str, Any] = {
        "id": f"{started:%Y%m%dT%H%M%SZ}-{step}-{number:04x}",
        "project": "churn",
        "step": step,
        "status": "succeeded",
        "started": started,
        "finished": started + timedelta(seconds=4.5),
        "command": ("python", f"{step}.py"),
        "runtime": "bwrap",
        "exit_status": 0,
        "environment": ("HOME", "LANG", "PATH"),
        "lock": Digest.of(b"lock"),
        "image": _digest(f"image of {step}"),
        "environment_image": _digest(f"environment of {step}"),
        "host": HOST,
        "git": GitState(commit="1f" * 20, dirty=False, branch="main"),
        "resources": Resources(wall_seconds=4.5, cpu_seconds=8.25, peak_memory=2**28),
        "program": "0.1.0",
    }
    return RunRecord(**{**known, **changes})


def chain(length: int = 2) -> tuple[RunRecord, ...]:
    """Return runs that each read what the one before made, the first one raw data; oldest first."""
    runs = [ran("s0", inputs=(data("raw"),), outputs=(output("o0"),))]
    for number in range(1, length):
        runs.append(ran(f"s{number}", number, inputs=(taken(runs[-1]),), outputs=(output(f"o{number}"),)))
    return tuple(runs)


def pipeline() -> tuple[RunRecord, ...]:
    """Return three runs, clean, train and report, that say all that a record can say; oldest first."""
    clean = ran("clean", inputs=(data("raw"),), outputs=(output("table"),))
    gpu = RecordedGpu(index=0, name="NVIDIA H100", uuid="GPU-1", memory=80 * 2**30, compute_capability="9.0")
    train = ran(
        "train",
        5,
        command=("python", "train.py", "--epochs", "3"),
        arguments=("--epochs", "3"),
        variables={"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "SEED": "7"},
        environment=("CUBLAS_WORKSPACE_CONFIG", "HOME", "LANG", "PATH", "SEED"),
        inputs=(taken(clean),),
        outputs=(output("model", path="build/model.pt"), output("metrics", path="build/metrics.json")),
        machine=Machine(driver="570.124.06", cuda="12.8", gpus=(gpu,)),
        findings=(
            RecordedFinding(name="driver", status="ok", needed="525.60.13 or newer", found="570.124.06"),
            RecordedFinding(name="memory", status="mismatch", needed="96.0 GiB", found="80.0 GiB", allowed=True),
        ),
        waived=("memory",),
        git=GitState(
            commit="2e" * 20,
            dirty=True,
            branch="wide-model",
            remote="https://git.example.org/churn.git",
            diff=Digest.of(b"diff"),
        ),
        resources=Resources(
            wall_seconds=4.5, cpu_seconds=8.25, peak_memory=2**32, gpu_memory=2**35, gpu_utilisation=0.87
        ),
        log=RecordedLog(digest=Digest.of(b"log"), size=1234),
    )
    report = ran("report", 7, inputs=(taken(train, "metrics"), taken(clean)), outputs=(output("page"),))
    return clean, train, report


def shards(count: int = 28) -> tuple[RunRecord, ...]:
    """Return runs that split raw data, work on each part, and merge what came of it; oldest first."""
    parts = [output(f"part{number:02}") for number in range(count)]
    split = ran("split", inputs=(data("raw"), data("labels")), outputs=tuple(parts))
    works = [
        ran(f"work{number:02}", number + 1, inputs=(taken(split, part.name),), outputs=(output(f"done{number:02}"),))
        for number, part in enumerate(parts)
    ]
    merge = ran("merge", count + 2, inputs=(*map(taken, works), data("labels")), outputs=(output("all"),))
    return split, *works, merge


def by_id(records: Sequence[RunRecord]) -> Mapping[str, RunRecord]:
    """Return records by their ids."""
    return {record.id: record for record in records}
