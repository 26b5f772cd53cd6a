"""A layer, and the writer that makes one: tar entries in, a gzip blob out, both digests known at the end."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import BinaryIO, Protocol

from isal import isal_zlib

from repro_env.errors import IntegrityError
from repro_env.frozen import dataclass
from repro_env.image import deflate, tar
from repro_env.image.batches import Batches
from repro_env.image.inflate import Inflater
from repro_env.values import Digest

MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"

_CHUNK = 1 << 20
_BESIDE_FROM = 4 << 20
"""Bytes of a content whose own digest is worth a thread: the tar's and the blob's have theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A deterministic tar: `digest` and `size` are of the compressed blob, `diff_id` and `unpacked` of the tar."""

    digest: Digest
    diff_id: Digest
    size: int
    unpacked: int
    media_type: str = MEDIA_TYPE
    comment: str = ""  # what it holds, for the image's history: "torch 2.13.0"


@dataclass(frozen=True, slots=True)
class Deflated:
    """A content that stands somewhere as a DEFLATE stream, with what its container says of it."""

    stream: Iterable[bytes]
    crc: int
    size: int


class Sink(Protocol):
    """Takes one file's content as it passes."""

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""

    def close(self) -> None:
        """Take the file as ended; it was whole. A file that turns out damaged is never closed."""


class Observer(Protocol):
    """Looks at the content of files on their way into a layer. It cannot change a byte of it."""

    def begin(self, entry: tar.Entry, first: bytes) -> Sink | None:
        """Say, from a file's first piece, who takes its content, that piece included; None if nobody."""


class LayerWriter:
    """Writes entries to a stream, in the order given, and knows both digests when it is finished.

    Content goes in as bytes, as chunks of known total size, or as `Deflated`, whose stream is copied unchanged and
    inflated once, for the `diff_id`. Errors: `IntegrityError` when a content is not of its declared size or CRC-32; it
    is never inflated beyond its declared size. An `observer` is shown what is written by `add_chunks` and
    `add_deflated`.
    """

    def __init__(self, stream: BinaryIO, observer: Observer | None = None) -> None:
        self._observer = observer
        self._blob_digest, self._tar_digest = hashlib.sha256(), hashlib.sha256()
        self._blob = Batches(self._blob_digest.update, stream.write)
        self._tar = Batches(self._tar_digest.update)
        self._size = 0
        self._unpacked = 0
        self._pending: list[bytes] = []  # headers and padding, to be one member

    def add(self, entry: tar.Entry, content: bytes = b"") -> None:
        """Write an entry whose content, if any, is at hand."""
        if len(content) != entry.size:
            raise IntegrityError(f"{entry.path} is {len(content)} bytes where {entry.size} were declared")
        self._head(entry)
        if content:
            self._flush()
            self._tar.add(content)
            self._emit(deflate.stored(content))
            self._pending.append(tar.padding(entry.size))

    def add_chunks(self, entry: tar.Entry, chunks: Iterable[bytes]) -> Digest:
        """Write a file entry from chunks that together are `entry.size` bytes, stored; return the content's digest.

        They are cut anew into pieces of one size, so that the blob does not depend on how they came.
        """
        self._head(entry)
        digest = hashlib.sha256()
        left = entry.size
        watch = _Watch(self._observer, entry)
        for chunk in _recut(chunks):
            left -= len(chunk)
            if left < 0:
                break
            self._flush()
            self._tar.add(chunk)
            digest.update(chunk)
            watch.feed(chunk)
            self._emit(deflate.stored(chunk))
        if left:
            raise IntegrityError(f"{entry.path} is not of the {entry.size} bytes that were declared")
        watch.close()
        self._pending.append(tar.padding(entry.size))
        return Digest(digest.hexdigest())

    def add_deflated(self, entry: tar.Entry, content: Deflated) -> Digest:
        """Copy a DEFLATE stream in as the content of a file, and return the digest of the inflated content."""
        if content.size != entry.size:
            raise IntegrityError(f"{entry.path} is {content.size} bytes where {entry.size} were declared")
        self._head(entry)
        self._flush()
        self._emit(deflate.HEADER)
        inflater = Inflater(content.size, entry.path)
        digest = hashlib.sha256()
        beside = Batches(digest.update) if content.size >= _BESIDE_FROM else None
        take = beside.add if beside else digest.update
        watch = _Watch(self._observer, entry)
        crc = 0
        for compressed in content.stream:
            self._emit(compressed)
            for piece in inflater.feed(compressed):
                self._tar.add(piece)
                take(piece)
                watch.feed(piece)
                crc = isal_zlib.crc32(piece, crc)
        if not inflater.finished or crc != content.crc:
            raise IntegrityError(f"{entry.path} does not inflate to the {content.size} bytes that were declared")
        if beside:
            beside.finish()
        watch.close()
        self._emit(deflate.trailer(content.crc, content.size))
        self._pending.append(tar.padding(content.size))
        return Digest(digest.hexdigest())

    def finish(self, comment: str = "") -> Layer:
        """End the archive and return the layer; nothing can be added after."""
        self._pending.append(tar.END_OF_ARCHIVE)
        self._unpacked += len(tar.END_OF_ARCHIVE)
        self._flush()
        self._blob.finish()
        self._tar.finish()
        return Layer(
            digest=Digest(self._blob_digest.hexdigest()),
            diff_id=Digest(self._tar_digest.hexdigest()),
            size=self._size,
            unpacked=self._unpacked,
            comment=comment,
        )

    def _head(self, entry: tar.Entry) -> None:
        head = tar.header(entry)
        self._pending.append(head)
        self._unpacked += len(head) + entry.size + -entry.size % tar.BLOCK

    def _flush(self) -> None:
        data = b"".join(self._pending)
        self._pending.clear()
        if data:
            self._tar.add(data)
            self._emit(deflate.packed(data))

    def _emit(self, data: bytes) -> None:
        self._blob.add(data)
        self._size += len(data)


class _Watch:
    """Shows an observer one file."""

    __slots__ = ("_begun", "_entry", "_observer", "_sink")

    def __init__(self, observer: Observer | None, entry: tar.Entry) -> None:
        self._observer = observer
        self._entry = entry
        self._sink: Sink | None = None
        self._begun = observer is None

    def feed(self, piece: bytes) -> None:
        if not self._begun and self._observer is not None:
            self._begun = True
            self._sink = self._observer.begin(self._entry, piece)
        if self._sink is not None:
            self._sink.feed(piece)

    def close(self) -> None:
        if self._sink is not None:
            self._sink.close()


def _recut(chunks: Iterable[bytes]) -> Iterable[bytes]:
    """Yield the same bytes in pieces of 1 MiB, the last one shorter."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= _CHUNK:
            yield bytes(waiting[:_CHUNK])
            del waiting[:_CHUNK]
    if waiting:
        yield bytes(waiting)
