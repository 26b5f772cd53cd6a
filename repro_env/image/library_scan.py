"""The libraries of a layer that was not made here, read from its blob once: image bases, and what has no wheel."""

from __future__ import annotations

import contextlib
import io
import posixpath
import re
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, BinaryIO, cast

from repro_env.edges import files
from repro_env.errors import IntegrityError
from repro_env.image import tar
from repro_env.image.base import MEDIA_TYPES
from repro_env.image.decompress import DAMAGES, decompressed
from repro_env.image.layer import Layer
from repro_env.image.libraries import (
    LayerLibraries,
    LibraryObserver,
    is_configuration,
    is_link_of_interest,
    recall_libraries,
    remember_libraries,
)
from repro_env.image.store import Store
from repro_env.image.tar_reader import stream_tar

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_CHUNK = 1 << 18
_CONFIGURATION_LIMIT = 1 << 16
_RECORD = ".dist-info/RECORD"
_RECORD_LIMIT = 16 << 20


def libraries_of_layer(store: Store, layer: Layer) -> LayerLibraries | None:
    """Return what a layer holds, remembered or read now; None where its blob is not here or cannot be read here.

    Errors: `IntegrityError` when the layer is damaged, `StoreError`.
    """
    known = recall_libraries(store, layer.digest)
    if known is not None or layer.media_type not in MEDIA_TYPES or not store.has(layer.digest):
        return known
    name = f"layer {layer.digest.short}"
    with store.reading(layer.digest, name) as path, files.os_errors(f"read the store at {store.root}"):
        try:
            found = _Scan(path, layer.media_type).libraries()
        except DAMAGES as error:  # some of these are errors of the system, too
            raise IntegrityError(f"{name} is damaged", str(error)) from error
    remember_libraries(store, layer.digest, found)
    return found


class _Scan:
    """One pass over a layer's tar."""

    def __init__(self, path: Path, media_type: str) -> None:
        self._path = path
        self._media_type = media_type
        self._place: dict[str, tuple[int, int]] = {}
        self._observer = LibraryObserver(package=lambda _path: "", again=self._again)
        self._links: dict[str, str] = {}
        self._hard_links: dict[str, str] = {}
        self._configuration: dict[str, str] = {}
        self._packages: dict[str, str] = {}
        self._removed: list[str] = []
        self._emptied: list[str] = []

    def libraries(self) -> LayerLibraries:
        # What is noted is text: a name that is none is written with escapes, in every layer alike.
        with self._opened() as stream, stream_tar(stream, odd_names="backslashreplace") as archive:
            for entry in archive:
                self._entry(archive, entry)
        found = {file.path: replace(file, package=self._packages.get(file.path, "")) for file in self._observer.found}
        linked = [replace(found[target], path=path) for path, target in self._hard_links.items() if target in found]
        return LayerLibraries(
            files=(*found.values(), *linked),
            links=self._links,
            configuration=self._configuration,
            removed=tuple(self._removed),
            emptied=tuple(self._emptied),
        )

    def _entry(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        path = _clean(entry.name)
        folder, _, name = path.rpartition("/")
        if name == _OPAQUE:
            self._emptied.append(folder)
        elif name.startswith(_WHITEOUT):
            self._removed.append(f"{folder}/{name.removeprefix(_WHITEOUT)}".lstrip("/"))
        elif entry.issym() and is_link_of_interest(path):
            self._links[path] = entry.linkname
        elif entry.islnk():
            self._hard_links[path] = _clean(entry.linkname)
        elif entry.isreg() and not entry.issparse():
            content = archive.extractfile(entry)
            assert content is not None
            self._file(path, entry, content)

    def _file(self, path: str, entry: tarfile.TarInfo, content: IO[bytes]) -> None:
        if is_configuration(path):
            self._configuration[path] = content.read(_CONFIGURATION_LIMIT).decode(errors="replace")
            return
        if path.endswith(_RECORD):
            self._packages.update(_recorded(path, content.read(_RECORD_LIMIT)))
            return
        first = content.read(_CHUNK)
        sink = self._observer.begin(tar.Entry(path=path, size=entry.size), first)
        if sink is None:
            return
        self._place[path] = (entry.offset_data, entry.size)
        piece = first
        while piece:
            sink.feed(piece)
            piece = content.read(_CHUNK)
        sink.close()

    def _again(self, path: str) -> Iterator[bytes]:
        """Stream one file's content from the layer once more."""
        start, left = self._place[path]
        with self._opened() as stream:
            while start > 0:
                start -= len(stream.read(min(start, _CHUNK))) or start
            while left > 0 and (piece := stream.read(min(left, _CHUNK))):
                left -= len(piece)
                yield piece

    @contextlib.contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        with self._path.open("rb") as blob, decompressed(blob, self._media_type) as stream:
            yield cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", stream), _CHUNK))


def _recorded(path: str, content: bytes) -> Iterator[tuple[str, str]]:
    """Yield what may be a library or a program of an installed Python package, with the package's name and version.

    Source: PyPA specification "Recording installed projects".
    """
    site, _, folder = path.removesuffix(_RECORD).rpartition("/")
    name, _, version = folder.rpartition("-")
    package = f"{re.sub('[-_.]+', '-', name).lower()} {version}"
    for line in content.decode(errors="replace").splitlines():
        place = line.partition(",")[0]
        if ".so" in place or place.startswith("../"):
            yield posixpath.normpath(f"{site}/{place}"), package


def _clean(name: str) -> str:
    """Return a member's name as a path below the root. What leaves the root leads to nothing: it is never opened."""
    return "/".join(part for part in name.split("/") if part not in {"", "."})
