"""One `.deb`: its control files at hand, its data unpacked into a spool. Source: deb(5), deb-control(5)."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, BinaryIO, cast

from repro_env.edges.files import os_errors
from repro_env.errors import IntegrityError
from repro_env.frozen import dataclass
from repro_env.image.debian import ar
from repro_env.image.debian.control import Group, parse_relations, parse_stanza
from repro_env.image.debian.spool import CHUNK, Span, Spools
from repro_env.image.decompress import unzstd
from repro_env.image.tar import BLOCK
from repro_env.image.tar_reader import BoundedTarInfo
from repro_env.lock.model import DebianPackage
from repro_env.values import Digest

_CONTROL_LIMIT = 64 << 20
_MALFORMED = (
    *(ValueError, KeyError, EOFError, OverflowError, RecursionError),
    *(lzma.LZMAError, gzip.BadGzipFile, zlib.error, tarfile.TarError),
)
"""What the standard library raises for bytes that are not what they should be."""

_ROOT = "."


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One thing a package holds, at `path` below the root. `content` is a file's, `link` a symlink's target."""

    path: str
    kind: str  # file, directory or symlink
    mode: int
    owner: int
    group: int
    link: str = ""
    content: Span | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deb:
    """A package ready to be put in place. `control` are its control files by name, `fields` those of `control`."""

    name: str
    version: str
    architecture: str
    extra: bool
    fields: Mapping[str, str]
    control: Mapping[str, bytes]
    members: tuple[Member, ...]

    def relations(self, *names: str) -> tuple[Group, ...]:
        """Return what these fields ask for, in their order. Errors: `IntegrityError`."""
        try:
            return tuple(
                group for name in names for group in parse_relations(self.fields.get(name, ""), self.architecture)
            )
        except ValueError as error:
            raise _broken(self.name, str(error)) from error

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def read_deb(package: DebianPackage, blob: Path, spools: Spools) -> Deb:
    """Check a `.deb` against its pin and read it; its data goes to one of `spools`.

    Errors: `IntegrityError` naming the package for bytes other than the pinned ones, a malformed or truncated file, a
    name or link that leaves the root, a device; `StoreError`.
    """
    with os_errors(f"unpack {package.name}"), blob.open("rb") as stream:
        if Digest(hashlib.file_digest(stream, "sha256").hexdigest()) != package.sha256:
            raise IntegrityError(
                f"the store's copy of {package.name} is damaged", str(blob), "remove that file and run again"
            )
        try:
            control_part, data_part = _parts(stream)
            with _opened(stream, control_part) as opened:
                control = _control(opened)
            fields = parse_stanza(control["control"].decode())
            if (fields["package"], fields["version"]) != (package.name, package.version):
                raise ValueError(f"it calls itself {fields['package']} {fields['version']}")
            with _opened(stream, data_part) as opened:
                members = _unpack(opened, spools)
        except _MALFORMED as error:
            raise _broken(package.name, str(error)) from error
    return Deb(
        name=package.name,
        version=package.version,
        architecture=package.architecture,
        extra=package.extra,
        fields=fields,
        control=control,
        members=members,
    )


def _broken(name: str, why: str) -> IntegrityError:
    return IntegrityError(f"{name} is not a valid Debian package", why)


def _parts(stream: BinaryIO) -> tuple[ar.Member, ar.Member]:
    """Return the control and the data member; deb(5) fixes their order and lets later ones be ignored."""
    found = [member for member in ar.members(stream) if not member.name.startswith("_")]
    if len(found) < 3 or found[0].name != "debian-binary":  # noqa: PLR2004 - debian-binary, control, data
        raise ValueError("it does not consist of debian-binary, control.tar and data.tar")
    stream.seek(found[0].offset)
    if not stream.read(found[0].size).startswith(b"2."):
        raise ValueError("it is of another format than 2.x")
    if found[1].name.split(".")[:2] != ["control", "tar"] or found[2].name.split(".")[:2] != ["data", "tar"]:
        raise ValueError(f"it holds {found[1].name} and {found[2].name} instead of control.tar and data.tar")
    return found[1], found[2]


