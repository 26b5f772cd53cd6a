"""`repro build --check`: whether the same lock gives the same bytes, twice and as the lock records."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import click

from repro_env.build.images import Order
from repro_env.build.twice import Checked, Twice, build_twice, refuse_differences
from repro_env.cli.fetching import Fetching
from repro_env.cli.progress import reporter
from repro_env.cli.project import Workspace, store_root
from repro_env.edges.report import Reporter
from repro_env.image.difference import Difference
from repro_env.image.store import Store
from repro_env.lock.model import ImageRoot, Lock
from repro_env.values import Platform


def check_build(workspace: Workspace, lock: Lock, steps: Sequence[str], *, as_json: bool) -> None:
    """Build twice under conditions that must not matter, compare, and print what was found.

    The lock stays as it is, and so do the store's images, but for layers that turn out damaged. Errors: `BuildError`
    naming the first difference, and what keeps the images from being built at all.
    """
    began = time.monotonic()
    order = Order(lock=lock, steps=steps, platforms=workspace.project.platforms, root=workspace.root, workers=1)
    with reporter(quiet=as_json) as report:
        store = Store(store_root())
        pairs = [(name, platform) for name in order.steps for platform in order.platforms]
        Fetching(workspace).have_everything(order.lock, pairs, store, report)
        _have_bases(lock, pairs, store, report)
        result = build_twice(order, store=store, report=report)
    checked = result.images
    if as_json:
        click.echo(_document(result))
    refuse_differences(checked)
    if not as_json:
        click.echo(_table(checked, time.monotonic() - began))


def _have_bases(lock: Lock, pairs: Sequence[tuple[str, Platform]], store: Store, report: Reporter) -> None:
    """Have the layers of image bases in which something is compiled or built; the others are known by their digests."""
    inside = [
        (step, platform)
        for step, platform in pairs
        if lock.steps[step].bytecode or lock.steps[step].environments[platform].sources
    ]
    if any(isinstance(lock.bases[lock.steps[step].base].roots[platform], ImageRoot) for step, platform in inside):
        from repro_env.cli.registries import base_layers, have_base_layers  # noqa: PLC0415 - for these bases alone

        have_base_layers(base_layers(lock, inside), store, report)


def _table(checked: Sequence[Twice], seconds: float) -> str:
    width = max(len(one.step) for one in checked)
    lines = [
        f"{one.step:<{width}}  {one.image}  the same bytes twice"
        + (", the environment as the lock records it" if one.recorded else "")
        for one in checked
    ]
    count = "1 image" if len(checked) == 1 else f"{len(checked)} images"
    return "\n".join([*lines, f"{count}, built twice in {seconds:.1f} s under different conditions"])


def _document(result: Checked) -> str:
    checked = result.images
    images = [
        {
            "step": one.step,
            "platform": str(one.platform),
            "image": str(one.image),
            "environment": str(one.environment),
            "recorded": str(one.recorded) if one.recorded else None,
            "same_twice": one.between.same,
            "as_recorded": one.as_recorded,
            "differences": _differences(one.between.differences),
            "differences_from_recorded": _differences(one.against.differences),
        }
        for one in checked
    ]
    document = {
        "same": all(one.same for one in checked),
        "mended": [str(digest) for digest in result.mended],
        "images": images,
    }
    return json.dumps(document, indent=2)


def _differences(found: Sequence[Difference]) -> list[dict[str, object]]:
    return [{**one.to_dict(), "text": str(one)} for one in found]
