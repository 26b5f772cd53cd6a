"""A project's data inputs in their places, as a run finds them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from repro_env.data.cache import StatCache
from repro_env.data.measure import Measured, measure
from repro_env.data.select import Selection
from repro_env.edges.report import Reporter
from repro_env.lock.model import LockedData

PLACES = ".repro/data"
"""Where data without a path of its own stands, in the project."""

LOCAL = frozenset({"path", "file", "dvc"})
"""Kinds whose data is the project's own, or this machine's: a lock looks at it anew, because that takes no network."""


class DataInputs:
    """The data of the project at `root`, whose state is below `.repro`."""

    def __init__(self, root: Path, store: Path, report: Reporter, environ: Mapping[str, str]) -> None:
        """`store` is where the store is, which only data from elsewhere needs."""
        self._root, self._store_root, self._report, self._environ = root, store, report, environ
        self._manifests = root / ".repro" / "manifests"
        self._cache = StatCache(root / ".repro" / "stat-cache")

    def have(self, locked: LockedData) -> LockedData:
        """Have an input in its place, pulled if it is not there, and return its pin as one of content.

        What is there is left as it is. Errors: as `pull`.
        """
        if locked.source == "path":
            return locked
        from repro_env.data.supply import DataSupply  # noqa: PLC0415 - what most steps start sooner without

        supply = DataSupply(self._root, self._store_root, self._report, self._environ)
        if locked.source != "file" and not os.path.lexists(self._root / locked.path):
            supply.pull(locked)
        return supply.by_content(locked)

    def given(self, locked: LockedData, measured: Measured) -> Path:
        """Return what a step is given of an input that was measured and is right: only the files that count.

        Errors: `StoreError`; `VerificationError` when they change meanwhile.
        """
        place = self._root / locked.path
        if locked.source not in LOCAL or measured.kind == "file" or not (locked.include or locked.exclude):
            return place
        from repro_env.data.view import have_view  # noqa: PLC0415 - few inputs have globs

        view = self._root / PLACES / locked.name
        have_view(place, measured, view, self._cache, self._report)
        return view

    def measure(self, locked: LockedData, *, trust: bool = True) -> Measured:
        """Return what stands in an input's place. Errors: as `data.measure.measure`."""
        selection = Selection()
        if locked.source in LOCAL:
            selection = Selection(include=locked.include, exclude=locked.exclude)
        place = self._root / locked.path
        return measure(place, reporter=self._report, cache=self._cache, selection=selection, trust=trust)
