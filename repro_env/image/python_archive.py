"""An interpreter's archive to a layer: python-build-standalone's `install_only` builds, at `/opt/python`.

The archive is a gzip'd tar in an order and with owners and times of its own. It is read once, checked like any foreign
archive, and written again: sorted, owned by root, with one time and two modes, its contents stored. So the layer
depends on the archive's contents alone. Left out is what no step can use:

- compiled byte code, which is bound to the times of files that have another time here;
- `site-packages`, where pip stands, with its programs: a virtual environment does not see it;
- test suites of the standard library and static libraries, where a build has them.

Source: https://gregoryszorc.com/docs/python-build-standalone/main/distributions.html, "Install Only Archive"
"""

from __future__ import annotations

import os
import posixpath
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, BinaryIO, cast

from isal import igzip

from repro_env.edges.files import os_errors
from repro_env.errors import IntegrityError
from repro_env.frozen import dataclass
from repro_env.image import tar
from repro_env.image.decompress import DAMAGES
from repro_env.image.layer import Layer, LayerWriter
from repro_env.image.layer_memory import layer_key, recall_layer, remember_layer
from repro_env.image.python_patches import LIMIT, is_patched, patched
from repro_env.image.store import Store
from repro_env.image.tar_reader import stream_tar
from repro_env.lock.model import LAYOUT, Interpreter
from repro_env.lock.places import INTERPRETER
from repro_env.values import format_size

_KIND = "python-layer"
_TOP = "python"
_CHUNK = 1 << 20
_MOST = 2 << 30
"""Bytes that an archive may unpack to; the builds are about 100 MiB."""

_AFTER = 16 << 20
"""Bytes of padding that may follow a tar's end mark."""

_LEFT_OUT = re.compile(
    r"(?:.*/)?__pycache__(?:/.*)?\Z"
    r"|lib/python3\.[0-9]+/site-packages/.+"
    r"|lib/python3\.[0-9]+/(?:[^/]+/)*(?:test|tests|idle_test)(?:/.*)?\Z"
    r"|bin/pip[0-9.]*\Z"
    r"|.*\.a\Z"
)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What stands at one path below the prefix. A file's content is `data`, or in the spool at `offset`."""

    kind: str  # directory, file or symlink
    executable: bool = False
    link: str = ""
    size: int = 0
    offset: int = 0
    data: bytes | None = None


def python_layer(interpreter: Interpreter, store: Store) -> Layer:
    """Return the layer with a Python at `/opt/python`, from the store if it was made before.

    The archive is in the store already. Errors: `IntegrityError` for an archive that is damaged, hostile or of another
    kind, `StoreError`.
    """
    key = layer_key(LAYOUT, interpreter.sha256.hex)
    known = recall_layer(store, _KIND, key)
    if known is not None:
        return known
    with (
        os_errors(f"unpack {interpreter.file}"),
        store.reading(interpreter.sha256, interpreter.file) as archive,
        tempfile.TemporaryFile(dir=store.temporary) as spool,
    ):
        try:
            entries = _read(archive, spool)
            _check_whole(entries, interpreter)
        except IntegrityError as error:
            raise IntegrityError(f"{interpreter.file} is not a usable interpreter", error.what) from error
        except DAMAGES as error:
            raise IntegrityError(f"{interpreter.file} is damaged", str(error)) from error
        layer = _write(entries, spool, store, f"Python {interpreter.version} at {INTERPRETER}")
    remember_layer(store, _KIND, key, layer)
    return layer


def _read(path: Path, spool: IO[bytes]) -> dict[str, _Entry]:
    """Return the archive's entries by path, with what the files hold in the spool."""
    entries: dict[str, _Entry] = {}
    with (
        _inflated(path) as stream,
        stream_tar(stream, odd_names="strict") as archive,
    ):
        for member in archive:
            place = _place(member.name)
            if not place or _LEFT_OUT.match(place):
                continue
            entry = _entry(archive, member, place, entries, spool)
            other = entries.setdefault(place, entry)
            if other is not entry and not other.kind == entry.kind == "directory":
                raise IntegrityError(f"it holds {place} twice")
        _drain(stream)
    return entries


def _inflated(path: Path) -> BinaryIO:
    return cast(BinaryIO, igzip.IGzipFile(path, "rb"))  # type: ignore[no-untyped-call]