@contextlib.contextmanager
def _opened(stream: BinaryIO, member: ar.Member) -> Iterator[IO[bytes]]:
    """Give a member's decompressed content as a stream."""
    packed = io.BufferedReader(ar.Part(stream, member.offset, member.size), CHUNK)
    match member.name.partition(".tar")[2]:
        case "":
            yield packed
        case ".xz":
            with lzma.open(packed) as unpacked:
                yield unpacked
        case ".gz":
            with gzip.GzipFile(fileobj=packed) as unzipped:
                yield cast("IO[bytes]", unzipped)
        case ".zst":
            with unzstd(cast("BinaryIO", packed)) as opened:
                yield opened
        case _:
            raise ValueError(f"its {member.name} is compressed in a way that deb(5) does not know")


def _control(stream: IO[bytes]) -> dict[str, bytes]:
    data = stream.read(_CONTROL_LIMIT)
    found = {}
    with _tar(io.BytesIO(data)) as archive:
        for info in archive:
            if info.isreg():
                file = archive.extractfile(info)
                assert file is not None
                found[_clean(info.name)] = file.read()
    return found


def _tar(stream: IO[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=stream, mode="r:", encoding="utf-8", errors="strict", tarinfo=BoundedTarInfo)


def _unpack(stream: IO[bytes], spools: Spools) -> tuple[Member, ...]:
    with spools.one() as spool:
        start = spool.tell()
        while piece := stream.read(CHUNK):
            spool.write(piece)
        spool.flush()
        return tuple(_members(spool, start))


def _members(spool: IO[bytes], start: int) -> Iterator[Member]:
    spool.seek(start)
    seen: dict[str, Member] = {}
    with _tar(spool) as archive:
        for info in archive:
            path = _clean(info.name)
            if path == _ROOT:
                continue
            if path in seen:
                raise ValueError(f"it holds {path} twice")
            seen[path] = _member(info, path, spool, seen)
            yield seen[path]
        # The reader takes a damaged header for the end, so look at what it stopped at.
        if os.pread(spool.fileno(), BLOCK, archive.offset) != bytes(BLOCK):
            raise ValueError("its data archive is damaged or cut short")


def _member(info: tarfile.TarInfo, path: str, spool: IO[bytes], seen: Mapping[str, Member]) -> Member:
    mode = info.mode & 0o7777
    if info.isdir():
        return Member(path=path, kind="directory", mode=mode, owner=info.uid, group=info.gid)
    if info.issym():
        _check_link(path, info.linkname)
        return Member(path=path, kind="symlink", mode=0o777, owner=info.uid, group=info.gid, link=info.linkname)
    if info.islnk():
        target = seen.get(_clean(info.linkname))
        if target is None or target.kind != "file":
            raise ValueError(f"its {path} is a hard link to {info.linkname}, which is no file before it")
        content = target.content
    elif info.isreg() and not info.issparse():
        content = Span(spool, info.offset_data, info.size)
    else:
        raise ValueError(f"its {path} is neither file, directory nor link")
    # A step never changes its user: the bits that would let it are dropped.
    return Member(path=path, kind="file", mode=mode & 0o1777, owner=info.uid, group=info.gid, content=content)


def _clean(name: str) -> str:
    """Return a member's name without the leading `./`. Errors: `ValueError` for one that could leave the root."""
    path = name.removeprefix("./").rstrip("/") or _ROOT
    if path == _ROOT:
        return path
    if any(part in {"", ".", ".."} for part in path.split("/")):
        raise ValueError(f"it holds the name {name!r}, which leaves its root or is not plain")
    return path


def _check_link(path: str, target: str) -> None:
    """Refuse a relative symlink that climbs above the root. An absolute one stays in the image by itself."""
    if not target:
        raise ValueError(f"its {path} is a link to nothing")
    depth = path.count("/")
    if target.startswith("/"):
        return
    for part in target.split("/"):
        if part == "..":
            depth -= 1
        elif part not in {"", "."}:
            depth += 1
        if depth < 0:
            raise ValueError(f"its {path} is a link to {target}, which leaves the root")
