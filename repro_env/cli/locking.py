"""`repro lock` itself: measure the data, resolve what is stale, write the lock, say what changed."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import click

from repro_env.cli.cuda_conflicts import warn_of_cuda
from repro_env.cli.declared_secrets import warn_of_secrets
from repro_env.cli.determinism import warn_overridden
from repro_env.cli.fetching import Fetching
from repro_env.cli.progress import reporter
from repro_env.cli.project import LOCK_FILE, Workspace, open_workspace, read_lock, store_root
from repro_env.cli.settings import mirrors, torch_mirror
from repro_env.config.model import Base, ImageBase
from repro_env.data.supply import DataSupply
from repro_env.edges.files import write_atomically
from repro_env.edges.report import Reporter
from repro_env.frozen import dataclass
from repro_env.image.store import Store
from repro_env.lock.diff import Change, diff, diff_lines
from repro_env.lock.drift import stale_local, stale_requests
from repro_env.lock.dump import dump_lock
from repro_env.lock.model import DebianRoot, Lock, LockedBase, LockedData
from repro_env.resolve.debian import resolve_base
from repro_env.resolve.interpreter import Interpreters
from repro_env.resolve.project import Resolution, Upgrade
from repro_env.resolve.python.request import Packages, StepRequest
from repro_env.resolve.python.resolver import Resolver, resolve_steps
from repro_env.values import Platform


@dataclass(frozen=True, slots=True)
class Written:
    """A lock as it was and as it is; `changed` says whether the file had to be written."""

    before: Lock | None
    lock: Lock
    changes: Sequence[Change]
    changed: bool


def lock_project(*, upgrade: bool, packages: Sequence[str], data: Sequence[str], as_json: bool) -> None:
    """Bring repro.lock up to date and print what changed in it."""
    workspace = open_workspace()
    workspace.check_data(data)
    with reporter(quiet=as_json) as report:
        wanted = Upgrade.of(everything=upgrade, packages=packages, data=data)
        written = write_lock(workspace, wanted, Store(store_root()), report)
        for line in (*_unknown(wanted, written.lock), *_weak(written)):
            report.warn(line)
        warn_overridden(written.lock.steps.values(), report)
        warn_of_cuda(written.lock.steps.values(), report)
        warn_of_secrets(written.lock.steps.values(), report)
    click.echo(_document(written) if as_json else _summary(written))


def _unknown(upgrade: Upgrade, lock: Lock) -> Iterator[str]:
    """Say which packages that were to be upgraded no step has."""
    environments = [one for step in lock.steps.values() for one in step.environments.values()]
    known = frozenset().union(*(one.names for one in environments))
    for name in sorted(upgrade.packages - known):
        near = difflib.get_close_matches(name, sorted(known), n=1)
        yield f"no step has a package {name} to upgrade" + (f"; did you mean {near[0]}?" if near else "")


def _weak(written: Written) -> Iterator[str]:
    """Say which data has a new pin that is no hash of its content."""
    before = written.before.data if written.before else {}
    for name, data in written.lock.data.items():
        if data.is_weak and (name not in before or before[name].digest != data.digest):
            yield f"data {name} is pinned by its {data.pin}, which is no hash of its content"


def write_lock(workspace: Workspace, upgrade: Upgrade, store: Store, report: Reporter) -> Written:
    """Bring repro.lock up to date, touching the file only if its content changes."""
    before = read_lock(workspace)
    lock = resolved(workspace, before, upgrade, store, report)
    text = dump_lock(lock).encode()
    path = workspace.lock_path
    changed = not path.exists() or path.read_bytes() != text
    if changed:
        write_atomically(path, text)
    return Written(before, lock, diff(before, lock) if before else (), changed)


def resolved(workspace: Workspace, before: Lock | None, upgrade: Upgrade, store: Store, report: Reporter) -> Lock:
    """Return the lock of the project as it stands, with every pin of `before` that may stay."""
    http = Fetching(workspace).http
    now = datetime.now(UTC)

    def base_pins(base: Base, previous: LockedBase | None) -> LockedBase:
        platforms = workspace.project.platforms
        if isinstance(base, ImageBase):
            from repro_env.cli.registries import image_resolver  # noqa: PLC0415 - most projects have no such base

            resolver = image_resolver(store, report)
            return resolver.resolve(base, platforms, previous=previous, upgrade=upgrade.everything)
        steps = workspace.project.steps.values()
        return resolve_base(
            base,
            platforms,
            pythons={step.python.version for step in steps if step.base == base.name},
            http=http,
            store=store,
            report=report,
            now=now,
            mirrors=mirrors(),
            previous=previous,
            upgrade=upgrade.everything,
        )

    def python(requests: Sequence[StepRequest]) -> Mapping[tuple[str, Platform], Packages]:
        resolver = Resolver(
            project=workspace.root,
            store=store,
            http=http,
            report=report,
            upgrade=upgrade.everything,
            upgrade_packages=upgrade.packages,
            torch_mirror=torch_mirror(),
        )
        return resolve_steps(requests, resolver, known=before.wheels if before else ())

    return Resolution(
        project=workspace.project,
        digests=workspace.digests,
        sources=workspace.sources,
        data=pinned_data(workspace, before, upgrade, store, report),
        resolve_base=base_pins,
        resolve_python=python,
        resolve_interpreter=Interpreters(project=workspace.root, environ=os.environ, store=store, http=http).choose,
        previous=before,
        stale_local=stale_local(before, workspace.local_digests(before)) if before else frozenset(),
        upgrade=upgrade,
    ).lock()


def pinned_data(
    workspace: Workspace, before: Lock | None, upgrade: Upgrade, store: Store, report: Reporter
) -> Mapping[str, LockedData]:
    """Return the pins of every data input; those from elsewhere stay if nothing asks for new ones."""
    inputs = DataSupply(workspace.root, store.root, report, os.environ)
    stale = stale_requests(before, workspace.digests) if before else frozenset()
    found = {}
    for name, data in workspace.project.data.items():
        previous = before.data.get(name) if before else None
        keep = not (upgrade.everything or name in upgrade.data or f"data.{name}" in stale)
        found[name] = inputs.lock(data, previous, keep=keep)
    return found


def _summary(written: Written) -> str:
    if written.before is None:
        return f"wrote {LOCK_FILE}: {_counts(written.lock)}"
    if not written.changed:
        return f"{LOCK_FILE} is up to date"
    if not written.changes:
        return f"wrote {LOCK_FILE}: what it pins is as before"
    return "\n".join([f"wrote {LOCK_FILE}:", *(f"  {line}" for line in diff_lines(written.changes))])


def _counts(lock: Lock) -> str:
    roots = [root for base in lock.bases.values() for root in base.roots.values()]
    debian = {package for root in roots if isinstance(root, DebianRoot) for package in root.packages}
    images = [base for base in lock.bases.values() if base.image]
    counts = (
        (len(lock.steps), "step", "steps"),
        (len(lock.interpreters), "interpreter", "interpreters"),
        (len(lock.wheels), "Python package", "Python packages"),
        (len(debian), "Debian package", "Debian packages"),
        (len(images), "base image", "base images"),
        (len(lock.data), "data input", "data inputs"),
    )
    return ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts if count)


def _document(written: Written) -> str:
    lock = written.lock
    document = {
        "lock": LOCK_FILE,
        "written": written.changed,
        "steps": {name: len(next(iter(step.environments.values())).wheels) for name, step in lock.steps.items()},
        "packages": len(lock.wheels),
        "changes": list(diff_lines(written.changes)),
    }
    return json.dumps(document, indent=2)
