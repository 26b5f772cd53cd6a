"""The run record: one document about one execution of a step.

Version 1 is flat JSON. Its parts are those of an in-toto Statement with SLSA provenance, so that it can become one
without a run being recorded anew: outputs are the subject; command and names of the environment the external
parameters; host and runtime the internal ones; lock, image, inputs and commit the resolved dependencies.
No value of an environment variable, no host or user name and no credential is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

from repro_env.values import Digest

VERSION = 1
STATUSES = ("started", "succeeded", "failed", "interrupted")

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedInput:
    """One input as it was verified before the run.

    `run` is the run that made it, where it is another step's output. `pin` is what its digest is of: `sha256` for the
    content, or the name of a weaker pin, such as `etag`. `uri` is where it came from, if from elsewhere. `changed` says
    that it was not the same any more when the step had ended.
    """

    name: str
    kind: str
    digest: Digest
    files: int
    size: int
    run: str | None = None
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

    `exit_status` is as a shell gives it, 128+N for a `signal` N, and None before the end. `environment` is the names of
    the variables the step was given, `variables` those that `repro.toml` declares, with their values. `arguments` are
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
    findings: tuple[RecordedFinding, ...] = ()
    machine: Machine | None = None
    resources: Resources | None = None
    log: RecordedLog | None = None
    kept: str = ""
    reproduces: str = ""
    deterministic: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {"version": VERSION, **_plain({each.name: getattr(self, each.name) for each in fields(self)})}

    @classmethod
    def from_dict(cls, document: object) -> Self:
        """Read a JSON document. Errors: `ValueError` that names the key which is missing or wrong."""
        door = _Door(document)
        version = door.number("version")
        if version > VERSION:
            raise ValueError(f"version {version} is newer than this program knows ({VERSION})")
        status = door.text("status")
        if status not in STATUSES:
            raise ValueError(f"status: expected one of {', '.join(STATUSES)}, found {status!r}")
        return cls(
            id=door.text("id"),
            project=door.text("project"),
            step=door.text("step"),
            status=status,
            started=door.one("started", _time),
            command=door.many("command", _text),
            runtime=door.text("runtime"),
            finished=door.maybe("finished", _time),
            exit_status=door.maybe("exit_status", _number),
            signal=door.maybe("signal", _number),
            environment=door.many("environment", _text),
            lock=door.maybe("lock", _digest),
            definition=door.maybe("definition", _digest),
            image=door.maybe("image", _digest),
            environment_image=door.maybe("environment_image", _digest),
            inputs=door.many("inputs", _input),
            outputs=door.many("outputs", _output),
            host=door.maybe("host", _host),
            git=door.maybe("git", _git),
            waived=door.maybe("waived", _texts) or (),
            program=door.text("program"),
            arguments=door.maybe("arguments", _texts) or (),
            variables=door.maybe("variables", _mapping) or {},
            findings=door.some("findings", _finding),
            machine=door.maybe("machine", _machine),
            resources=door.maybe("resources", _resources),
            log=door.maybe("log", _log),
            kept=door.maybe("kept", _text) or "",
            reproduces=door.maybe("reproduces", _text) or "",
            deterministic=door.maybe("deterministic", _flag) or False,
        )


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, Digest):
        return str(value)
    if is_dataclass(value):
        return _plain({each.name: getattr(value, each.name) for each in fields(value)})
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


class _Door:
    """The checked door for one JSON object: every error names the key path."""

    def __init__(self, document: object) -> None:
        if not isinstance(document, dict):
            raise ValueError(f"expected an object, found {type(document).__name__}")  # noqa: TRY004 - one kind of error
        self._document = document

    def one(self, key: str, parse: Callable[[object], _Value]) -> _Value:
        """Return a value that must be there."""
        if key not in self._document:
            raise ValueError(f"{key} is missing")
        try:
            return parse(self._document[key])
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error

    def maybe(self, key: str, parse: Callable[[object], _Value]) -> _Value | None:
        """Return a value, or None where there is none."""
        return None if self._document.get(key) is None else self.one(key, parse)

    def many(self, key: str, parse: Callable[[object], _Value]) -> tuple[_Value, ...]:
        """Return a list's values."""
        items = self.one(key, _list)
        return tuple(_Door({f"{key}[{index}]": item}).one(f"{key}[{index}]", parse) for index, item in enumerate(items))

    def some(self, key: str, parse: Callable[[object], _Value]) -> tuple[_Value, ...]:
        """Return a list's values, none where there is no list."""
        return () if self._document.get(key) is None else self.many(key, parse)

    def text(self, key: str) -> str:
        """Return a string."""
        return self.one(key, _text)

    def number(self, key: str) -> int:
        """Return an integer."""
        return self.one(key, _number)


