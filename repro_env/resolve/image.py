"""`resolve_image`: what an image base as asked for is, on each platform: digests, layers, and what is inside."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

from repro_env.config import checks
from repro_env.config.model import ImageBase
from repro_env.edges.files import os_errors
from repro_env.edges.report import Reporter, Task
from repro_env.errors import BuildError, IntegrityError, ResolutionError
from repro_env.frozen import dataclass
from repro_env.image.base import oci_media_type
from repro_env.image.base_facts import ImageFacts, LayerFacts, image_facts, read_facts, recall_facts, remember_facts
from repro_env.image.decompress import whole_tar
from repro_env.image.registry.client import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Manifest, Repository
from repro_env.image.registry.download import ChunkReader, blob_chunks
from repro_env.image.registry.registries import Registries
from repro_env.image.store import Store
from repro_env.lock import words
from repro_env.lock.model import ImageLayer, ImageRoot, LockedBase
from repro_env.values import Digest, ImageReference, Platform

_INDEXES = (OCI_INDEX, DOCKER_INDEX)
_MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
_VARIANTS = {"arm64": ("", "v8")}
"""The variants of an architecture that mean the plain one. Source: OCI image index, "Platform Variants"."""

_OVERRIDE = 'say glibc = "2.N" (and python = "3.N.P", if it has one) in [base.{name}], or name another image'
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageResolver:
    """Resolves image bases. Layers are read once; what is in them is remembered in the store."""

    registries: Registries
    store: Store
    report: Reporter

    def resolve(
        self, base: ImageBase, platforms: Sequence[Platform], *, previous: LockedBase | None, upgrade: bool
    ) -> LockedBase:
        """Return the pins of a base on each platform.

        A reference that `previous` pinned already names what it named then, unless `upgrade`.
        Errors: `ResolutionError`, `FetchError`, `IntegrityError`.
        """
        reference = _pinned(base, previous, upgrade=upgrade)
        repository = self.registries.repository(reference)
        named = repository.manifest(reference)
        document = _document(named)
        index = named.digest if _is_index(named, document) else None
        roots = {}
        for platform in platforms:
            manifest = named if index is None else self._of_platform(base, repository, reference, document, platform)
            roots[platform] = self._root(base, repository, manifest, platform)
        return LockedBase(name=base.name, image=base.image, index=index, roots=roots)

    def _of_platform(
        self, base: ImageBase, repository: Repository, reference: ImageReference, index: Any, platform: Platform
    ) -> Manifest:
        with _valid(base):
            digest = _choose(base, index["manifests"], platform)
        return repository.manifest(replace(reference, digest=digest))

    def _root(self, base: ImageBase, repository: Repository, manifest: Manifest, platform: Platform) -> ImageRoot:
        with _valid(base):
            document = _document(manifest)
            if (document.get("mediaType") or manifest.media_type) not in _MANIFESTS:
                raise ResolutionError(
                    f"base {base.name}: {base.image} is no image",
                    f"it is of the kind {document.get('mediaType') or manifest.media_type}",
                )
            described = document["config"]
            digest = Digest.parse(described["digest"])
            config = json.loads(repository.document(digest, size=int(described["size"])))
            _check_platform(base, config, platform)
            layers = _layers(base, document["layers"], config["rootfs"]["diff_ids"])
            execution = config.get("config") or {}
            env = dict(_variable(word) for word in execution.get("Env") or ())
            user = _text(str(execution.get("User") or ""))
        found = self._facts(base, repository, layers, env, platform)
        return ImageRoot(
            manifest=manifest.digest,
            config=digest,
            glibc=found.glibc,
            python=found.python,
            interpreter=found.interpreter,
            layers=layers,
            user=user,
            env=env,
            compat=found.compat,
        )

    def _facts(
        self,
        base: ImageBase,
        repository: Repository,
        layers: Sequence[ImageLayer],
        env: Mapping[str, str],
        platform: Platform,
    ) -> ImageFacts:
        if base.glibc:
            program = f"/usr/bin/python{base.python.rpartition('.')[0]}" if base.python else ""
            return ImageFacts(glibc=base.glibc, python=base.python, interpreter=program)
        known = {layer.digest: recall_facts(self.store, layer.digest) for layer in layers}
        unread = {layer.digest: layer for layer in layers if known[layer.digest] is None}.values()
        with self.report.task(f"reading {base.image}", sum(layer.size for layer in unread)) as task:
            for layer in unread:
                facts = self._read(repository, layer, task)
                remember_facts(self.store, layer.digest, facts)
                known[layer.digest] = facts
        # An image may have one layer, such as an empty one, in several places.
        found = image_facts([one for layer in layers if (one := known[layer.digest])], env, platform)
        if not found.glibc:
            raise ResolutionError(
                f"base {base.name}: {base.image} has no glibc that could be found",
                "wheels are built for glibc; an image with musl, such as Alpine's, has wheels of its own",
                _OVERRIDE.format(name=base.name),
            )
        return found

    def _read(self, repository: Repository, layer: ImageLayer, task: Task) -> LayerFacts:
        """Read one layer, from the store if it is there, and hold it against both its digests."""
        if self.store.has(layer.digest, layer.size):
            task.advance(layer.size)
            with (
                self.store.reading(layer.digest, f"layer {layer.digest.short}") as path,
                os_errors(f"read the store at {self.store.root}"),
                path.open("rb") as stream,
            ):
                return _read_layer(stream, layer)
        chunks = ChunkReader(blob_chunks(repository, layer.digest, layer.size, task.advance))
        facts = _read_layer(io.BufferedReader(chunks, _CHUNK), layer)
        chunks.drain()
        return facts


def _read_layer(stream: BinaryIO, layer: ImageLayer) -> LayerFacts:
    media_type = oci_media_type(layer.media_type)
    with whole_tar(stream, media_type, layer.diff_id, f"layer {layer.digest.short}") as tar:
        return read_facts(tar)


def _pinned(base: ImageBase, previous: LockedBase | None, *, upgrade: bool) -> ImageReference:
    reference = ImageReference.parse(base.image)
    if previous is None or upgrade or previous.image != base.image or not previous.roots:
        return reference
    single = next(root.manifest for root in previous.roots.values() if isinstance(root, ImageRoot))
    return replace(reference, digest=previous.index or single)


def _document(manifest: Manifest) -> dict[str, Any]:
    try:
        document = json.loads(manifest.content)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"the registry's manifest {manifest.digest} is not JSON", str(error)) from error
    if not isinstance(document, dict):
        raise IntegrityError(f"the registry's manifest {manifest.digest} is not a JSON object")
    return document


def _is_index(manifest: Manifest, document: Mapping[str, Any]) -> bool:
    return (document.get("mediaType") or manifest.media_type) in _INDEXES


def _choose(base: ImageBase, manifests: Sequence[Mapping[str, Any]], platform: Platform) -> Digest:
    """Return the digest of the index's manifest for a platform. Errors: `ResolutionError` that names what there is."""
    offered = []
    for entry in manifests:
        place = entry.get("platform") or {}
        if entry.get("mediaType") not in _MANIFESTS or place.get("os") != "linux":
            continue
        variants = _VARIANTS.get(platform.architecture, ("",))
        if place.get("architecture") == platform.architecture and (place.get("variant") or "") in variants:
            return Digest.parse(entry["digest"])
        offered.append("/".join(filter(None, ("linux", place.get("architecture"), place.get("variant")))))
    raise ResolutionError(
        f"base {base.name}: {base.image} has no image for {platform}",
        f"it has {', '.join(dict.fromkeys(offered)) or 'none for Linux'}",
    )


