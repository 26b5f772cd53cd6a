"""Putting together what fetching needs: the HTTP client, and the indexes and mirrors that a user configured."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from repro_env.build.fetch import fetch_all
from repro_env.build.fetch_wanted import Places, wanted_of_lock, wanted_wheel
from repro_env.cli.project import Workspace
from repro_env.cli.settings import mirrors, torch_mirror
from repro_env.config.torch import torch_index
from repro_env.edges.credentials import Index
from repro_env.edges.http_client import HttpClient
from repro_env.edges.indexes import configured_indexes
from repro_env.edges.python_releases import python_mirror
from repro_env.edges.report import Reporter
from repro_env.image.store import Store
from repro_env.lock.model import DebianPackage, DebianRoot, Lock
from repro_env.resolve.debian.archive import Mirrors, snapshot_urls
from repro_env.values import Platform


class Fetching:
    """Where a project's pinned files are had from, and with which client."""

    def __init__(self, workspace: Workspace) -> None:
        self._mirrors = mirrors()
        indexes = configured_indexes(workspace.root, os.environ)
        self.http = HttpClient(indexes=indexes)
        self._places = Places(
            project=workspace.root,
            indexes=indexes,
            pythons=python_mirror(workspace.root, os.environ),
            mirrors=_rewrites(self._mirrors),
            archive=self._archived,
        )

    def have_everything(
        self, lock: Lock, steps: Iterable[tuple[str, Platform]], store: Store, report: Reporter
    ) -> None:
        """Have in the store every blob that these steps' images are made of on these platforms."""
        wanted = [
            one
            for step, platform in steps
            for one in wanted_of_lock(lock, [step], platform, places=self._of_step(lock, step), pages=self.http)
        ]
        fetch_all(wanted, store=store, http=self.http, report=report)

    def have_wheels(self, lock: Lock, step: str, platform: Platform, store: Store, report: Reporter) -> None:
        """Have in the store the wheels of one step, for a runtime that needs no image."""
        wheels = lock.steps[step].environments[platform].all_wheels
        places = self._of_step(lock, step)
        wanted = [wanted_wheel(wheel, places=places, pages=self.http) for wheel in wheels]
        fetch_all(wanted, store=store, http=self.http, report=report)

    def _of_step(self, lock: Lock, step: str) -> Places:
        """Return where the files of a step may be had: a mirror of PyTorch's indexes is one more for its backend."""
        backend, mirror = lock.steps[step].torch_backend, torch_mirror()
        if not (backend and mirror):
            return self._places
        return replace(self._places, indexes=[Index(url=torch_index(mirror, backend)), *self._places.indexes])

    def _archived(self, package: DebianPackage, root: DebianRoot) -> Sequence[str]:
        return snapshot_urls(package, root.sources, self._mirrors.snapshot)


def _rewrites(chosen: Mirrors) -> dict[str, str]:
    """Return which beginnings of locked URLs a user's own mirrors stand for: only those that were set."""
    default = Mirrors()
    pairs = ((default.main, chosen.main), (default.security, chosen.security))
    return {f"{locked}/": own for locked, own in pairs if own != locked}
