"""Putting together what building packages from their sources needs: a sandbox, and what the lock pins for it."""

from __future__ import annotations

from collections.abc import Sequence

from repro_env.build.source_packages import SourceBuilds, build_sources
from repro_env.cli.fetching import Fetching
from repro_env.cli.project import Workspace
from repro_env.edges.report import Reporter
from repro_env.edges.sandbox import run_in_sandbox
from repro_env.image.store import Store
from repro_env.lock.model import ImageRoot, Lock
from repro_env.values import Platform


def with_sources_built(
    workspace: Workspace,
    lock: Lock,
    pairs: Sequence[tuple[str, Platform]],
    store: Store,
    report: Reporter,
    *,
    workers: int,
    update: bool,
) -> Lock:
    """Return the lock with every package built that these steps take from its sources.

    Errors: `BuildError` when one cannot be built or came out different, `RuntimeUnavailableError` without a sandbox,
    and all that downloading can meet.
    """
    having = [pair for pair in pairs if lock.steps[pair[0]].environments[pair[1]].sources]
    wanted = [pair for pair in having if update or not _are_built(lock, pair, store)]
    if not wanted:
        return lock
    Fetching(workspace).have_everything(lock, wanted, store, report)
    if any(isinstance(lock.bases[lock.steps[step].base].roots[platform], ImageRoot) for step, platform in wanted):
        from repro_env.cli.registries import base_layers, have_base_layers  # noqa: PLC0415 - for these bases alone

        have_base_layers(base_layers(lock, wanted), store, report)
    builds = SourceBuilds(store, workers, report, run_in_sandbox, update)
    return build_sources(lock, wanted, builds)


def _are_built(lock: Lock, pair: tuple[str, Platform], store: Store) -> bool:
    """Whether the wheels of a step's source packages are recorded and in the store."""
    step, platform = pair
    wheels = [source.wheel for source in lock.steps[step].environments[platform].sources]
    return all(wheel is not None and store.has(wheel.sha256, wheel.size) for wheel in wheels)
