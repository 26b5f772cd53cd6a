"""What a command needs to talk to registries, put together from the user's own settings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from repro_env.build.fetch import Wanted, fetch_all
from repro_env.edges.report import Reporter
from repro_env.image.registry.registries import Registries
from repro_env.image.store import Store
from repro_env.lock.model import ImageLayer, ImageRoot, Lock
from repro_env.values import Digest, ImageReference, Platform

if TYPE_CHECKING:
    from repro_env.resolve.image import ImageResolver


def registries() -> Registries:
    """Return every registry, with the user's logins and certificates."""
    return Registries(os.environ)


def image_resolver(store: Store, report: Reporter) -> ImageResolver:
    """Return what pins image bases."""
    from repro_env.resolve.image import ImageResolver  # noqa: PLC0415 - a push does without it

    return ImageResolver(registries=registries(), store=store, report=report)


def base_layers(lock: Lock, steps: Iterable[tuple[str, Platform]]) -> dict[ImageLayer, ImageReference]:
    """Return the layers of the image bases that these steps stand on, with where each was pinned."""
    found: dict[ImageLayer, ImageReference] = {}
    for step, platform in steps:
        base = lock.bases[lock.steps[step].base]
        root = base.roots[platform]
        if isinstance(root, ImageRoot):
            reference = ImageReference.parse(base.image)
            found |= dict.fromkeys(root.layers, reference)
    return found


def have_base_layers(layers: Mapping[ImageLayer, ImageReference], store: Store, report: Reporter) -> None:
    """Have the bytes of these layers in the store, downloading what it lacks from where they were pinned."""
    missing = {layer: place for layer, place in layers.items() if not store.has(layer.digest, layer.size)}
    if missing:
        BaseLayers(missing, store, report, registries()).have(layer.digest for layer in missing)


class BaseLayers:
    """Layers of image bases that can be had in the store when they are needed."""

    def __init__(
        self,
        layers: Mapping[ImageLayer, ImageReference],
        store: Store,
        report: Reporter,
        known: Registries,
    ) -> None:
        self._layers = {layer.digest: (layer, place) for layer, place in layers.items()}
        self._store, self._report, self._registries = store, report, known

    @property
    def origins(self) -> Mapping[Digest, ImageReference]:
        """Where each was pinned."""
        return {digest: place for digest, (_layer, place) in self._layers.items()}

    def have(self, digests: Iterable[Digest]) -> None:
        """Have these in the store. Errors: `FetchError`, `IntegrityError`, `StoreError`."""
        wanted = []
        for digest in digests:
            layer, place = self._layers[digest]
            wanted.append(
                Wanted(
                    digest=digest,
                    size=layer.size,
                    urls=(self._registries.repository(place).blob_url(digest),),
                    label=f"layer {digest.short} of {place}",
                )
            )
        fetch_all(wanted, store=self._store, http=self._registries.http, report=self._report)
