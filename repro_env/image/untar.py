"""The files of one layer, written below one directory and nowhere else."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

from repro_env.errors import IntegrityError
from repro_env.image.decompress import whole_tar
from repro_env.image.layer import Layer
from repro_env.image.overlay import MODE, WHITEOUT
from repro_env.image.store import Store
from repro_env.image.tar_reader import stream_tar

_CHUNK = 1 << 20


def write_layer(store: Store, layer: Layer, root: Path) -> None:
    """Write a layer's files into the empty directory `root`.

    Errors: `IntegrityError` when the layer is not what its `diff_id` says, or has an entry that would stand elsewhere;
    `OSError`.
    """
    with (
        store.blob(layer.digest).open("rb") as blob,
        whole_tar(blob, layer.media_type, layer.diff_id, f"layer {layer.digest.short}") as stream,
        stream_tar(stream) as archive,
    ):
        _Unpacker(root).unpack(archive)


class _Unpacker:
    """Writes a tar's entries below one directory, and nowhere else.

    Only this process writes there, so what was written is known without asking the file system: an entry whose parent
    is a link of the same layer is refused rather than followed.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.fsencode(root)
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
            os.symlink(_encoded(entry.linkname), self._place(path))
            self._kinds[path] = "link"
        elif entry.islnk():
            self._add_hard_link(path, entry)
        # Devices and pipes need root to make, and /dev is the runtime's.

    def _add_directory(self, path: str, mode: int) -> None:
        if self._kinds.get(path) != "directory":
            self._clear(path)
            os.mkdir(self._place(path))
            self._kinds[path] = "directory"
        self._modes[path] = mode & MODE

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
            os.fchmod(stream.fileno(), entry.mode & MODE)

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

    def _place(self, path: str) -> bytes:
        return self._root + b"/" + _encoded(path)


def _encoded(name: str) -> bytes:
    """Return a name as the archive has it: in UTF-8, whatever the locale of this process."""
    return name.encode("utf-8", "surrogateescape")


def _safe(name: str) -> str:
    """Return an entry's path with `.` parts removed, "" for the root. Errors: `IntegrityError` if it leads out."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    hidden = {part.removeprefix(WHITEOUT) for part in parts if part.startswith(WHITEOUT)}
    if name.startswith("/") or ".." in parts or "\0" in name or hidden & {"", ".", ".."}:
        raise IntegrityError(f"a layer names {name!r}, which stands outside of it")
    return "/".join(parts)
