"""Bringing containerd an image: an OCI archive without the blobs that its content store has.

Source: `ctr images import --help` and `ctr content ls --help`, containerd 1.6.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Sequence

from repro_env.edges import files, process
from repro_env.edges.report import Reporter
from repro_env.errors import RuntimeUnavailableError, ToolError
from repro_env.image.archives import oci_archive
from repro_env.image.store import Store
from repro_env.values import Digest

_ANSWER_SECONDS = 60.0
_LOAD_SECONDS = 3600.0


def load_image(store: Store, digest: Digest, tag: str, reporter: Reporter) -> None:
    """Have an image in containerd, called `docker.io/TAG`, in the namespace that `CONTAINERD_NAMESPACE` names.

    Errors: `RuntimeUnavailableError` without `ctr`, `ToolError`, `StoreError`.
    """
    if shutil.which("ctr") is None:
        raise RuntimeUnavailableError(
            "cannot load into containerd", "its program ctr is not installed", "install containerd, or use --push"
        )
    listed = process.run(["ctr", "content", "ls", "--quiet"], timeout=_ANSWER_SECONDS)
    known = set(listed.stdout.split())
    parts = json.loads(store.read(digest))
    blobs = [Digest.parse(part["digest"]) for part in (parts["config"], *parts["layers"])]
    lacking = tuple(dict.fromkeys(blob for blob in blobs if str(blob) not in known))
    with reporter.task("loading the image into containerd", None):
        try:
            _import(store, f"docker.io/{tag}", digest, lacking)
        except ToolError:
            # Its collector of garbage may take what the image of that name stood on before the new one stands on it.
            _import(store, f"docker.io/{tag}", digest, None)


def _import(store: Store, name: str, digest: Digest, blobs: Sequence[Digest] | None) -> None:
    archive = store.temporary / secrets.token_hex(8)
    with files.os_errors(f"write to the store at {store.root}"):
        try:
            with archive.open("xb") as stream:
                for piece in oci_archive(store, {name: digest}, blobs=blobs):
                    stream.write(piece)
            process.run(["ctr", "images", "import", archive], timeout=_LOAD_SECONDS)
        finally:
            archive.unlink(missing_ok=True)
