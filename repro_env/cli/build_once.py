"""One build of `repro build --check`, in a process of its own: `python -m repro_env.cli.build_once`.

    build_once PROJECT UMASK WORKERS PLATFORM[,PLATFORM]... STEP...

Builds from what is in the store, touches no lock, and prints the digests as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from repro_env.build.images import Order, build_images
from repro_env.cli.building_sources import with_sources_built
from repro_env.cli.project import open_workspace, read_lock, store_root
from repro_env.cli.start import show_error
from repro_env.edges.report import Silent
from repro_env.errors import ReproError
from repro_env.image.store import Store
from repro_env.values import Platform


def main(arguments: list[str]) -> int:
    """Build as the arguments say and return the exit status."""
    project, umask, workers, platforms, *steps = arguments
    os.umask(int(umask, 8))
    try:
        workspace = open_workspace(Path(project))
        lock = read_lock(workspace)
        assert lock is not None, "who starts this has read it"
        order = Order(
            lock=lock,
            steps=steps,
            platforms=tuple(map(Platform.parse, platforms.split(","))),
            root=workspace.root,
            workers=int(workers),
        )
        store = Store(store_root())
        pairs = [(step, platform) for step in order.steps for platform in order.platforms]
        made = with_sources_built(workspace, lock, pairs, store, Silent(), workers=order.workers, update=False)
        built = build_images(replace(order, lock=made), store=store, report=Silent())
    except ReproError as error:
        show_error(error)
        return error.exit_status
    images = [
        {
            "step": one.step,
            "platform": str(one.platform),
            "environment": str(one.environment),
            "image": str(one.image),
        }
        for one in built
    ]
    print(json.dumps(images))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
