"""What a data input is: its digest, the number of its files and their size."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path

from repro_env.data.cache import Remembered, StatCache
from repro_env.data.hashing import hash_files
from repro_env.data.select import EVERYTHING, Selection
from repro_env.data.tree import Scan, Tree, changed, is_file, leaves, listed, scan, scan_file, shown, steady, unpacked
from repro_env.edges.files import os_errors, write_atomically
from repro_env.edges.report import Reporter, Silent
from repro_env.errors import StoreError, VerificationError
from repro_env.frozen import dataclass
from repro_env.lock.model import LockedData
from repro_env.values import Digest

_UNREAD = b""
_NEW = (b"", _UNREAD)
"""What is known of a file that was not there: a record that none has, and no digest."""

_WORTH_SHOWING = 32 << 20
"""Bytes; what is read faster than a person can look needs no progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A file or directory, measured.

    `kind` is `file`, whose digest is of its content, or `directory`, whose digest is of its manifest. `files` counts
    files and links, `size` the bytes of the files. Of a directory, `selection` is what counted.
    """

    kind: str
    digest: Digest
    files: int
    size: int
    tree: Tree
    selection: Selection = EVERYTHING

    def manifest(self) -> bytes:
        """Return the manifest of a directory; of a file, nothing."""
        return self.tree.manifest() if self.kind == "directory" else b""

    def locked(self, name: str, path: str) -> LockedData:
        """Return this as a lock pins it."""
        digest, files, size = self.digest, self.files, self.size
        return LockedData(name=name, path=path, kind=self.kind, digest=digest, files=files, size=size)


def measure(
    path: Path,
    *,
    reporter: Reporter,
    cache: StatCache | None = None,
    selection: Selection = EVERYTHING,
    trust: bool = True,
    workers: int | None = None,
) -> Measured:
    """Measure a file or directory, which may be reached through a link; links below a directory are not followed.

    What `cache` knows to be unchanged is not read again; without `trust` everything is, and the cache is renewed.
    Of a directory, what is not of the `selection` does not count; a file counts whole.
    `workers` threads read where that pays, by default four more than there are cores, because some wait for a disk.
    Errors: `VerificationError` for what is absent, is neither file nor directory, holds a link that leaves it, or
    changes meanwhile; `StoreError` for what cannot be read.
    """
    root = os.fsencode(path)
    kind = _kind(path)
    began = time.time_ns()
    found = _selected(root, selection) if kind == "directory" else scan_file(root)
    known = cache.recall(root, selection.key) if cache and trust else None
    if known and _unchanged(known.tree, found):
        return _measured(kind, known, selection)
    tree = _read(root, found, known.tree if known else None, reporter, workers or (os.cpu_count() or 1) + 4)
    _still(root, found, selection)
    fresh = Remembered(tree=tree, digest=_digest(kind, tree), size=tree.size)
    if cache:
        cache.remember(root, fresh, began=began, selection=selection.key)
    return _measured(kind, fresh, selection)


def keep_manifest(directory: Path, measured: Measured) -> None:
    """Keep a directory's manifest as `directory/HEX`, so that a later difference can be told file by file.

    Errors: `StoreError`.
    """
    place = directory / measured.digest.hex
    if measured.kind == "directory" and not place.exists():
        write_atomically(place, measured.manifest())


def _kind(path: Path) -> str:
    try:
        with os_errors(f"look at {path}"):
            mode = os.stat(path).st_mode
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            raise VerificationError(f"{path} does not exist", hint="put the data there, or correct its path") from error
        raise
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise VerificationError(f"{path} is neither a file nor a directory")
    return "directory" if stat.S_ISDIR(mode) else "file"


def _selected(root: bytes, selection: Selection) -> Scan:
    found = scan(root, selection)
    if not (found.names or selection.takes_all):
        raise nothing_selected(shown(root), selection)
    return found


def nothing_selected(name: str, selection: Selection) -> VerificationError:
    """Return the error for globs that leave nothing over."""
    globs = [*(f"include {glob}" for glob in selection.include), *(f"exclude {glob}" for glob in selection.exclude)]
    return VerificationError(f"of {name} nothing is left to count", listed(globs), "correct include and exclude")


def _measured(kind: str, known: Remembered, selection: Selection) -> Measured:
    tree = known.tree
    return Measured(
        kind=kind, digest=known.digest, files=len(tree.names), size=known.size, tree=tree, selection=selection
    )


def _unchanged(known: Tree, found: Scan) -> bool:
    return known.records == found.records and known.names == found.names


def _digest(kind: str, tree: Tree) -> Digest:
    return Digest.of(tree.manifest()) if kind == "directory" else Digest(tree.digests[0].hex())


def _read(root: bytes, found: Scan, known: Tree | None, reporter: Reporter, workers: int) -> Tree:
    """Return the tree of a scan, reading only what `known` does not hold as it is now."""
    names, records = found.names, found.records
    digests = _still_valid(found, known) if known else [_UNREAD] * len(names)
    files = [is_file(fields[-1]) for fields in unpacked(records)]
    missing = [number for number, digest in enumerate(digests) if digest == _UNREAD and files[number]]
    wanted = [records[number] for number in missing]
    size = sum(fields[0] for fields in unpacked(wanted))
    visible = reporter if size >= _WORTH_SHOWING else Silent()
    with visible.task(f"reading {os.path.basename(shown(root))}", size) as task:
        read = hash_files(root, [names[number] for number in missing], wanted, workers=workers, progress=task.advance)
    for number, digest in zip(missing, read, strict=True):
        digests[number] = digest
    links = [number for number, file in enumerate(files) if not file]
    targets = _links(root, [names[number] for number in links])
    for number in links:
        digests[number] = hashlib.sha256(targets[names[number]]).digest()
    return Tree(names=names, records=records, digests=digests, targets=targets)


def _still_valid(found: Scan, known: Tree) -> list[bytes]:
    """Return the digest of each name whose record is what it was, and `_UNREAD` for the others."""
    before = dict(zip(known.names, zip(known.records, known.digests, strict=True), strict=True))
    pairs = ((before.get(name, _NEW), item) for name, item in zip(found.names, found.records, strict=True))
    return [digest if earlier == item else _UNREAD for (earlier, digest), item in pairs]


def _links(root: bytes, names: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the targets of links. Errors: `VerificationError` that names those which leave the directory."""
    targets: dict[bytes, bytes] = {}
    for name in names:
        with steady(root + b"/" + name):
            targets[name] = os.readlink(root + b"/" + name)
    leaving = [f"{shown(name)} -> {shown(target)}" for name, target in targets.items() if leaves(name, targets)]
    if leaving:
        raise VerificationError(
            f"{shown(root)} holds links that leave it",
            listed(leaving),
            "what they lead to would not be pinned: copy it in, or declare it as data of its own",
        )
    return targets


def _still(root: bytes, found: Scan, selection: Selection) -> None:
    """Check that no file came, went or was renamed while the others were read. Errors: `VerificationError`."""
    for prefix, modified in found.directories.items():
        place = root + b"/" + prefix
        with steady(place):
            now = os.stat(place).st_mtime_ns
        if now == modified:
            continue
        again = scan(root, selection)  # what came or went may be nothing that counts
        if (again.names, again.records) != (found.names, found.records):
            raise changed(place)
        return
