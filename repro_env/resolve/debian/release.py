"""A suite's signed list of indexes: `InRelease`, verified in this process against Debian's own certificates.

Source: the Debian wiki's repository format, section "Release files" (<https://wiki.debian.org/DebianRepository/Format>).
"""

from __future__ import annotations

import email.utils
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from typing import Any

from repro_env.errors import IntegrityError
from repro_env.frozen import dataclass
from repro_env.image.debian.control import parse_stanza
from repro_env.values import Digest

_CLOCK_TOLERANCE = timedelta(days=1)
_DATE_FORMAT = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFile:
    """What a release says of one of its files; `size` in bytes."""

    sha256: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The signed content of an `InRelease` file, whose own digest is `digest`. Times are in UTC."""

    digest: Digest
    codename: str
    date: datetime
    valid_until: datetime | None
    by_hash: bool
    files: Mapping[str, IndexFile]

    @property
    def snapshot(self) -> str:
        """The release's date as the snapshot archive and the lock write it, `20260711T101637Z`."""
        return self.date.strftime(_DATE_FORMAT)


def parse_snapshot_date(text: str) -> datetime:
    """Read `YYYYMMDDTHHMMSSZ`. Errors: `ValueError`."""
    return datetime.strptime(text, _DATE_FORMAT).replace(tzinfo=UTC)


def read_release(data: bytes, *, place: str, codename: str, certificates: Sequence[Any] | None = None) -> Release:
    """Verify an `InRelease` file and return what it says. What is not signed in it is never looked at.

    `place` is its URL, for messages; `codename` is what it must call itself, so that a mirror cannot hand out one
    suite for another. `certificates` are the trusted ones; None means those of Debian. Errors: `IntegrityError`.
    """
    signed = _signed_text(data, place, debian_certificates() if certificates is None else certificates)
    try:
        fields = parse_stanza(signed)
        release = Release(
            digest=Digest.of(data),
            codename=fields.get("codename", ""),
            date=_date(fields["date"]),
            valid_until=_date(fields["valid-until"]) if "valid-until" in fields else None,
            by_hash=fields.get("acquire-by-hash", "") == "yes",
            files=dict(_files(fields["sha256"])),
        )
    except (ValueError, KeyError) as error:
        raise IntegrityError(f"{place} cannot be read", f"{type(error).__name__}: {error}") from error
    if release.codename != codename:
        raise IntegrityError(
            f"{place} is of the suite {release.codename or 'without a name'}, not {codename}",
            hint=f'name the suite by its code name: debian = "{release.codename.partition("-")[0]}"'
            if release.codename
            else "",
        )
    return release


def check_current(release: Release, *, place: str, now: datetime) -> None:
    """Check that a mirror hands out a release of now and not an old one. Errors: `IntegrityError`."""
    if release.date > now + _CLOCK_TOLERANCE:
        raise IntegrityError(
            f"{place} is dated in the future, {release.date:%Y-%m-%d}",
            f"this machine's clock says {now:%Y-%m-%d}",
            "set the clock",
        )
    if release.valid_until is not None and release.valid_until < now:
        raise IntegrityError(
            f"{place} was valid until {release.valid_until:%Y-%m-%d %H:%M} UTC",
            "the mirror does not follow Debian any more, or this machine's clock is wrong",
            "use another mirror, or set the clock",
        )


@cache
def debian_certificates() -> tuple[Any, ...]:
    """Return the certificates that sign Debian's archives; `keys/README.md` says where they are from."""
    from pysequoia import Cert  # noqa: PLC0415 - needed only when something is resolved

    folder = resources.files("repro_env.resolve.debian").joinpath("keys")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".gpg"))
    return tuple(cert for name in names for cert in Cert.split_bytes(folder.joinpath(name).read_bytes()))


def _signed_text(data: bytes, place: str, certificates: Sequence[Any]) -> str:
    from pysequoia import verify  # noqa: PLC0415 - same

    try:
        verified = verify(bytes=data, store=lambda _identifiers: list(certificates))
    except RuntimeError as error:  # the one class that the binding raises for every failure
        why = str(error).partition("\n")[0]
        raise IntegrityError(
            f"{place} is not signed by Debian",
            why,
            "use another mirror; if Debian has changed its signing key, update this program",
        ) from error
    return (verified.bytes or b"").decode(errors="replace")


def _date(text: str) -> datetime:
    moment = email.utils.parsedate_to_datetime(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _files(field: str) -> Iterator[tuple[str, IndexFile]]:
    for line in field.splitlines():
        if line.strip():
            sha256, size, path = line.split()
            yield path, IndexFile(sha256=Digest(sha256), size=int(size))
