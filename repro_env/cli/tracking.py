"""Runs told, as they start and end, to the tools that `[export]` names, and signed where there is a key for that."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro_env.config.exports import Exports, MlflowExport, OpenLineageExport, WandbExport
from repro_env.errors import ReproError
from repro_env.record.model import RunRecord
from repro_env.record.runs import RECORD, read_record

if TYPE_CHECKING:
    from repro_env.record.sending.base import Transport
    from repro_env.record.sending.outbox import Outbox

OUTBOX = "outbox"
"""The directory, in `.repro`, of what is still to be sent."""

SIGNING_KEY = "REPRO_SIGNING_KEY"
"""The variable that names the file of a private key, with which every record is signed."""

SIGNING_PASSWORD = "REPRO_SIGNING_KEY_PASSWORD"  # noqa: S105 - the name of a variable

_CONNECT_SECONDS, _READ_SECONDS = 2.0, 3.0  # a run does not wait long for a tool

_MLFLOW_VARIABLES = {
    "token": "MLFLOW_TRACKING_TOKEN",
    "user": "MLFLOW_TRACKING_USERNAME",
    "password": "MLFLOW_TRACKING_PASSWORD",
}

Json = dict[str, Any]


class Tracker:
    """Tells a project's tools of its runs. Nothing that goes wrong here fails a run."""

    def __init__(self, exports: Exports, root: Path, warn: Callable[[str], object]) -> None:
        """`root` is the project's directory."""
        self._exports = exports
        self._root = root
        self._warn = warn

    def started(self, record: RunRecord) -> None:
        """Tell those who want to know that a run starts."""
        if self._exports.openlineage:
            self._tell(record, _lineage(record)[:1], deliver=True)

    def ended(self, record: RunRecord, *, deliver: bool = True) -> None:
        """Tell everyone how a run ended; without `deliver` that is kept for the next time, and costs no time now."""
        self._tell(record, list(_documents(record, self._exports)), deliver=deliver)

    def deliver(self, *, again: bool = False) -> Mapping[str, ReproError]:
        """Send what is waiting, and return by tool why something could not be sent. Errors: `StoreError`."""
        return self._outbox.deliver(again=again)

    def waiting(self) -> int:
        """Return how many documents are waiting. Errors: `StoreError`."""
        return len(self._outbox.waiting())

    @functools.cached_property
    def _outbox(self) -> Outbox:
        from repro_env.record.sending.outbox import Outbox  # noqa: PLC0415 - only for those who export

        return Outbox(self._root / ".repro" / OUTBOX, _transports(self._exports, self._root), now=time.time)

    def _tell(self, record: RunRecord, documents: list[tuple[str, Json]], *, deliver: bool) -> None:
        try:
            for kind, document in documents:
                stage = "0-start" if document.get("eventType") == "START" else "1-end"
                self._outbox.put(kind, f"{record.id}-{stage}", document)
            failed = self._outbox.deliver() if deliver else {}
        except ReproError as error:
            self._warn(f"run {record.id} could not be told to others: {error.what}")
            return
        for kind, failure in failed.items():
            told = ": ".join(filter(None, (failure.what, failure.why.partition("\n")[0])))
            kept = f"and that is kept in .repro/{OUTBOX}" if _is_refused(failure) else "and will be at a later run"
            self._warn(f"{kind} was not told of run {record.id}, {kept}: {told}")


def _is_refused(error: ReproError) -> bool:
    from repro_env.record.sending.base import RefusedError  # noqa: PLC0415 - only where something was not sent

    return isinstance(error, RefusedError)


@contextlib.contextmanager
def tracked(directory: Path, exports: Exports, root: Path, warn: Callable[[str], object]) -> Iterator[Tracker]:
    """Sign the record that a block leaves in a run's directory, and tell others how the run ended.

    A block that was interrupted is told of at the next run: who pressed Ctrl-C waits for nothing. One that failed
    before there was a record leaves nothing to tell.
    """
    tracker = Tracker(exports, root, warn)
    interrupted = False
    try:
        yield tracker
    except KeyboardInterrupt:
        interrupted = True
        raise
    finally:
        if (directory / RECORD).exists():
            if os.environ.get(SIGNING_KEY):
                sign(directory, warn)
            if exports != Exports():
                tracker.ended(read_record(directory), deliver=not interrupted)


def sign(directory: Path, warn: Callable[[str], object]) -> None:
    """Sign the record in a run's directory with the key that the user named; a failure is told, and fails no run."""
    from repro_env.record.signing import sign_record  # noqa: PLC0415 - only for those who sign

    try:
        sign_record(directory, Path(os.environ[SIGNING_KEY]), os.environ.get(SIGNING_PASSWORD, ""))
    except ReproError as error:
        warn(f"the record is not signed: {error}")


def _lineage(record: RunRecord) -> list[tuple[str, Json]]:
    from repro_env.record.exports.openlineage import to_events  # noqa: PLC0415 - only for those who export

    return [("openlineage", event) for event in to_events(record)]


def _documents(record: RunRecord, exports: Exports) -> Iterator[tuple[str, Json]]:
    """Yield what each tool is told at a run's end."""
    if exports.openlineage:
        yield from _lineage(record)[1:]
    if exports.mlflow:
        from repro_env.record.exports.mlflow import to_mlflow  # noqa: PLC0415 - same

        yield "mlflow", to_mlflow(record)
    if exports.wandb:
        from repro_env.record.exports.wandb import to_wandb  # noqa: PLC0415 - same

        yield "wandb", to_wandb(record)


def _transports(exports: Exports, root: Path) -> Mapping[str, Callable[[], Transport]]:
    """Return what makes each tool's transport, which is imported only when something is to be sent."""
    made: dict[str, Callable[[], Transport]] = {}
    openlineage, mlflow, wandb = exports.openlineage, exports.mlflow, exports.wandb
    if openlineage:
        made["openlineage"] = lambda: _openlineage(openlineage, root)
    if mlflow:
        made["mlflow"] = lambda: _mlflow(mlflow)
    if wandb:
        made["wandb"] = lambda: _wandb(wandb, root)
    return made


def _openlineage(export: OpenLineageExport, root: Path) -> Transport:
    from repro_env.record.sending.openlineage import FileLineage, HttpLineage  # noqa: PLC0415 - same

    if export.file:
        return FileLineage(root / export.file)
    return HttpLineage(export.url, _client(export.url, {"token": "OPENLINEAGE_API_KEY"}))


def _mlflow(export: MlflowExport) -> Transport:
    from repro_env.record.sending.mlflow import MlflowServer  # noqa: PLC0415 - same

    return MlflowServer(export.tracking_uri, export.experiment, _client(export.tracking_uri, _MLFLOW_VARIABLES))


def _wandb(export: WandbExport, root: Path) -> Transport:
    from repro_env.record.sending.wandb import WandbDirectory  # noqa: PLC0415 - same

    return WandbDirectory(root / export.directory, export.project)


def _client(address: str, variables: Mapping[str, str]) -> Any:
    """Return a client that tells this address, and no other host, the credentials in these variables."""
    from repro_env.edges.http_client import HttpClient, Limits  # noqa: PLC0415 - urllib3
    from repro_env.record.sending.base import Bearer  # noqa: PLC0415 - same

    found = {name: os.environ.get(variable, "") for name, variable in variables.items()}
    authority = Bearer(address, **found) if any(found.values()) else None
    limits = Limits(connect=_CONNECT_SECONDS, read=_READ_SECONDS, attempts=1)
    return HttpClient(limits=limits, authority=authority)
