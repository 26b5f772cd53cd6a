"""Choosing runs from a history: by step, status, time, and what they took or made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from repro_env.frozen import dataclass
from repro_env.record.model import RunRecord
from repro_env.values import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which runs are asked for; what is empty or None is not asked.

    `since` and `until` are the first moment a run may have started at and the first one it may not. `digest` is the
    beginning of a SHA-256 in hexadecimal, of anything that the run used or made.
    """

    step: str = ""
    status: str = ""
    since: datetime | None = None
    until: datetime | None = None
    digest: str = ""

    def __contains__(self, record: RunRecord) -> bool:
        return (
            (not self.step or record.step == self.step)
            and (not self.status or record.status == self.status)
            and (self.since is None or record.started >= self.since)
            and (self.until is None or record.started < self.until)
            and (not self.digest or any(one.hex.startswith(self.digest) for one in digests(record)))
        )


def select(records: Iterable[RunRecord], selection: Selection) -> tuple[RunRecord, ...]:
    """Return the records that are asked for, in their order."""
    return tuple(record for record in records if record in selection)


def digests(record: RunRecord) -> Iterator[Digest]:
    """Yield the digest of everything that a run used or made: inputs, outputs, images, lock, definition, diff, log."""
    yield from (used.digest for used in record.inputs)
    yield from (made.digest for made in record.outputs)
    alone = (record.image, record.environment_image, record.lock, record.definition)
    beside = (record.git.diff if record.git else None, record.log.digest if record.log else None)
    yield from (one for one in (*alone, *beside) if one is not None)
