"""The run record: one document about one execution of a step.

Version 1 is flat JSON. Its parts are those of an in-toto Statement with SLSA provenance, so that it can become one
without a run being recorded anew: outputs are the subject; command and names of the environment the external
parameters; host and runtime the internal ones; lock, image, inputs and commit the resolved dependencies.
No value of an environment variable, no host or user name and no credential is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

from repro_env.values import Digest

VERSION = 1
STATUSES = ("started", "succeeded", "failed", "interrupted")

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedInput:
    """One input as it was verified before the run. `run` is the run that made it, where it is another step's output."""

    name: str
    kind: str
    digest: Digest
    files: int
    size: int
    run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedOutput:
    """One output as the run left it; `path` is relative to the project, `size` in bytes."""

    name: str
    path: str
    kind: str
    digest: Digest
    files: int
    size: int


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
    """The commit that was checked out, and whether tracked files differed from it or untracked ones were about."""

    commit: str
    dirty: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run.

    `exit_status` is as a shell gives it, 128+N for a `signal` N, and None before the end. `environment` is the names of
    the variables the step was given. `image` and `environment_image` are None for a runtime that has none. `waived` are
    the checks of the machine that failed and were allowed to.
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

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {"version": VERSION, **_plain({field.name: getattr(self, field.name) for field in fields(self)})}

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
        )


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, Digest):
        return str(value)
    if isinstance(value, RecordedInput | RecordedOutput | HostFacts | GitState):
        return _plain({field.name: getattr(value, field.name) for field in fields(value)})
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


def _input(value: object) -> RecordedInput:
    door = _Door(value)
    return RecordedInput(run=door.maybe("run", _text), **_content(door))


def _output(value: object) -> RecordedOutput:
    door = _Door(value)
    return RecordedOutput(path=door.text("path"), **_content(door))


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
    return GitState(
        commit=door.text("commit"), dirty=door.one("dirty", lambda item: _expect(item, bool, "true or false"))
    )
