"""A run in one file, with those upstream of it: what repeats them on another machine, beside the repository.

    run                          the id of the run that was asked for
    runs/ID/record.json          each record, with its signatures if it has any
    runs/ID/repro.lock           its lock
    runs/ID/code.diff            what was not committed when it started
    runs/ID/manifests/...        which files its outputs were

A tar with fixed times and owners, so that the same runs give the same bytes. No data, output or log is in it.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from repro_env.edges.files import os_errors, write_atomically
from repro_env.errors import IntegrityError, UsageError
from repro_env.record.runs import Run, read_record

_HEAD = "run"
_FILES = ("record.json", "record.json.dsse", "record.json.sigstore.json", "repro.lock", "code.diff")
_MEMBER = re.compile(
    r"runs/[A-Za-z0-9_-]+/(record\.json(\.dsse|\.sigstore\.json)?|repro\.lock|code\.diff|manifests/[A-Za-z0-9_-]+\.manifest)\Z"
)


def write_bundle(run: Run, upstream: Iterable[Run], target: Path) -> None:
    """Write a run, and those whose outputs it came from, to the file `target`. Errors: `StoreError`."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, _HEAD, f"{run.record.id}\n".encode())
        runs = {one.record.id: one for one in (run, *upstream)}
        for _, one in sorted(runs.items()):
            for name, path in _kept(one):
                with os_errors(f"read {path}"):
                    _add(archive, f"runs/{one.record.id}/{name}", path.read_bytes())
    write_atomically(target, written.getvalue())


def open_bundle(file: Path, directory: Path) -> tuple[Run, ...]:
    """Unpack a bundle into a directory, and return its runs, the one that it is about first.

    Errors: `IntegrityError` for what is no bundle, `StoreError`.
    """
    try:
        with os_errors(f"read {file}"), tarfile.open(file, mode="r:") as archive:
            head = _unpack(archive, directory)
    except (tarfile.TarError, ValueError) as error:
        raise IntegrityError(f"{file} is no bundle of a run", str(error)) from error
    found = {}
    for place in sorted((directory / "runs").glob("*")):
        try:
            with os_errors(f"read {place}"):
                found[place.name] = Run(directory=place, record=read_record(place))
        except ValueError as error:
            raise IntegrityError(f"{file} holds a damaged record", f"{place.name}: {error}") from error
    if head not in found:
        raise IntegrityError(f"{file} is no bundle of a run", f"it has no record of {head or 'any'}")
    return (found.pop(head), *found.values())


def is_bundle(place: str) -> bool:
    """Whether a text names a bundle rather than a record.

    Errors: `UsageError` for a bundle that is not there, `StoreError`.
    """
    path = Path(place)
    if path.suffix == ".tar" and not path.is_file():
        raise UsageError(f"there is no bundle at {place}")
    with os_errors(f"read {path}"):
        return path.is_file() and tarfile.is_tarfile(path)


def _kept(run: Run) -> Iterator[tuple[str, Path]]:
    """Yield the files of a run that go into a bundle, by name."""
    for name in _FILES:
        path = run.directory / name
        if path.is_file():
            yield name, path
    for path in sorted((run.directory / "manifests").glob("*.manifest")):
        yield f"manifests/{path.name}", path


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _unpack(archive: tarfile.TarFile, directory: Path) -> str:
    """Unpack members whose names are a bundle's, and return the id of the run that it is about."""
    head = ""
    for member in archive:
        stream = archive.extractfile(member) if member.isreg() else None
        if stream is None:
            raise ValueError(f"{member.name!r} is no file")
        if member.name == _HEAD:
            head = stream.read(256).decode("ascii", "replace").strip()
        elif _MEMBER.match(member.name):
            write_atomically(directory / member.name, stream.read())
        else:
            raise ValueError(f"{member.name!r} does not belong into one")
    return head
