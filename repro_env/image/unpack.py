"""Layers unpacked once into trees, and root filesystems put together from trees by hard links.

    trees/DIFF_ID     one layer as files, whiteouts included as they came
    rootfs/KEY        the layers of one image on top of each other; its files are those of the trees

Both appear by rename when they are whole and are never written again: a runtime shows them to a step read-only.
Source of the whiteouts: OCI image specification 1.1, "layer.md", sections "Whiteouts" and "Applying Changesets".
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import os
import secrets
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from isal import igzip, isal_zlib

from repro_env.edges import files
from repro_env.errors import IntegrityError
from repro_env.image.layer import MEDIA_TYPE, Layer
from repro_env.image.store import Store

MOUNT_DIRECTORIES = ("dev", "proc", "run", "sys", "tmp", "repro/code", "repro/input", "repro/output")
"""Directories that every root filesystem has, because a runtime mounts over them and cannot make them itself."""

MOUNT_FILES: Mapping[str, str] = {
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
    "etc/resolv.conf": "",
}
"""Files that every root filesystem has for the same reason, with their content where an image has none."""

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_CHUNK = 1 << 20
_MODE = 0o1777
"""What is kept of a mode. Set-user-ID and set-group-ID bits are not: a sandbox ignores them, but the tree stands on
this machine, where a hostile image's bit would count."""

_NO_HARD_LINK = frozenset((errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP))


def unpack_layer(store: Store, layer: Layer) -> Path:
    """Return the directory that holds one layer's files, unpacked now if it was not before.

    Owners are this process's, devices and pipes are left out. Errors: `IntegrityError` when the layer is not what its
    `diff_id` says, or when an entry would stand outside its directory; `StoreError`.
    """
    tree = store.root / "trees" / layer.diff_id.hex
    if tree.is_dir():
        return tree
    with files.os_errors(f"unpack into the store at {store.root}"), _making(store, tree) as temporary:
        if temporary is not None:
            _unpack(store, layer, temporary)
    return tree


def root_filesystem(store: Store, layers: Sequence[Layer]) -> Path:
    """Return the directory that holds all these layers, lowest first, on top of each other.

    It costs one pass over the layers' directories the first time and nothing later. Errors: as `unpack_layer`.
    """
    root = store.root / "rootfs" / _key(layers)
    if root.is_dir():
        return root
    trees = [unpack_layer(store, layer) for layer in layers]
    with files.os_errors(f"unpack into the store at {store.root}"), _making(store, root) as temporary:
        if temporary is not None:
            for tree in trees:
                _lay_over(tree, temporary)
            _add_mount_points(temporary)
    return root


def _key(layers: Sequence[Layer]) -> str:
    text = repr((MOUNT_DIRECTORIES, sorted(MOUNT_FILES.items()), [layer.diff_id.hex for layer in layers]))
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def _making(store: Store, place: Path) -> Iterator[Path | None]:
    """Give an empty directory that becomes `place` on success; None if another process has made it meanwhile."""
    with store.lock(f"{place.parent.name}-{place.name}"):
        if place.is_dir():
            yield None
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = store.temporary / secrets.token_hex(8)
        temporary.mkdir(mode=0o755)
        try:
            yield temporary
            temporary.chmod(0o755)  # whatever the umask is: another user may run what this one unpacked
            temporary.rename(place)
        finally:
            files.remove_tree(temporary)


# One layer


def _unpack(store: Store, layer: Layer, root: Path) -> None:
    try:
        with _opened(store, layer) as stream:
            hashing = _Hashing(stream)
            with tarfile.open(fileobj=cast(BinaryIO, hashing), mode="r|") as archive:
                _Unpacker(root).unpack(archive)
            hashing.drain()
    except _DAMAGES as error:
        raise IntegrityError(f"layer {layer.digest.short} is damaged", str(error), _DAMAGED_HINT) from error
    if hashing.hexdigest() != layer.diff_id.hex:
        raise IntegrityError(
            f"layer {layer.digest.short} is damaged",
            f"it unpacks to sha256:{hashing.hexdigest()} where {layer.diff_id} was expected",
            _DAMAGED_HINT,
        )


