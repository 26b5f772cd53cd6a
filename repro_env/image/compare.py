"""Two images held against each other: the first difference in people's words, and every layer that differs.

For any two images in stores, this program's or not. What differs is looked for from below: the layers' files, then the
config, then the manifest; a blob is read only where its digest differs. Pure but for reading blobs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from repro_env.errors import IntegrityError
from repro_env.frozen import dataclass
from repro_env.image.compare_layers import Blob, compare_layers
from repro_env.image.difference import Difference
from repro_env.image.store import Store
from repro_env.values import Digest

_FROM_LAYERS = ("rootfs", "history")
"""Parts of a config that say again what the layers are."""

_LONGEST_VALUE = 120


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two images have differently: the first difference of each part that differs, in the images' order."""

    differences: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        """Whether the images are the same bytes."""
        return not self.differences

    def __str__(self) -> str:
        return "\n".join(map(str, self.differences))


def compare_images(store: Store, here: Digest, other: Store, there: Digest) -> Comparison:
    """Return what the image `here` in one store has differently than `there` in another, which may be the same store.

    Errors: `StoreError` when a manifest or config is not there, `IntegrityError` when it, or a layer, is damaged.
    """
    if here == there:
        return Comparison(())
    one, two = _Side.read(store, here), _Side.read(other, there)
    found = [*_layer_differences(one, two), *_config_differences(one, two), *_manifest_differences(one, two)]
    return Comparison(tuple(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One of the two images."""

    manifest: Mapping[str, Any]
    config: Mapping[str, Any]
    texts: Mapping[str, bytes]
    layers: tuple[Blob, ...]

    @classmethod
    def read(cls, store: Store, digest: Digest) -> _Side:
        manifest_text = store.read(digest)
        try:
            manifest = json.loads(manifest_text)
            config_text = store.read(Digest.parse(manifest["config"]["digest"]))
            config = json.loads(config_text)
            return cls(
                manifest=manifest,
                config=config,
                texts={"manifest": manifest_text, "config": config_text},
                layers=tuple(_blobs(manifest, config, store)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise IntegrityError(f"{digest} is not an image", str(error)) from error


def _blobs(manifest: Mapping[str, Any], config: Mapping[str, Any], store: Store) -> Iterator[Blob]:
    """Yield the layers of an image, lowest first, each with what the config's history says it holds."""
    steps = [step for step in config.get("history", ()) if not step.get("empty_layer")]
    comments = [str(step.get("created_by", "")).removeprefix("repro: ") for step in steps]
    for number, (part, diff_id) in enumerate(zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True)):
        digest = Digest.parse(part["digest"])
        yield Blob(
            path=store.blob(digest),
            digest=digest,
            diff_id=Digest.parse(diff_id),
            size=part["size"],
            media_type=part["mediaType"],
            number=number + 1,
            comment=comments[number] if number < len(comments) else "",
        )


def _layer_differences(one: _Side, two: _Side) -> Iterator[Difference]:
    """Yield one difference for each layer that is not in the same place of both images with the same bytes."""
    if len(one.layers) != len(two.layers):
        yield Difference("image", field="number of layers", here=str(len(one.layers)), there=str(len(two.layers)))
    for mine, theirs in _pairs(one.layers, two.layers):
        if theirs is None:
            assert mine is not None, "one of the two is there"
            yield Difference(mine.name, here="a layer", there="none")
        elif mine is None:
            yield Difference(theirs.name, here="none", there="a layer")
        elif mine.digest != theirs.digest:
            yield compare_layers(mine, theirs)
        elif (mine.media_type, mine.diff_id) != (theirs.media_type, theirs.diff_id):
            yield Difference(mine.name, field="kind", here=_kind(mine), there=_kind(theirs))
        elif mine.number != theirs.number:
            yield Difference(mine.name, field="place", here=f"layer {mine.number}", there=f"layer {theirs.number}")


def _kind(layer: Blob) -> str:
    return f"{layer.media_type} of {layer.diff_id}"


def _pairs(ours: Sequence[Blob], others: Sequence[Blob]) -> Iterator[tuple[Blob | None, Blob | None]]:
    """Yield which layer is to be held against which: the same bytes, else the same comment, else the next left over."""
    left = list(others)
    matched: dict[int, Blob] = {}
    for alike in (_same_bytes, _same_comment, _anything):
        for mine in ours:
            partner = next((theirs for theirs in left if mine.number not in matched and alike(mine, theirs)), None)
            if partner is not None:
                matched[mine.number] = partner
                left.remove(partner)
    yield from ((mine, matched.get(mine.number)) for mine in ours)
    yield from ((None, theirs) for theirs in left)


def _same_bytes(mine: Blob, theirs: Blob) -> bool:
    return mine.digest == theirs.digest


def _same_comment(mine: Blob, theirs: Blob) -> bool:
    return bool(mine.comment) and mine.comment == theirs.comment


def _anything(_mine: Blob, _theirs: Blob) -> bool:
    return True


def _config_differences(one: _Side, two: _Side) -> Iterator[Difference]:
    """Yield the first difference of the configs that is not the layers' own."""
    mine, theirs = (_flat(_without_layers(side.config)) for side in (one, two))
    difference = _first_field("config", mine, theirs)
    if difference is None and one.layers and not _layers_differ(one, two):
        difference = _first_field("config", _flat(one.config), _flat(two.config))
        difference = difference or _written_differently("config", one, two)
    if difference is not None:
        yield difference


def _manifest_differences(one: _Side, two: _Side) -> Iterator[Difference]:
    mine, theirs = (_flat({**side.manifest, "config": None, "layers": None}) for side in (one, two))
    difference = _first_field("manifest", mine, theirs)
    if difference is None and not _layers_differ(one, two) and one.texts["config"] == two.texts["config"]:
        difference = _first_field("manifest", _flat(one.manifest), _flat(two.manifest))
        difference = difference or _written_differently("manifest", one, two)
    if difference is not None:
        yield difference


def _layers_differ(one: _Side, two: _Side) -> bool:
    return [layer.digest for layer in one.layers] != [layer.digest for layer in two.layers]


def _without_layers(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _FROM_LAYERS}


def _written_differently(part: str, one: _Side, two: _Side) -> Difference | None:
    """Return where two texts of the same JSON document part."""
    mine, theirs = one.texts[part], two.texts[part]
    if mine == theirs:
        return None
    at = next((at for at, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), min(len(mine), len(theirs)))
    context = slice(max(0, at - 10), at + 20)
    return Difference(part, field=f"text from byte {at}", here=repr(mine[context]), there=repr(theirs[context]))


def _first_field(part: str, mine: Mapping[str, str], theirs: Mapping[str, str]) -> Difference | None:
    wrong = [key for key in sorted({*mine, *theirs}) if mine.get(key) != theirs.get(key)]
    if not wrong:
        return None
    first = Difference(part, field=wrong[0], here=mine.get(wrong[0], "none"), there=theirs.get(wrong[0], "none"))
    return replace(first, more=len(wrong) - 1)


def _flat(document: Any, prefix: str = "") -> dict[str, str]:
    """Return every leaf of a document by its dotted path; variables of the environment go by their names."""
    items: list[tuple[str, Any]]
    if isinstance(document, Mapping):
        items = list(document.items())
    elif isinstance(document, list) and prefix == "config.Env":
        items = [(name, value) for name, _, value in (str(word).partition("=") for word in document)]
    elif isinstance(document, list):
        items = [(str(number), value) for number, value in enumerate(document)]
    else:
        text = document if isinstance(document, str) else json.dumps(document)
        return {prefix: text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "..."}
    flat: dict[str, str] = {}
    for key, value in items:
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
