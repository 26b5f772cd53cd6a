"""A wheel written anew so that its bytes depend on what it holds and on nothing else.

Two builds of the same sources give archives that differ in times, in the order of members, in the bits of a umask and
in what a version of zlib makes of the same content. Here members are sorted, the `.dist-info` directory last as the
specification of wheels recommends, stored without compression, with one time and two modes; RECORD is written from
what is there. What stands in the files is the build's own: two builds that differ there stay different.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from repro_env.errors import BuildError
from repro_env.image.archive import Archive, Member
from repro_env.lock.model import BuiltWheel
from repro_env.values import Digest

_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip archive can name
_UNIX = 3
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")  # of a RECORD that is no longer there
_LARGE = 1 << 31
_CHUNK = 1 << 20


def write_plain(source: Path, file: str, target: BinaryIO) -> BuiltWheel:
    """Write the wheel at `source`, called `file`, to a seekable `target`, and return what it is then.

    Byte code is left out: it holds times and paths of the machine that made it. Errors: `IntegrityError` when the
    archive is damaged or hostile, `BuildError` when it is no wheel.
    """
    start = target.tell()
    with Archive(source, file) as archive:
        info = _info(archive)
        members = [member for member in archive.members if _belongs(member.name, info)]
        contents = []
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as written:
            for member in sorted(members, key=lambda member: (member.name.startswith(f"{info}/"), member.name)):
                sha256 = _copy(archive, member, written)
                contents.append((member.name, sha256, member.size))
            record = _record(contents, f"{info}/RECORD")
            written.writestr(_head(f"{info}/RECORD", executable=False), record)
    contents.append((f"{info}/RECORD", Digest.of(record), len(record)))
    target.flush()
    sha256, size = _measured(target, start)
    return BuiltWheel(
        file=file,
        sha256=sha256,
        size=size,
        contents=tuple(sorted((name, digest) for name, digest, _size in contents)),
    )


def _measured(stream: BinaryIO, start: int) -> tuple[Digest, int]:
    stream.seek(start)
    digest, size = hashlib.sha256(), 0
    while piece := stream.read(_CHUNK):
        digest.update(piece)
        size += len(piece)
    return Digest(digest.hexdigest()), size


def differing_files(before: BuiltWheel, after: BuiltWheel) -> Iterator[str]:
    """Yield, for people, each file in which two wheels differ; RECORD, which always does then, is left out."""
    old, new = dict(before.contents), dict(after.contents)
    for path in sorted({*old, *new}):
        if path.endswith(".dist-info/RECORD") or old.get(path) == new.get(path):
            continue
        change = "is new" if path not in old else "is missing" if path not in new else "has other content"
        yield f"{path} {change}"


def _info(archive: Archive) -> str:
    """Return the wheel's one `.dist-info` directory."""
    try:
        parse_wheel_filename(archive.label)
    except InvalidWheelFilename as error:
        raise BuildError(f"the build gave {archive.label}", str(error)) from error
    tops = {member.name.partition("/")[0] for member in archive.members if "/" in member.name}
    found = sorted(top for top in tops if top.endswith(".dist-info"))
    if len(found) != 1:
        raise BuildError(f"the build gave {archive.label}, which is no wheel", f"it has {len(found)} .dist-info")
    return found[0]


def _belongs(name: str, info: str) -> bool:
    top, _, rest = name.partition("/")
    if top == info and rest in {"RECORD", *_SIGNATURES}:
        return False
    return "__pycache__" not in name.split("/") and not name.endswith((".pyc", ".pyo"))


def _copy(archive: Archive, member: Member, written: zipfile.ZipFile) -> Digest:
    digest = hashlib.sha256()
    head = _head(member.name, executable=member.executable)
    head.file_size = member.size
    with written.open(head, "w", force_zip64=member.size >= _LARGE) as stream:
        for piece in archive.content(member):
            digest.update(piece)
            stream.write(piece)
    return Digest(digest.hexdigest())


def _head(name: str, *, executable: bool) -> zipfile.ZipInfo:
    head = zipfile.ZipInfo(name, _TIME)
    head.compress_type = zipfile.ZIP_STORED
    head.create_system = _UNIX
    head.external_attr = (0o100755 if executable else 0o100644) << 16
    return head


def _record(contents: Iterable[tuple[str, Digest, int]], own: str) -> bytes:
    """Return RECORD. Source: PyPA specification "Recording installed projects"."""
    rows = [(name, _recorded(sha256), str(size)) for name, sha256, size in sorted(contents)]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([*rows, (own, "", "")])
    return text.getvalue().encode()


def _recorded(sha256: Digest) -> str:
    return "sha256=" + base64.urlsafe_b64encode(bytes.fromhex(sha256.hex)).rstrip(b"=").decode()