_DAMAGED_HINT = "remove that blob from the store and build again"
_DAMAGES = cast(
    "tuple[type[Exception], ...]", (tarfile.TarError, isal_zlib.error, zlib.error, EOFError, gzip.BadGzipFile)
)


@contextlib.contextmanager
def _opened(store: Store, layer: Layer) -> Iterator[BinaryIO]:
    path = store.blob(layer.digest)
    if layer.media_type != MEDIA_TYPE:
        raise IntegrityError(f"layer {layer.digest.short} is of a kind that cannot be unpacked", layer.media_type)
    with igzip.IGzipFile(path, "rb") as stream:  # type: ignore[no-untyped-call]
        yield cast(BinaryIO, stream)


class _Hashing:
    """A stream that hashes what is read from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read as the stream below does."""
        data = self._stream.read(size)
        self._hash.update(data)
        return data

    def drain(self) -> None:
        """Read to the end: a tar reader stops at the end mark."""
        while self.read(_CHUNK):
            pass

    def hexdigest(self) -> str:
        """Return the digest of what was read."""
        return self._hash.hexdigest()


class _Unpacker:
    """Writes a tar's entries below one directory, and nowhere else.

    Only this process writes there, so what was written is known without asking the file system: an entry whose parent
    is a link of the same layer is refused rather than followed.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._kinds: dict[str, str] = {"": "directory"}
        self._modes: dict[str, int] = {}

    def unpack(self, archive: tarfile.TarFile) -> None:
        """Write every entry, then give directories their modes, which may forbid writing into them."""
        for entry in archive:
            self._add(archive, entry)
        for path in sorted(self._modes, reverse=True):
            os.chmod(self._place(path), self._modes[path])

    def _add(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        path = _safe(entry.name)
        if not path:
            return
        self._make_parents(path)
        if entry.isdir():
            self._add_directory(path, entry.mode)
        elif entry.issparse():
            raise IntegrityError(f"a layer's {path} is a sparse file, whose size nothing bounds")
        elif entry.isreg():
            self._clear(path)
            self._write(archive, entry, path)
            self._kinds[path] = "file"
        elif entry.issym():
            self._clear(path)
            os.symlink(entry.linkname, self._place(path))
            self._kinds[path] = "link"
        elif entry.islnk():
            self._add_hard_link(path, entry)
        # Devices and pipes need root to make, and /dev is the runtime's.

    def _add_directory(self, path: str, mode: int) -> None:
        if self._kinds.get(path) != "directory":
            self._clear(path)
            os.mkdir(self._place(path))
            self._kinds[path] = "directory"
        self._modes[path] = mode & _MODE

    def _add_hard_link(self, path: str, entry: tarfile.TarInfo) -> None:
        target = _safe(entry.linkname)
        if self._kinds.get(target) not in {"file", "link"} or target == path:
            raise IntegrityError(f"a layer's {path} is a hard link to {entry.linkname!r}, which is no file before it")
        self._clear(path)
        os.link(self._place(target), self._place(path), follow_symlinks=False)
        self._kinds[path] = self._kinds[target]

    def _write(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, path: str) -> None:
        content = archive.extractfile(entry)
        assert content is not None, "a regular file has content"
        with open(self._place(path), "xb", buffering=0) as stream:
            shutil.copyfileobj(content, stream, _CHUNK)
            os.fchmod(stream.fileno(), entry.mode & _MODE)

    def _make_parents(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        kind = self._kinds.get(parent)
        if kind == "directory":
            return
        if kind is not None:
            raise IntegrityError(f"a layer's {path} would be written through {parent}, which is a {kind}")
        self._make_parents(parent)
        self._add_directory(parent, 0o755)

    def _clear(self, path: str) -> None:
        """Make room for an entry that comes a second time; a directory that holds something stays."""
        kind = self._kinds.pop(path, None)
        if kind == "directory":
            self._modes.pop(path, None)
            try:
                os.rmdir(self._place(path))
            except OSError as error:
                raise IntegrityError(f"a layer has {path} both as a directory and as something else") from error
        elif kind is not None:
            os.unlink(self._place(path))

    def _place(self, path: str) -> str:
        return f"{self._root}/{path}"


def _safe(name: str) -> str:
    """Return an entry's path with `.` parts removed, "" for the root. Errors: `IntegrityError` if it leads out."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    hidden = {part.removeprefix(_WHITEOUT) for part in parts if part.startswith(_WHITEOUT)}
    if name.startswith("/") or ".." in parts or "\0" in name or hidden & {"", ".", ".."}:
        raise IntegrityError(f"a layer names {name!r}, which stands outside of it")
    return "/".join(parts)


