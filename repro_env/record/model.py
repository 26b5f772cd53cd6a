"""The run record: one document about one execution of a step.

Here it is flat, as programs use it; as a file, and for others, it is an in-toto Statement (see `statement`). No value
of an environment variable but of those that `repro.toml` declares, no host or user name and no credential is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime

from repro_env.frozen import dataclass
from repro_env.values import Digest

STATUSES = ("started", "succeeded", "failed", "interrupted")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedInput:
    """One input as it was verified before the run.

    `run` is the run that made it, where it is another step's output, and `record` the digest of that run's record.
    The digest is of its content, as it was measured then; `pin` is what the lock pins it by: `sha256` for the content,
    too, or the name of what is weaker, such as `etag`. `uri` is where it came from, if from elsewhere. `changed` says
    that it was written to while the step ran.
    """

    name: str
    kind: str
    digest: Digest
    files: int
    size: int
    run: str | None = None
    record: Digest | None = None
    pin: str = "sha256"
    uri: str = ""
    changed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedOutput:
    """One output as the run left it; `path` is relative to the project, `size` in bytes.

    `compare` is how another run's is to be compared with it, and empty for byte by byte.
    """

    name: str
    path: str
    kind: str
    digest: Digest
    files: int
    size: int
    compare: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """The machine, as far as it can matter to a result: `memory` in bytes, `cpus` that the process may use."""

    system: str
    kernel: str
    architecture: str
    processor: str
    cpus: int
    memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GitState:
    """The commit that was checked out, and whether tracked files differed from it or untracked ones were about.

    `tree` is the commit's tree, `branch` empty where none was checked out, `remote` the address it is fetched from,
    without credentials, `prefix` the project's directory in the repository (`work/demo/`, empty at its top). `diff` is
    of `code.diff` beside the record, which turns the commit into what ran; `omitted` says what is not in it, and why.
    """

    commit: str
    dirty: bool
    tree: str = ""
    branch: str = ""
    remote: str = ""
    prefix: str = ""
    diff: Digest | None = None
    omitted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFinding:
    """One check of the machine: `status` is `ok`, `mismatch` or `unknown`, and `allowed` that it kept no run back."""

    name: str
    status: str
    needed: str
    found: str
    allowed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedGpu:
    """One GPU, or MIG instance, that the step could use; `memory` in bytes, what was not told is empty or None."""

    index: int
    name: str = ""
    uuid: str = ""
    memory: int | None = None
    compute_capability: str = ""
    mig: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The GPUs, their driver, and the newest CUDA version that it serves."""

    driver: str = ""
    cuda: str = ""
    gpus: tuple[RecordedGpu, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a run used; None is not known.

    `wall_seconds` is from start to end, `cpu_seconds` of all its processes together, `peak_memory` in bytes of the
    largest of them, or of the container. `gpu_memory` is the most bytes seen in use on all its GPUs together, and
    `gpu_utilisation` the mean of the samples, from 0 to 1.
    """

    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory: int | None = None
    gpu_memory: int | None = None
    gpu_utilisation: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedLog:
    """What the step printed, which is kept beside the record as `output.log`; `size` in bytes."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run.

    `command` names places as they are in the image, whatever the runtime, so that it is the same on every machine.
    `exit_status` is as a shell gives it, 128+N for a `signal` N, and None before the end. `environment` is the names of
    the variables the step was given, `variables` those that `repro.toml` declares, with their values, and `secrets` the
    names of those whose values nobody keeps. `arguments` are
    the end of `command` that was typed after `repro exec STEP --`. `image` and `environment_image` are None for a
    runtime that has none. `findings` are of the machine; `waived` names those that failed and were allowed to. `kept`
    is the directory beside the record with what a failed run wrote. `reproduces` is the run that this one repeats.
    """

    id: str
    project: str
    step: str
    status: str
    started: datetime
    command: tuple[str, ...]
    runtime: str
    finished: datetime | None = None
    exit_status: int | None = None
    signal: int | None = None
    environment: tuple[str, ...] = ()
    lock: Digest | None = None
    definition: Digest | None = None
    image: Digest | None = None
    environment_image: Digest | None = None
    inputs: tuple[RecordedInput, ...] = ()
    outputs: tuple[RecordedOutput, ...] = ()
    host: HostFacts | None = None
    git: GitState | None = None
    waived: tuple[str, ...] = ()
    program: str = ""  # the version of repro that wrote it
    arguments: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    findings: tuple[RecordedFinding, ...] = ()
    machine: Machine | None = None
    resources: Resources | None = None
    log: RecordedLog | None = None
    kept: str = ""
    reproduces: str = ""
    deterministic: bool = False
