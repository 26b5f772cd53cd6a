"""Where `repro build` brings what it has built: registries, engines, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from repro_env.build.native import Built
from repro_env.cli.exporting import Output, export, load
from repro_env.cli.pushing import push_images, push_references, pushed_document, pushed_line
from repro_env.edges.report import Reporter
from repro_env.frozen import dataclass
from repro_env.image.store import Store
from repro_env.lock.model import Lock
from repro_env.values import ImageReference

if TYPE_CHECKING:
    from repro_env.image.registry.push import Pushed


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What became of it."""

    pushed: tuple[Pushed, ...]
    loaded: tuple[str, ...]
    written: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return a line on each image and place, for people."""
        pushed = [pushed_line(one) for one in self.pushed]
        return [*pushed, *(f"loaded {one}" for one in self.loaded), *(f"wrote {one}" for one in self.written)]

    def document(self) -> dict[str, Any]:
        """Return the same for programs: only what there is."""
        document = {
            "pushed": [pushed_document(one) for one in self.pushed],
            "loaded": list(self.loaded),
            "written": list(self.written),
        }
        return {key: value for key, value in document.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Destinations:
    """Where to: a reference for each step, an engine of this machine (empty: none), files."""

    references: Mapping[str, ImageReference]
    engine: str
    outputs: tuple[Output, ...]

    @classmethod
    def parse(cls, steps: Sequence[str], *, push: str, engine: str, outputs: Sequence[str]) -> Destinations:
        """Return what the command line says. Errors: `UsageError`."""
        return cls(
            references=push_references(push, steps) if push else {},
            engine=engine,
            outputs=tuple(map(Output.parse, outputs)),
        )

    @property
    def need_bytes(self) -> bool:
        """Whether the layers of image bases have to be here: all but pushing takes them."""
        return bool(self.engine or self.outputs or not self.references)

    def deliver(self, built: Sequence[Built], lock: Lock, store: Store, report: Reporter) -> Delivered:
        """Bring what was built to all of these places.

        Errors: `FetchError`, `IntegrityError`, `StoreError`, `ToolError`, `RuntimeUnavailableError`, `UsageError`.
        """
        written = export(built, self.outputs, store)
        loaded = load(built, self.engine, store, report) if self.engine else ()
        pushed = push_images(built, self.references, lock, store, report) if self.references else ()
        return Delivered(pushed=pushed, loaded=tuple(loaded), written=tuple(written))
