"""Layers that were made once, remembered in the store under what they were made of."""

from __future__ import annotations

from typing import Any

from repro_env.image.layer import Layer
from repro_env.image.store import Store, canonical_json
from repro_env.values import Digest

MANNER = 2
"""Of how layers are made. Raised when the same wheel, package or archive would give other bytes: what an older program
remembered of it is then looked up no more, and no digest depends on how long a store has been in use."""


def layer_key(*made_of: object) -> str:
    """Return what a layer is remembered by. `made_of` are JSON values: all that its bytes depend on."""
    return Digest.of(canonical_json([MANNER, *made_of])).hex


def remember_layer(store: Store, kind: str, key: str, layer: Layer) -> None:
    """Remember which layer was made of what `key` stands for."""
    store.remember(kind, key, layer_document(layer))


def recall_layer(store: Store, kind: str, key: str) -> Layer | None:
    """Return the layer that was made of what `key` stands for, if its blob is still here."""
    layer = layer_of(store.recall(kind, key))
    return layer if layer is not None and store.has(layer.digest, layer.size) else None


def layer_document(layer: Layer) -> dict[str, Any]:
    """Return a layer as a JSON document."""
    return {
        "digest": str(layer.digest),
        "diff_id": str(layer.diff_id),
        "size": layer.size,
        "unpacked": layer.unpacked,
        "comment": layer.comment,
    }


def layer_of(document: Any) -> Layer | None:
    """Return the layer that a document says, or None where it is none: what is remembered can be made again."""
    try:
        return Layer(
            digest=Digest.parse(document["digest"]),
            diff_id=Digest.parse(document["diff_id"]),
            size=document["size"],
            unpacked=document["unpacked"],
            comment=document["comment"],
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
