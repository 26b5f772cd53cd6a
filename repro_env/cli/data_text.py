"""What `repro data` does and prints."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from repro_env.cli.colour import styled
from repro_env.cli.diff_command import two_locks
from repro_env.cli.progress import reporter
from repro_env.cli.project import LOCK_FILE, Workspace, open_workspace, read_lock, store_root
from repro_env.data import manifest
from repro_env.data.supply import DataSupply, Pulled
from repro_env.data.tree import listed
from repro_env.data.verify import DataFinding, compare, demand, incomparable
from repro_env.edges.report import Reporter
from repro_env.errors import LockError, StoreError, VerificationError
from repro_env.frozen import dataclass
from repro_env.lock.model import Lock, LockedData
from repro_env.values import format_size

_MARKS = {"ok": "green", "missing": "yellow", "differs": "red", "unknown": "yellow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DataStatus:
    """One input: `state` is `ok`, `missing`, `differs` or `unknown`, `lines` say in what, `pin` what pins it."""

    name: str
    path: str
    source: str
    pin: str
    state: str
    files: int
    size: int
    lines: tuple[str, ...] = ()


class _Data:
    """The data of a project that is locked, those inputs that were named or all."""

    def __init__(self, names: Sequence[str], report: Reporter) -> None:
        self.workspace = open_workspace()
        self.workspace.check_data(names)
        self.locked = _locked(self.workspace, names)
        self.inputs = DataSupply(self.workspace.root, store_root(), report, os.environ)
        self._manifests = self.workspace.root / ".repro" / "manifests"

    def status(self, locked: LockedData) -> DataStatus:
        """Compare one input with its pin, reading no more than has to be."""
        if not os.path.lexists(self.workspace.root / locked.path):
            return _status(locked, "missing", (_how_to_have(locked),))
        try:
            finding = self._finding(locked, trust=True)
        except (StoreError, VerificationError) as error:
            return _status(locked, "unknown", tuple(filter(None, [error.what, *error.why.splitlines(), error.hint])))
        if finding.ok:
            return _status(locked, "ok", ())
        lines = finding.differences or (f"needed {finding.expected}", f"found  {finding.found}")
        return _status(locked, "differs", lines)

    def verify(self, locked: LockedData) -> DataFinding:
        """Compare one input with its pin, reading all of it."""
        if not os.path.lexists(self.workspace.root / locked.path):
            return incomparable(locked, "nothing")
        try:
            return self._finding(locked, trust=False)
        except VerificationError as error:
            return incomparable(locked, error.what, error.why.splitlines())

    def _finding(self, locked: LockedData, *, trust: bool) -> DataFinding:
        pinned = self.inputs.by_content(locked)
        measured = self.inputs.measure(pinned, trust=trust)
        return compare(pinned, measured, manifests=self._manifests, root=self.workspace.root)


def show_status(names: Sequence[str], *, as_json: bool) -> None:
    """Print what differs from the lock."""
    with reporter(quiet=as_json) as report:
        data = _Data(names, report)
        found = [data.status(locked) for locked in data.locked]
    if as_json:
        click.echo(json.dumps({"data": [asdict(one) for one in found]}, indent=2))
        return
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        click.echo("\n".join(_status_lines(one, width)))
    if not found:
        click.echo("the lock has no data")


def pull_data(names: Sequence[str], *, force: bool, as_json: bool) -> None:
    """Have the data in its place and say what was done."""
    done: list[Pulled] = []
    with reporter(quiet=as_json) as report:
        data = _Data(names, report)
        pulls = [locked for locked in data.locked if names or not _is_here(locked)]
        for locked in pulls:
            pulled = data.inputs.pull(locked, force=force)
            done.append(pulled)
            if not as_json:
                report.note(_pulled_line(pulled))
    if as_json:
        click.echo(json.dumps({"data": [asdict(one) for one in done]}, indent=2))
    elif not pulls:
        click.echo("all data of this project stands in it: there is nothing to pull")


def verify_data(names: Sequence[str], *, as_json: bool) -> None:
    """Read all data and print whether it is what the lock pins. Errors: `VerificationError` if it is not."""
    with reporter(quiet=as_json) as report:
        data = _Data(names, report)
        findings = [data.verify(locked) for locked in data.locked]
    if as_json:
        click.echo(json.dumps({"data": [{**asdict(one), "pin": one.pin} for one in findings]}, indent=2))
    demand(findings)
    if not as_json:
        for finding in findings:
            click.echo(str(finding))


def show_diff(sides: Sequence[str], *, as_json: bool) -> None:
    """Print what changed between the data of two locks."""
    before, after = two_locks(tuple(sides))
    with reporter(quiet=True) as report:
        inputs = DataSupply(open_workspace().root, store_root(), report, os.environ)
        changes = {name: _changes(before, after, name, inputs) for name in sorted({*before.data, *after.data})}
    changes = {name: lines for name, lines in changes.items() if lines}
    if as_json:
        click.echo(json.dumps({"differs": bool(changes), "data": changes}, indent=2))
        return
    for name, lines in changes.items():
        click.echo(name)
        click.echo("\n".join(f"  {line}" for line in listed(lines).splitlines()))
    if not changes:
        click.echo("the data is the same")


def _locked(workspace: Workspace, names: Sequence[str]) -> list[LockedData]:
    lock = read_lock(workspace)
    if lock is None:
        raise LockError(f"there is no {LOCK_FILE}", f"in {workspace.root}", "run `repro lock`")
    new = [name for name in names if name not in lock.data]
    if new:
        raise LockError(f"{LOCK_FILE} does not pin data {new[0]}", "", "run `repro lock`")
    return [data for name, data in sorted(lock.data.items()) if not names or name in names]


def _status(locked: LockedData, state: str, lines: tuple[str, ...]) -> DataStatus:
    return DataStatus(
        name=locked.name,
        path=locked.path,
        source=locked.source,
        pin=locked.pin,
        state=state,
        files=locked.files,
        size=locked.size,
        lines=lines,
    )


def _is_here(locked: LockedData) -> bool:
    """Whether it stands on this machine and has no other place to be had from."""
    return locked.source in ("path", "file")


def _how_to_have(locked: LockedData) -> str:
    if _is_here(locked):
        return "restore it: it has no address to be pulled from"
    return f"run `repro data pull {locked.name}`, or let `repro exec` pull it"


def _status_lines(one: DataStatus, width: int) -> Iterator[str]:
    weak = f", pinned by its {one.pin}, which is no hash of its content" if one.pin != "sha256" else ""
    what = f"{one.path} ({_amount(one.files, one.size)}{weak})"
    yield f"{styled(f'{one.state:7}', fg=_MARKS[one.state])}  {one.name:<{width}}  {what}"
    yield from (f"  {line}" for line in listed(one.lines).splitlines())


def _pulled_line(pulled: Pulled) -> str:
    if not pulled.placed:
        return f"data {pulled.name} is in its place: {pulled.path}"
    return f"data {pulled.name}: {_amount(pulled.files, pulled.size)}, at {pulled.path}"


def _changes(before: Lock, after: Lock, name: str, inputs: DataSupply) -> list[str]:
    """Return what changed in one input."""
    old, new = before.data.get(name), after.data.get(name)
    if old is None or new is None:
        return ["added" if old is None else "removed"]
    lines = [
        f"{key}: {getattr(old, key) or 'none'} -> {getattr(new, key) or 'none'}"
        for key in ("path", "source", "uri", "revision", "query", "kind", "pin", "include", "exclude")
        if getattr(old, key) != getattr(new, key)
    ]
    if old.digest == new.digest:
        return lines
    lines.append(f"content: {_words(old)} -> {_words(new)}")
    if rows := inputs.row_changes(old, new):
        return [*lines, rows]
    files = (inputs.manifest(old), inputs.manifest(new))
    if files[0] is None or files[1] is None:
        return [*lines, "which files changed is not known here, where one of the manifests is missing"]
    return [*lines, *manifest.differences(files[0], files[1])]


def _words(data: LockedData) -> str:
    return f"{data.digest.short} ({_amount(data.files, data.size)})"


def _amount(files: int, size: int) -> str:
    return f"{'1 file' if files == 1 else f'{files:,} files'}, {format_size(size)}"
