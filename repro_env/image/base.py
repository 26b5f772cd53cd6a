"""Layers of other people's images, known by their descriptors: their bytes may stay where they are."""

from __future__ import annotations

from collections.abc import Iterable

from repro_env.errors import BuildError
from repro_env.image.layer import Layer
from repro_env.lock.model import ImageRoot
from repro_env.values import Digest

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
PLAIN = "application/vnd.oci.image.layer.v1.tar"

MEDIA_TYPES = {
    GZIP: GZIP,
    ZSTD: ZSTD,
    PLAIN: PLAIN,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": GZIP,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": ZSTD,
    "application/vnd.docker.image.rootfs.diff.tar": PLAIN,
}
"""What a layer may be, as OCI calls it. Docker's names mean the same bytes, and an OCI manifest holds OCI's.
Source: OCI image specification 1.1, "layer.md" and "media-types.md", "Compatibility Matrix"."""


def base_image_layers(root: ImageRoot) -> tuple[Layer, ...]:
    """Return the layers of an image base, lowest first. Errors: `BuildError` for one that cannot be a layer here."""
    return tuple(
        Layer(
            digest=layer.digest,
            diff_id=layer.diff_id,
            size=layer.size,
            unpacked=0,
            media_type=oci_media_type(layer.media_type),
            comment=f"layer {number} of base image {root.manifest.short}",
        )
        for number, layer in enumerate(root.layers, start=1)
    )


def oci_media_type(media_type: str) -> str:
    """Return OCI's name for the kind of a layer. Errors: `BuildError` for a kind that no image can be built on."""
    try:
        return MEDIA_TYPES[media_type]
    except KeyError:
        why = f"a layer is of the kind {media_type}"
        raise BuildError("this base image cannot be built on", why, "name another image") from None


def base_layer_digests(roots: Iterable[object]) -> frozenset[Digest]:
    """Return the digests of all layers of those of these roots that are images."""
    return frozenset(layer.digest for root in roots if isinstance(root, ImageRoot) for layer in root.layers)