def _expect(value: object, kind: type[_Value], words: str) -> _Value:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"expected {words}, found {value!r}")
    return value


def _text(value: object) -> str:
    return _expect(value, str, "a string")


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(_text, _list(value)))


def _number(value: object) -> int:
    return _expect(value, int, "an integer")


def _list(value: object) -> list[object]:
    return _expect(value, list, "a list")


def _digest(value: object) -> Digest:
    return Digest.parse(_text(value))


def _time(value: object) -> datetime:
    time = datetime.fromisoformat(_text(value))
    if time.tzinfo is None:
        raise ValueError(f"expected a time with its zone, found {value!r}")
    return time


def _flag(value: object) -> bool:
    return _expect(value, bool, "true or false")


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else _expect(value, float, "a number")


def _mapping(value: object) -> dict[str, str]:
    found = _expect(value, dict, "an object")
    return {_text(key): _text(item) for key, item in found.items()}


def _input(value: object) -> RecordedInput:
    door = _Door(value)
    return RecordedInput(
        run=door.maybe("run", _text),
        pin=door.maybe("pin", _text) or "sha256",
        uri=door.maybe("uri", _text) or "",
        changed=door.maybe("changed", _flag) or False,
        **_content(door),
    )


def _output(value: object) -> RecordedOutput:
    door = _Door(value)
    return RecordedOutput(path=door.text("path"), compare=door.maybe("compare", _text) or "", **_content(door))


def _content(door: _Door) -> dict[str, Any]:
    return {
        "name": door.text("name"),
        "kind": door.text("kind"),
        "digest": door.one("digest", _digest),
        "files": door.number("files"),
        "size": door.number("size"),
    }


def _host(value: object) -> HostFacts:
    door = _Door(value)
    words = {key: door.text(key) for key in ("system", "kernel", "architecture", "processor")}
    return HostFacts(**words, cpus=door.number("cpus"), memory=door.number("memory"))


def _git(value: object) -> GitState:
    door = _Door(value)
    words = {key: door.maybe(key, _text) or "" for key in ("tree", "branch", "remote", "prefix")}
    return GitState(
        commit=door.text("commit"),
        dirty=door.one("dirty", _flag),
        diff=door.maybe("diff", _digest),
        omitted=door.maybe("omitted", _texts) or (),
        **words,
    )


def _finding(value: object) -> RecordedFinding:
    door = _Door(value)
    words = {key: door.text(key) for key in ("name", "status", "needed", "found")}
    return RecordedFinding(**words, allowed=door.maybe("allowed", _flag) or False)


def _gpu(value: object) -> RecordedGpu:
    door = _Door(value)
    words = {key: door.maybe(key, _text) or "" for key in ("name", "uuid", "compute_capability", "mig")}
    return RecordedGpu(index=door.number("index"), memory=door.maybe("memory", _number), **words)


def _machine(value: object) -> Machine:
    door = _Door(value)
    words = {key: door.maybe(key, _text) or "" for key in ("driver", "cuda")}
    return Machine(gpus=door.some("gpus", _gpu), **words)


def _resources(value: object) -> Resources:
    door = _Door(value)
    return Resources(
        wall_seconds=door.maybe("wall_seconds", _seconds),
        cpu_seconds=door.maybe("cpu_seconds", _seconds),
        peak_memory=door.maybe("peak_memory", _number),
        gpu_memory=door.maybe("gpu_memory", _number),
        gpu_utilisation=door.maybe("gpu_utilisation", _seconds),
    )


def _log(value: object) -> RecordedLog:
    door = _Door(value)
    return RecordedLog(digest=door.one("digest", _digest), size=door.number("size"))