def _check_platform(base: ImageBase, config: Mapping[str, Any], platform: Platform) -> None:
    found = f"{config.get('os')}/{config.get('architecture')}"
    if found != str(platform):
        raise ResolutionError(f"base {base.name}: {base.image} is not for {platform}", f"it is one image, for {found}")


def _layers(base: ImageBase, described: Sequence[Any], diff_ids: Sequence[str]) -> tuple[ImageLayer, ...]:
    layers = []
    for layer, diff_id in zip(described, diff_ids, strict=True):
        try:
            oci_media_type(layer["mediaType"])
        except BuildError as error:
            raise ResolutionError(
                f"base {base.name}: {base.image} cannot be built on", error.why, error.hint
            ) from error
        layers.append(
            ImageLayer(
                media_type=layer["mediaType"],
                digest=Digest.parse(layer["digest"]),
                size=int(layer["size"]),
                diff_id=Digest.parse(diff_id),
            )
        )
    return tuple(layers)


def _variable(word: str) -> tuple[str, str]:
    """Return name and value of an environment's entry as a lock may hold them. Errors: `ValueError`."""
    name, value = word.split("=", 1)
    words.env_name(name)
    return _text(name), _text(checks.word(value))


def _text(text: str) -> str:
    """Return a text that can be written. JSON lets one hold half a character. Errors: `ValueError`."""
    text.encode()
    return text


@contextlib.contextmanager
def _valid(base: ImageBase) -> Iterator[None]:
    """Turn a document's missing or wrong parts into an `IntegrityError`."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        what = f"base {base.name}: the documents of {base.image} are damaged"
        raise IntegrityError(what, f"{type(error).__name__}: {error}") from error
