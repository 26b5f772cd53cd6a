"""What every format needs: names, ids and times that two exports of one run agree on."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from repro_env.record.model import RunRecord
from repro_env.record.statement import BUILDER

Json = dict[str, Any]

_HALVES = re.compile("[\ud800-\udfff]")

PRODUCER = BUILDER
"""Who writes these documents, as formats want to be told by an address: as records name it."""


def json_text(document: Any, indent: int | None = None) -> str:
    r"""Return a document as JSON that every reader takes.

    A byte of an argument that is no UTF-8 is half of a character to Python; it is written as people are shown it,
    `\udcff`, since databases behind trackers refuse such halves.
    """
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    return _HALVES.sub(lambda match: "\\" + ascii(match[0])[1:-1], text) + "\n"


def run_uuid(project: str, run: str) -> str:
    """Return the UUID of a run, for formats whose ids are UUIDs: the same at every export, RFC 9562 version 5."""
    name = f"{PRODUCER}#{project}/{run}".encode(errors="backslashreplace").decode()  # see `json_text`
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def time_text(time: datetime) -> str:
    """Return a time as RFC 3339 in UTC, to the millisecond."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def title(record: RunRecord) -> str:
    """Return what a person would call the run."""
    return f"{record.project}: {record.step}, run {record.id}"


def said(values: Mapping[str, Any]) -> Json:
    """Return the values that say something: not None, nor empty."""
    return {key: value for key, value in values.items() if value not in (None, "", (), [], {})}


def measures(record: RunRecord) -> dict[str, float]:
    """Return what the run used, by name; sizes in bytes, times in seconds, a share from 0 to 1."""
    used = record.resources
    if used is None:
        return {}
    found = {
        "wall_seconds": used.wall_seconds,
        "cpu_seconds": used.cpu_seconds,
        "peak_memory_bytes": used.peak_memory,
        "gpu_memory_bytes": used.gpu_memory,
        "gpu_utilisation": used.gpu_utilisation,
    }
    return {name: float(value) for name, value in found.items() if value is not None}
