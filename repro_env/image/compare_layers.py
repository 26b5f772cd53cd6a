"""Two layers held against each other, entry by entry, as their tars stream past.

Each tar is read once for what its entries are, with contents as digests, so that the size of a file never decides how
much memory is used; the one content that differs first is read again, to say from which byte on.
"""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import IO, BinaryIO

from repro_env.edges.files import os_errors
from repro_env.errors import IntegrityError
from repro_env.frozen import dataclass
from repro_env.image.base import oci_media_type
from repro_env.image.decompress import DAMAGES, decompressed
from repro_env.image.difference import Difference
from repro_env.image.tar_reader import stream_tar
from repro_env.values import Digest

_CHUNK = 1 << 20
_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hard link",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
    tarfile.FIFOTYPE: "pipe",
}

_Key = tuple[str, int]
"""An entry's path, and how often it came before in the same tar."""

_Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A layer of an image in a store: `number` counts from 1 at the lowest, `comment` says what it holds."""

    path: Path
    digest: Digest
    diff_id: Digest
    size: int
    media_type: str
    number: int
    comment: str = ""

    @property
    def name(self) -> str:
        """What people know the layer by."""
        return f"layer {self.number} ({self.comment})" if self.comment else f"layer {self.number}"


def compare_layers(one: Blob, two: Blob) -> Difference:
    """Return the first difference of two layers whose digests differ, and how many more there are.

    What is not in a store cannot be looked into: then the digests are the difference. Errors: `IntegrityError` for a
    damaged layer, `StoreError`.
    """
    digests = Difference(one.name, field="digest", here=str(one.digest), there=str(two.digest))
    if not (one.path.exists() and two.path.exists()):
        return digests
    if one.diff_id == two.diff_id:
        return _byte_difference(one, two, "the same files, compressed differently: blob")
    mine, theirs = dict(_entries(one)), dict(_entries(two))
    found = _entry_difference(one, two, mine, theirs) or _order_difference(one, mine, theirs)
    return found or _tar_difference(one, two)


def _entry_difference(
    one: Blob, two: Blob, mine: Mapping[_Key, _Fields], theirs: Mapping[_Key, _Fields]
) -> Difference | None:
    keys = dict.fromkeys([*mine, *theirs])
    wrong = [key for key in keys if mine.get(key) != theirs.get(key)]
    if not wrong:
        return None
    key = wrong[0]
    path, left, right = key[0], mine.get(key), theirs.get(key)
    if left is None or right is None:
        found = Difference(one.name, path, here=_presence(left), there=_presence(right))
    else:
        field = next(field for field in {**left, **right} if left.get(field) != right.get(field))
        found = Difference(one.name, path, field, left.get(field, "none"), right.get(field, "none"))
        if field in {"size", "content"} and left["kind"] == right["kind"] == "file":
            found = replace(found, field=f"{field}, from byte {_first_byte(one, two, key)} on,")
    return replace(found, more=len(wrong) - 1)


def _presence(fields: _Fields | None) -> str:
    return f"a {fields['kind']}" if fields else "nothing"


def _order_difference(one: Blob, mine: Mapping[_Key, _Fields], theirs: Mapping[_Key, _Fields]) -> Difference | None:
    for here, there in zip(mine, theirs, strict=True):
        if here != there:
            return Difference(one.name, field="order: next is", here=here[0], there=there[0])
    return None


def _tar_difference(one: Blob, two: Blob) -> Difference:
    """Return the difference of two tars that hold the same: how a header is written, or what follows the end."""
    with _opened(one) as mine, _opened(two) as theirs:
        return _stream_difference(one.name, "the same files, written differently: tar", mine, theirs)


def _byte_difference(one: Blob, two: Blob, what: str) -> Difference:
    with os_errors("read the store"), one.path.open("rb") as mine, two.path.open("rb") as theirs:
        return _stream_difference(one.name, what, mine, theirs)


def _stream_difference(name: str, what: str, mine: IO[bytes], theirs: IO[bytes]) -> Difference:
    at = _parting(_chunks(mine), _chunks(theirs))
    field = f"{what} from byte {at} on"
    return Difference(name, field=field, here="one way", there="another way")


def _first_byte(one: Blob, two: Blob, key: _Key) -> int:
    with _content(one, key) as mine, _content(two, key) as theirs:
        return _parting(_chunks(mine), _chunks(theirs))


def _parting(mine: Iterator[bytes], theirs: Iterator[bytes]) -> int:
    """Return the offset of the first byte in which two streams differ, cut into pieces of one size."""
    start = 0
    for left, right in zip_longest(mine, theirs, fillvalue=b""):
        if left != right:
            shorter = min(len(left), len(right))
            return start + next((at for at in range(shorter) if left[at] != right[at]), shorter)
        start += len(left)
    return start


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield a stream in pieces of one size, the last one shorter, however much one read gives."""
    while True:
        parts, left = [], _CHUNK
        while left and (part := stream.read(left)):
            parts.append(part)
            left -= len(part)
        if not parts:
            return
        yield b"".join(parts)


