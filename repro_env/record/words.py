"""Parts of a run record in people's words, the same wherever they are read."""

from __future__ import annotations

import re
import signal
from datetime import datetime, tzinfo

from repro_env.record.model import RecordedInput, RecordedOutput, RunRecord
from repro_env.values import format_size

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_PRECISE = 10  # seconds below which a tenth tells something

# Controls, line separators, what turns the direction of writing, and halves of characters.
_UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def seconds_of(record: RunRecord) -> float | None:
    """Return how long a run took, in seconds; None while that is not known."""
    if record.resources and record.resources.wall_seconds is not None:
        return record.resources.wall_seconds
    return (record.finished - record.started).total_seconds() if record.finished else None


def duration(seconds: float) -> str:
    """Return a length of time: `0.04 s`, `4.5 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `1 d 4 h`."""
    if seconds < _PRECISE:
        return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"
    whole = round(seconds)
    for size, unit, smaller, name in ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "min"), (_MINUTE, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{whole} s"


def moment(time: datetime, zone: tzinfo | None) -> str:
    """Return a time of day in a zone, None for the machine's own: `2026-11-23 04:33:54 UTC`."""
    try:
        local = time.astimezone(zone)
    except OverflowError:  # of the first day that there is, or the last
        local = time
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()}"


def ago(time: datetime, now: datetime) -> str:
    """Return how long a time is past: `12 s ago`, `3 min ago`, `5 h ago`, `2 d ago`."""
    seconds = (now - time).total_seconds()
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"


def ended(record: RunRecord) -> str:
    """Return how it ended: `succeeded`, `running`, `interrupted`, `failed by SIGKILL`, `failed with exit status 3`."""
    if record.status == "started":
        return "running"
    if record.status != "failed":
        return record.status
    if record.signal:
        return f"failed by {_signal_name(record.signal)}"
    return f"failed with exit status {record.exit_status}" if record.exit_status is not None else "failed"


def content(one: RecordedInput | RecordedOutput) -> str:
    """Return what an input or output is: `file, 5 B`, or `12 files, 3.0 MiB`."""
    files = "1 file" if one.files == 1 else f"{one.files:,} files"
    return f"{'file' if one.kind == 'file' else files}, {format_size(one.size)}"


def marks(record: RunRecord) -> tuple[str, ...]:
    """Return what keeps a run from being beyond doubt: code not committed, checks allowed, inputs that changed."""
    found = ["code not committed"] if record.git and record.git.dirty else []
    found += [f"allowed: {', '.join(record.waived)}"] if record.waived else []
    found += [f"{one.name} changed while it ran" for one in record.inputs if one.changed]
    found += [f"{one.name} pinned by {one.pin} only" for one in record.inputs if one.pin != "sha256"]
    return tuple(found)


def visible(text: str) -> str:
    r"""Return a text in one line that changes nothing around it: what cannot be shown is written `\x1b`, `\u202e`."""
    return _UNSHOWABLE.sub(lambda match: ascii(match[0])[1:-1], text)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
