"""Layers unpacked once into trees, and root filesystems put together from trees by hard links.

    trees/DIFF_ID     one layer as files, whiteouts included as they came
    rootfs/KEY        the layers of one image on top of each other; its files are those of the trees

Both appear by rename when they are whole and are never written again: a runtime shows them to a step read-only. One
that was damaged all the same (see `seal`) is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from repro_env.edges import files
from repro_env.edges.report import Reporter, Silent
from repro_env.image.layer import Layer
from repro_env.image.overlay import MOUNT_DIRECTORIES, MOUNT_FILES, add_mount_points, lay_over
from repro_env.image.seal import is_intact, seal
from repro_env.image.store import Store

_SILENT = Silent()


def unpack_layer(store: Store, layer: Layer) -> Path:
    """Return the directory that holds one layer's files, unpacked now if it was not before.

    Owners are this process's, devices and pipes are left out. Errors: `IntegrityError` when the layer is not what its
    `diff_id` says, or when an entry would stand outside its directory; `StoreError`.
    """
    tree = store.root / "trees" / layer.diff_id.hex
    if is_intact(store, tree):
        return tree
    with files.os_errors(f"unpack into the store at {store.root}"), _making(store, tree) as temporary:
        if temporary is not None:
            from repro_env.image.untar import write_layer  # noqa: PLC0415 - what is unpacked already does without

            with store.reading(layer.digest, f"layer {layer.digest.short}"):
                write_layer(store, layer, temporary)
    return tree


def root_filesystem(store: Store, layers: Sequence[Layer], reporter: Reporter = _SILENT) -> Path:
    """Return the directory that holds all these layers, lowest first, on top of each other.

    It costs one pass over the layers' directories the first time and nothing later; what has to be unpacked for it is
    shown. Errors: as `unpack_layer`.
    """
    root = store.root / "rootfs" / _key(layers)
    if is_intact(store, root):
        return root
    trees = _unpack_all(store, layers, reporter)
    with files.os_errors(f"unpack into the store at {store.root}"), _making(store, root) as temporary:
        if temporary is not None:
            for tree in trees:
                lay_over(tree, temporary)
            add_mount_points(temporary)
    return root


def _unpack_all(store: Store, layers: Sequence[Layer], reporter: Reporter) -> list[Path]:
    trees = []
    with reporter.task("unpacking the image", sum(layer.size for layer in layers)) as task:
        for layer in layers:
            trees.append(unpack_layer(store, layer))
            task.advance(layer.size)
    return trees


def _key(layers: Sequence[Layer]) -> str:
    text = repr((MOUNT_DIRECTORIES, sorted(MOUNT_FILES.items()), [layer.diff_id.hex for layer in layers]))
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def _making(store: Store, place: Path) -> Iterator[Path | None]:
    """Give an empty directory that becomes `place` on success; None if another process has made it meanwhile."""
    with store.lock(f"{place.parent.name}-{place.name}"):
        if is_intact(store, place):
            yield None
            return
        files.remove_tree(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = store.temporary / secrets.token_hex(8)
        temporary.mkdir(mode=0o755)
        try:
            yield temporary
            temporary.chmod(0o755)  # whatever the umask is: another user may run what this one unpacked
            seal(store, place, temporary)
            temporary.rename(place)
        finally:
            files.remove_tree(temporary)