def _entries(layer: Blob) -> Iterator[tuple[_Key, _Fields]]:
    """Yield what each entry of a layer is, in their order. Errors: `IntegrityError`, `StoreError`."""
    for key, entry, archive in _walk(layer):
        fields = {
            "kind": _KINDS.get(entry.type, f"type {entry.type!r}"),
            "mode": f"{entry.mode:04o}",
            "owner": f"{entry.uid}:{entry.gid}",
            "names": f"{entry.uname}:{entry.gname}",
            "time": f"{entry.mtime:.9f}".rstrip("0").rstrip("."),
            "size": f"{entry.size} bytes",
        }
        if entry.linkname:
            fields["link to"] = entry.linkname
        if entry.isreg():
            with _damage_told(layer):
                fields["content"] = f"sha256:{_digest(archive, entry)}"
        if entry.isdev():
            fields["device"] = f"{entry.devmajor}:{entry.devminor}"
        attributes = {name: value for name, value in entry.pax_headers.items() if name not in tarfile.PAX_FIELDS}
        yield key, fields | {f"attribute {name}": value for name, value in sorted(attributes.items())}


def _digest(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> str:
    content = archive.extractfile(entry)
    assert content is not None, "a regular file has content"
    digest = hashlib.sha256()
    while piece := content.read(_CHUNK):
        digest.update(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def _content(layer: Blob, wanted: _Key) -> Iterator[IO[bytes]]:
    for key, entry, archive in _walk(layer):
        if key == wanted:
            content = archive.extractfile(entry)
            assert content is not None, "a regular file has content"
            with _damage_told(layer):
                yield content
            return


def _walk(layer: Blob) -> Iterator[tuple[_Key, tarfile.TarInfo, tarfile.TarFile]]:
    seen: dict[str, int] = {}
    with _opened(layer) as stream, stream_tar(stream, odd_names="backslashreplace") as archive:
        for entry in archive:
            path = entry.name.removeprefix("./")
            count = seen.get(path, 0)
            seen[path] = count + 1
            yield (path, count), entry, archive


@contextlib.contextmanager
def _opened(layer: Blob) -> Iterator[BinaryIO]:
    with (
        os_errors(f"read {layer.path}"),
        layer.path.open("rb") as blob,
        _damage_told(layer),
        decompressed(blob, oci_media_type(layer.media_type)) as stream,
    ):
        yield stream


@contextlib.contextmanager
def _damage_told(layer: Blob) -> Iterator[None]:
    """Turn what reading a damaged layer raises into `IntegrityError`; what a generator gave is read outside of it."""
    try:
        yield
    except DAMAGES as error:
        raise IntegrityError(f"{layer.name} is damaged", f"{layer.path}: {error}") from error
