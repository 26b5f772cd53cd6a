"""Bringing podman an image: it reads the store's own files and skips the layers that it has.

Source: podman-pull(1), version 4.3; containers-transports(5), `oci:`.
"""

from __future__ import annotations

import json
import secrets

from repro_env.edges import files, process
from repro_env.edges.report import Reporter
from repro_env.errors import ToolError
from repro_env.image.docker_archive import config_digest
from repro_env.image.oci import MANIFEST_TYPE, descriptor
from repro_env.image.store import OCI_LAYOUT, Store, canonical_json
from repro_env.values import Digest

_ANSWER_SECONDS = 60.0
_PULL_SECONDS = 3600.0


def load_image(store: Store, digest: Digest, tag: str, reporter: Reporter) -> str:
    """Have an image in podman and return podman's ID of it; if it is new there it is called `tag`.

    Errors: `ToolError`, `StoreError`.
    """
    identity = config_digest(store, digest).hex
    known = process.run(["podman", "image", "exists", identity], timeout=_ANSWER_SECONDS, check=False)
    if known.status != 0:
        with reporter.task("loading the image into podman", None):
            _pull(store, store.read(digest), tag)
        name_image(identity, tag)
    return identity


def name_image(identity: str, tag: str) -> None:
    """Let podman call an image `tag`. Errors: `ToolError`."""
    process.run(["podman", "tag", identity, tag], timeout=_ANSWER_SECONDS)


def _pull(store: Store, manifest: bytes, tag: str) -> None:
    """Pull an image from an OCI layout that holds nothing else and whose blobs are the store's.

    Podman names the image after the layout's path, so the path is a relative one that reads as a name.
    """
    name = tag.partition(":")[0]
    place = store.temporary / secrets.token_hex(8)
    layout = place / name
    index = {"schemaVersion": 2, "manifests": [descriptor(MANIFEST_TYPE, manifest)]}
    try:
        files.write_atomically(layout / "oci-layout", OCI_LAYOUT)
        files.write_atomically(layout / "index.json", canonical_json(index))
        with files.os_errors(f"write to the store at {store.root}"):
            (layout / "blobs").symlink_to(store.blobs.parent.absolute())
        process.run(["podman", "pull", "--quiet", f"oci:{name}"], cwd=place, timeout=_PULL_SECONDS)
    except ToolError:
        for part in json.loads(manifest)["layers"]:
            digest = Digest.parse(part["digest"])
            store.check(digest, str(digest))
        raise
    finally:
        files.remove_tree(place)
