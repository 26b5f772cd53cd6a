"""`repro build --push`: which image goes where, and what people are told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from repro_env.build.native import Built
from repro_env.edges.report import Reporter
from repro_env.errors import UsageError
from repro_env.image.store import Store
from repro_env.lock.model import Lock
from repro_env.values import Digest, ImageReference, Platform, format_size

if TYPE_CHECKING:
    from repro_env.image.registry.push import Pushed


def push_references(text: str, steps: Sequence[str]) -> dict[str, ImageReference]:
    """Return what each step's image is to be called, given what follows `--push`.

    Without a tag the step's name is the tag; with one it is appended to it, unless there is but one step.
    Errors: `UsageError`.
    """
    try:
        reference = ImageReference.parse(text)
    except ValueError as error:
        raise UsageError(f"cannot push to {text}", str(error)) from error
    if reference.digest is not None:
        raise UsageError(f"cannot push to {text}", "what is pushed decides the digest", "name a repository, or a tag")
    if len(steps) == 1 and reference.tag:
        return {steps[0]: reference}
    beginning = f"{reference.tag}-" if reference.tag else ""
    return {step: replace(reference, tag=f"{beginning}{step}") for step in steps}


def push_images(
    built: Sequence[Built], references: Mapping[str, ImageReference], lock: Lock, store: Store, report: Reporter
) -> tuple[Pushed, ...]:
    """Push what was built under these references. Errors: `FetchError`, `IntegrityError`, `StoreError`."""
    from repro_env.cli.registries import BaseLayers, base_layers, registries  # noqa: PLC0415 - urllib3, for a push only
    from repro_env.image.registry.push import Pusher, Shipment  # noqa: PLC0415 - same

    known = registries()
    layers = BaseLayers(base_layers(lock, [(one.step, one.platform) for one in built]), store, report, known)
    pusher = Pusher(store, known, report, origins=layers.origins, obtain=lambda digest: layers.have([digest]))
    manifests: dict[str, dict[Platform, Digest]] = {}
    for one in built:
        manifests.setdefault(one.step, {})[one.platform] = one.image
    return pusher.push([Shipment(reference=references[step], manifests=found) for step, found in manifests.items()])


def pushed_line(one: Pushed) -> str:
    """Return what was pushed, with a reference that can be copied into a deployment."""
    return f"pushed {one.reference}@{one.digest}  {_counts(one)}"


def _counts(one: Pushed) -> str:
    counts = ((one.uploaded, f"uploaded ({format_size(one.sent)})"), (one.mounted, "mounted"), (one.present, "there"))
    return ", ".join(f"{count} {what}" for count, what in counts if count)


def pushed_document(one: Pushed) -> dict[str, Any]:
    """Return what was pushed, for programs."""
    return {
        "reference": str(one.reference),
        "digest": str(one.digest),
        "present": one.present,
        "mounted": one.mounted,
        "uploaded": one.uploaded,
        "sent": one.sent,
    }
