"""Looking into an environment image for what would be missing at run time, once for each image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from repro_env.build.missing_findings import Packages
from repro_env.frozen import dataclass
from repro_env.image.oci import Image, read_image
from repro_env.image.store import Store, canonical_json
from repro_env.values import Digest

_KIND = "missing"
_VERSION = 1
"""Of how is looked and what is remembered."""

_SEARCH = "LD_LIBRARY_PATH"


AskPackages = Callable[[Sequence[str]], Packages | None]
"""Says which packages have these libraries; None when it could not be asked."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """What was found: the document of `missing_words`, and the packages of the libraries in it."""

    missing: Mapping[str, Any]
    packages: Packages

    @property
    def clean(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing["findings"]


def inspect_image(
    store: Store, environment: Digest, variables: Mapping[str, str], *, packages: AskPackages, again: bool
) -> Inspected | None:
    """Return what the environment image misses, remembered or found now; None where a layer's bytes are not here.

    `variables` are the step's own, of which `LD_LIBRARY_PATH` counts. `packages` is asked only when something is
    missing, once; when it could not be asked then, it is asked again only with `again`. Errors: `IntegrityError` for a
    damaged layer or image, `StoreError`.
    """
    key = Digest.of(canonical_json([_VERSION, environment.hex, variables.get(_SEARCH)])).hex
    known = _from_document(store.recall(_KIND, key))
    if known is not None and (known[1] or not again):
        return known[0]
    inspected = known[0] if known else _inspect(store, read_image(store, environment), variables)
    if inspected is None:
        return None
    found = Packages() if inspected.clean else packages(_libraries(inspected))
    inspected = Inspected(inspected.missing, found or Packages())
    store.remember(_KIND, key, _to_document(inspected, asked=found is not None))
    return inspected


def _inspect(store: Store, image: Image, variables: Mapping[str, str]) -> Inspected | None:
    # What a rebuild of what was looked into before does without.
    from repro_env.build.library_tree import LibraryTree  # noqa: PLC0415 - what a rebuild does without
    from repro_env.build.missing import find_missing  # noqa: PLC0415 - what a rebuild does without
    from repro_env.build.missing_words import missing_document  # noqa: PLC0415 - what a rebuild does without
    from repro_env.image.library_scan import libraries_of_layer  # noqa: PLC0415 - what a rebuild does without

    layers = []
    for layer in image.layers:
        libraries = libraries_of_layer(store, layer)
        if libraries is None:
            return None
        layers.append(libraries)
    search = {**image.env, **variables}.get(_SEARCH, "")
    missing = find_missing(LibraryTree(layers, image.platform, search=search))
    return Inspected(missing_document(missing), Packages())


def _libraries(inspected: Inspected) -> list[str]:
    return sorted({library for finding in inspected.missing["findings"] for library in finding["libraries"]})


def _to_document(inspected: Inspected, *, asked: bool) -> dict[str, Any]:
    packages = inspected.packages
    return {
        "missing": inspected.missing,
        "packages": dict(packages.names),
        "brings": {package: list(brought) for package, brought in packages.brings.items()},
        "asked": asked,
    }


def _from_document(document: Any) -> tuple[Inspected, bool] | None:
    """Return what is remembered and whether packages were asked for, or None if nothing is or it is of no use."""
    try:
        missing = document["missing"]
        if not {"findings", "optional", "driver"} <= missing.keys():
            return None
        return Inspected(missing, Packages(document["packages"], document["brings"])), bool(document["asked"])
    except (KeyError, TypeError, AttributeError):
        return None
