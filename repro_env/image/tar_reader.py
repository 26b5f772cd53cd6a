"""Reading other people's tars, whose headers may say anything.

The standard library's reader believes a header: it takes an extended one of any size into memory, and passes over an
entry that is longer than the archive by reading nothing for ever.
"""

from __future__ import annotations

import tarfile
from typing import BinaryIO, Self, cast

_LONGEST = 1 << 20
"""Bytes of an extended header. Source: Go's `archive/tar`, `maxSpecialFileSize`."""

_EXTENDED = frozenset(
    (
        *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
        *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    )
)
_EMPTY_READS = 8


class BoundedTarInfo(tarfile.TarInfo):
    """An entry whose extended header is of a size that names and attributes may have."""

    def _proc_member(self, archive: tarfile.TarFile) -> Self:
        """Read what belongs to a header block just read. Errors: `tarfile.TarError`.

        The library means it to be overridden (a comment in its source says so). Python 3.11 went by `frombuf`, too, and
        3.13 does no more.
        """
        if self.type in _EXTENDED and self.size > _LONGEST:
            raise tarfile.ReadError(f"an extended header of {self.size} bytes")
        return cast(Self, super()._proc_member(archive))  # type: ignore[misc]  # which typeshed does not list


def stream_tar(stream: BinaryIO, *, odd_names: str = "surrogateescape") -> tarfile.TarFile:
    """Open a tar, to be read once from start to end.

    Names are UTF-8, whatever the locale of this process; `odd_names` is the error handler for those that are not.
    Errors, in all that is done with it: `tarfile.TarError`, `EOFError`, `ValueError`, and what the stream raises.
    """
    ending = cast(BinaryIO, _Ending(stream))
    return tarfile.open(fileobj=ending, mode="r|", encoding="utf-8", errors=odd_names, tarinfo=BoundedTarInfo)


class _Ending:
    """A stream that says so when it is read on beyond its end."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._empty = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._empty = 0 if data else self._empty + 1
        if self._empty > _EMPTY_READS:
            raise EOFError("the archive ends within an entry")
        return data
