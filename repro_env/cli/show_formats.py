"""Every way in which `repro show` shows a run, as the whole text of it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from repro_env.cli.history import paint
from repro_env.cli.project import LOCK_FILE
from repro_env.edges.files import os_errors
from repro_env.frozen import dataclass
from repro_env.lock.model import Lock
from repro_env.lock.parse import parse_lock
from repro_env.record.exports.common import json_text
from repro_env.record.lineage import Lineage
from repro_env.record.runs import Run, document
from repro_env.record.text import run_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A run, and where its inputs come from."""

    run: Run
    lineage: Lineage


def _text(shown: Shown) -> str:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return run_text(shown.lineage, None, paint, width)


def _statement(shown: Shown) -> str:
    return document(shown.run.record).decode()


def _html(shown: Shown) -> str:
    from repro_env.cli.run_page import run_page  # noqa: PLC0415 - only for a page

    return run_page(shown.run, shown.lineage)


def _openlineage(shown: Shown) -> str:
    from repro_env.record.exports.openlineage import to_events  # noqa: PLC0415 - only what is asked for is imported

    return "".join(json_text(event) for event in to_events(shown.run.record))


def _ro_crate(shown: Shown) -> str:
    from repro_env.record.exports.ro_crate import to_ro_crate  # noqa: PLC0415 - same

    return json_text(to_ro_crate(shown.run.record), indent=2)


def _cyclonedx(shown: Shown) -> str:
    from repro_env.record.exports.cyclonedx import to_cyclonedx  # noqa: PLC0415 - same

    return json_text(to_cyclonedx(shown.run.record, _lock(shown.run.directory)), indent=2)


def _mlflow(shown: Shown) -> str:
    from repro_env.record.exports.mlflow import to_mlflow  # noqa: PLC0415 - same

    return json_text(to_mlflow(shown.run.record), indent=2)


def _wandb(shown: Shown) -> str:
    from repro_env.record.exports.wandb import to_wandb  # noqa: PLC0415 - same

    return json_text(to_wandb(shown.run.record), indent=2)


FORMATS: Mapping[str, Callable[[Shown], str]] = {
    "text": _text,
    "slsa": _statement,
    "html": _html,
    "openlineage": _openlineage,
    "ro-crate": _ro_crate,
    "cyclonedx": _cyclonedx,
    "mlflow": _mlflow,
    "wandb": _wandb,
}


def _lock(directory: Path) -> Lock | None:
    """Return the lock that a run was made with, if its copy is there. Errors: `LockError` where it is damaged."""
    path = directory / LOCK_FILE
    if not path.exists():
        return None
    with os_errors(f"read {path}"):
        data = path.read_bytes()
    return parse_lock(data.decode(errors="replace"), file=f"{LOCK_FILE} of run {directory.name}")
