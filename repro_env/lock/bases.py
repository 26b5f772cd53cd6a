"""What a lock pins of bases: Debian packages from signed indexes, or an image by digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from repro_env.frozen import dataclass
from repro_env.values import Digest, Platform

if TYPE_CHECKING:
    from repro_env.lock.cuda import CudaCompat


@dataclass(frozen=True, slots=True, kw_only=True)
class DebianSource:
    """One signed index that packages were chosen from.

    `url` is the archive's root, `suite` for instance `bookworm-security`, `date` the snapshot in `YYYYMMDDTHHMMSSZ`,
    `release` the digest of the signed `InRelease`, `index` that of the uncompressed `Packages`.
    """

    url: str
    suite: str
    component: str
    date: str
    release: Digest
    index: Digest


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class DebianPackage:
    """One `.deb`, pinned. `url` is a hint, `sha256` the identity, `size` in bytes."""

    name: str
    version: str
    architecture: str
    url: str
    sha256: Digest
    size: int
    extra: bool = False  # only there because the user's own `packages` need it


@dataclass(frozen=True, slots=True, kw_only=True)
class DebianRoot:
    """A Debian base on one platform. `glibc` decides the manylinux tag; `python` is the interpreter's full version."""

    glibc: str
    python: str
    sources: tuple[DebianSource, ...]
    packages: tuple[DebianPackage, ...]  # sorted by name


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayer:
    """One layer of an image, as its manifest and config describe it: `digest` and `size` in bytes are of the blob."""

    media_type: str
    digest: Digest
    size: int
    diff_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRoot:
    """An image base on one platform.

    `manifest` and `config` are digests; `env` and `user` what the config says. `glibc` decides the manylinux
    tag, and is empty for an image without it. `python` is the full version of the image's own interpreter, which is at
    `interpreter`; both are empty where it has none. `compat` is its package for older NVIDIA drivers.
    """

    manifest: Digest
    config: Digest
    glibc: str
    python: str
    layers: tuple[ImageLayer, ...]  # lowest first
    interpreter: str = ""
    user: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    compat: CudaCompat | None = None

    @property
    def cuda(self) -> Mapping[str, str]:
        """What the config says of CUDA: `CUDA_VERSION` and `NVIDIA_REQUIRE_*`."""
        return {k: v for k, v in self.env.items() if k == "CUDA_VERSION" or k.startswith("NVIDIA_REQUIRE_")}


Root = DebianRoot | ImageRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedBase:
    """A base's pins on each platform: of a Debian `suite`, or of the `image` with that reference, as it was asked for.

    `index` is the digest of what the reference named where that was an index; None where it was one manifest.
    """

    name: str
    roots: Mapping[Platform, Root]
    suite: str = ""
    image: str = ""
    index: Digest | None = None
