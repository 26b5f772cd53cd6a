"""Data inputs of a project in a directory, pinned and pulled without a lock around them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from repro_env.config.model import Data
from repro_env.data.measure import Measured
from repro_env.data.supply import DataSupply, Pulled
from repro_env.edges.report import Reporter, Silent
from repro_env.image.store import Store
from repro_env.lock.model import LockedData


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A project's directory and a store: what a clone of the project on one machine is."""

    root: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    report: Reporter = field(default_factory=Silent)

    @property
    def inputs(self) -> DataSupply:
        self.project.mkdir(parents=True, exist_ok=True)
        return DataSupply(self.project, self.root / "store", self.report, {**os.environ, **self.environ})

    @property
    def project(self) -> Path:
        return self.root / "project"

    @property
    def store(self) -> Store:
        return Store(self.root / "store")

    def lock(self, previous: LockedData | None = None, *, keep: bool = False, **keys: Any) -> LockedData:
        return self.inputs.lock(Data(**{"name": "raw", **keys}), previous, keep=keep)

    def pull(self, locked: LockedData, *, force: bool = False) -> Pulled:
        return self.inputs.pull(locked, force=force)

    def have(self, locked: LockedData) -> LockedData:
        return self.inputs.have(locked)

    def measure(self, locked: LockedData) -> Measured:
        return self.inputs.measure(locked)

    def place(self, locked: LockedData) -> Path:
        return self.project / locked.path

    def elsewhere(self, name: str = "elsewhere") -> Machine:
        """Another machine, on which nothing was done yet."""
        return replace(self, root=self.root.with_name(name))
