"""Having the images of a lock's steps in the store: what is missing is downloaded and built, and the lock told."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from repro_env.build.images import (
    Order,
    build_images,
    keep_newer,
    missing_environments,
    name_images,
    record_environments,
)
from repro_env.build.native import Built
from repro_env.cli.project import Workspace, read_lock
from repro_env.edges.files import write_atomically
from repro_env.edges.report import Reporter
from repro_env.image.store import Store
from repro_env.lock.model import ImageRoot, Lock
from repro_env.values import Digest, Platform


def built_steps(
    workspace: Workspace,
    lock: Lock,
    steps: Sequence[str],
    platforms: Sequence[Platform],
    store: Store,
    report: Reporter,
    *,
    update: bool = False,
    workers: int | None = None,
    whole: bool = True,
) -> tuple[Built, ...]:
    """Build steps and record in the lock which environment images they gave, where it did not say yet.

    With `whole` the layers of image bases are had in the store as well: running an image takes them, and so does
    compiling a step's modules; pushing it to the registry that they are in does not.
    """
    count = workers or len(os.sched_getaffinity(0))
    pairs = [(step, platform) for step in steps for platform in platforms]
    order = Order(lock=lock, steps=steps, platforms=platforms, root=workspace.root, workers=count, update=update)
    missing = missing_environments(order, store)
    if missing:
        store.sweep()
        from repro_env.cli.fetching import Fetching  # noqa: PLC0415 - urllib3, which a build from the store does without

        Fetching(workspace).have_everything(lock, missing, store, report)
    run_here = pairs if whole else [pair for pair in missing if lock.steps[pair[0]].bytecode]
    if any(isinstance(lock.bases[lock.steps[step].base].roots[platform], ImageRoot) for step, platform in run_here):
        from repro_env.cli.registries import base_layers, have_base_layers  # noqa: PLC0415 - as above

        have_base_layers(base_layers(lock, run_here), store, report)
    due = pairs if update else missing
    if any(lock.steps[step].environments[platform].sources for step, platform in due):
        from repro_env.cli.building_sources import with_sources_built  # noqa: PLC0415 - what most projects do without

        made = with_sources_built(workspace, lock, due, store, report, workers=count, update=update)
        order = replace(order, lock=made)
    built = build_images(order, store=store, report=report)
    name_images(built, workspace.project.platforms, store)
    recorded = record_environments(order.lock, built, store, update=update)
    if recorded != lock:
        record_in_lock(workspace, lock, recorded, store)
    return built


def record_in_lock(workspace: Workspace, before: Lock, recorded: Lock, store: Store) -> None:
    """Write what building `before` recorded, and undo nothing of what another command wrote meanwhile."""
    with store.lock(f"project-{Digest.of(os.fsencode(workspace.root)).short}"):
        current = read_lock(workspace)
        written = recorded if current is None else keep_newer(current, before, recorded)
        if written != current:
            from repro_env.lock.dump import dump_lock  # noqa: PLC0415 - what a build from the store does without

            write_atomically(workspace.lock_path, dump_lock(written).encode())