def _drain(stream: BinaryIO) -> None:
    """Read what follows the archive's end mark: the last of it is the checksum of all that was read."""
    left = _AFTER
    while piece := stream.read(_CHUNK):
        left -= len(piece)
        if left < 0:
            raise IntegrityError(f"more than {format_size(_AFTER)} follow its end")


def _entry(
    archive: tarfile.TarFile, member: tarfile.TarInfo, place: str, entries: Mapping[str, _Entry], spool: IO[bytes]
) -> _Entry:
    if member.isdir():
        return _Entry("directory")
    if member.issym():
        return _Entry("symlink", link=_link(place, member.linkname))
    if member.islnk():
        target = entries.get(_place(member.linkname))
        if target is None or target.kind != "file":
            raise IntegrityError(f"its {place} is a hard link to {member.linkname!r}, which is no file before it")
        return target
    if not member.isreg() or member.issparse():
        raise IntegrityError(f"its {place} is neither a file, a directory nor a link")
    return _file(archive, member, place, spool)


def _file(archive: tarfile.TarFile, member: tarfile.TarInfo, place: str, spool: IO[bytes]) -> _Entry:
    content = archive.extractfile(member)
    assert content is not None, "a regular file has content"
    executable = bool(member.mode & 0o111)
    offset = spool.tell()
    if offset + member.size > _MOST:
        raise IntegrityError(f"it unpacks to more than {format_size(_MOST)}")
    if is_patched(place) and member.size <= LIMIT:
        data = patched(place, content.read())
        return _Entry("file", executable, size=len(data), data=data)
    while piece := content.read(_CHUNK):
        spool.write(piece)
    if spool.tell() - offset != member.size:
        raise EOFError(f"it ends within {place}")
    return _Entry("file", executable, size=member.size, offset=offset)


def _place(name: str) -> str:
    """Return where an entry stands below `python/`, "" for that itself. Errors: `IntegrityError` if it leads out."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/") or ".." in parts or "\0" in name or parts[:1] != [_TOP]:
        raise IntegrityError(f"it names {name!r}, which does not stand below {_TOP}/")
    return "/".join(parts[1:])


def _link(place: str, target: str) -> str:
    """Return a symlink's target, which stays within the interpreter. Errors: `IntegrityError`.

    No path of the archive leads through a link, and `..` only comes first, so that what the text says is where it goes.
    """
    parts = target.split("/")
    rising = sum(1 for part in parts if part == "..")
    landed = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
    inside = not target.startswith("/") and landed.partition("/")[0] != ".."
    if not target or not inside or parts[:rising] != [".."] * rising:
        raise IntegrityError(f"its {place} is a link to {target!r}, which leads out of it")
    return target


def _check_whole(entries: Mapping[str, _Entry], interpreter: Interpreter) -> None:
    """Check that every entry stands in a directory, and that there is an interpreter."""
    for parent in tar.parents(entries):
        if parent in entries and entries[parent].kind != "directory":
            raise IntegrityError(f"its {parent} is no directory, though entries stand below it")
    program = f"bin/python{interpreter.version.rpartition('.')[0]}"
    found = entries.get(program)
    if found is None or found.kind != "file" or not found.executable:
        raise IntegrityError(f"it has no program {program}")


def _write(entries: Mapping[str, _Entry], spool: IO[bytes], store: Store, comment: str) -> Layer:
    prefix = INTERPRETER.lstrip("/")
    placed = {f"{prefix}/{path}": entry for path, entry in entries.items()}
    placed |= {path: _Entry("directory") for path in tar.parents(placed)}
    spool.flush()
    with store.writing() as (stream, keep):
        writer = LayerWriter(stream)
        for path in sorted(placed, key=str.encode):
            _add(writer, path, placed[path], spool)
        layer = writer.finish(comment)
        keep(layer.digest)
    return layer


def _add(writer: LayerWriter, path: str, entry: _Entry, spool: IO[bytes]) -> None:
    mode = 0o777 if entry.kind == "symlink" else 0o755 if entry.executable or entry.kind == "directory" else 0o644
    head = tar.Entry(path=path, kind=entry.kind, mode=mode, size=entry.size, link=entry.link)
    if entry.kind != "file" or entry.data is not None:
        writer.add(head, entry.data or b"")
    else:
        writer.add_chunks(head, _chunks(spool, entry))


def _chunks(spool: IO[bytes], entry: _Entry) -> Iterator[bytes]:
    for start in range(0, entry.size, _CHUNK):
        yield os.pread(spool.fileno(), min(_CHUNK, entry.size - start), entry.offset + start)