# Layers on top of each other


def _lay_over(source: Path, target: Path) -> None:
    """Put one layer's tree over what the target directory holds from the layers below."""
    shared = _lay_directory_over(str(source), str(target), fresh=False)
    for directory, mode in reversed(shared):
        os.chmod(directory, mode)


def _lay_directory_over(source: str, target: str, *, fresh: bool) -> list[tuple[str, int]]:
    """Do one directory and those below it; `fresh` says that the target was made for it and holds nothing.

    Returns the directories with the modes they are to have once everything is in them.
    """
    with os.scandir(source) as scanned:
        entries = list(scanned)
    modes = [(target, os.stat(source).st_mode & _MODE)]
    if not fresh:
        os.chmod(target, 0o755)  # noqa: S103 - to write into it; its own mode follows
        _apply_whiteouts(entries, target)
    for entry in entries:
        name = entry.name
        place = f"{target}/{name}"
        if entry.is_dir(follow_symlinks=False):
            made = fresh or not os.path.isdir(place) or os.path.islink(place)
            if made:
                if not fresh:
                    files.remove_tree(Path(place))
                os.mkdir(place)
            modes += _lay_directory_over(entry.path, place, fresh=made)
        elif not name.startswith(_WHITEOUT):
            _link_over(entry.path, place, fresh=fresh)
    return modes


def _apply_whiteouts(entries: Sequence[os.DirEntry[str]], target: str) -> None:
    for entry in entries:
        if entry.name == _OPAQUE:
            for below in os.listdir(target):
                files.remove_tree(Path(target, below))
        elif entry.name.startswith(_WHITEOUT):
            files.remove_tree(Path(target, entry.name.removeprefix(_WHITEOUT)))


def _link_over(source: str, place: str, *, fresh: bool) -> None:
    try:
        os.link(source, place, follow_symlinks=False)
    except FileExistsError:
        if fresh:
            raise
        files.remove_tree(Path(place))
        os.link(source, place, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_HARD_LINK:
            raise
        if not fresh:
            files.remove_tree(Path(place))
        shutil.copy2(source, place, follow_symlinks=False)


def _add_mount_points(root: Path) -> None:
    for name in MOUNT_DIRECTORIES:
        _make_real_directory(root, name)
    for name, content in MOUNT_FILES.items():
        _make_real_directory(root, os.path.dirname(name))
        place = root / name
        if place.is_symlink() or not place.is_file():
            files.remove_tree(place)
            place.write_text(content, encoding="ascii")
            place.chmod(0o644)


def _make_real_directory(root: Path, name: str) -> None:
    """Make a directory whose path holds no link, in place of whatever an image has there."""
    place = root
    for part in name.split("/"):
        place /= part
        if place.is_symlink() or not place.is_dir():
            files.remove_tree(place)
            place.mkdir()
            place.chmod(0o755)
