"""Reading and hashing many files, several at a time, and noticing any that changes meanwhile.

A large file is worth a thread. With small ones the work is system calls and bookkeeping, for which the threads of one
interpreter wait for each other: 100,000 files of 4 KiB took 0.64 s in one thread and 1.1 s in two. So where there are
many of them, other processes read them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence

from repro_env.data import reader
from repro_env.data.reader import DIGEST_SIZE, NOTHING, RECORD, read_file
from repro_env.data.tree import changed, steady, unpacked
from repro_env.edges import process
from repro_env.errors import ToolError

_LARGE = 128 << 10
"""Bytes from which on a file is worth a thread."""

_BATCH = 256
_ALONE = 2048
"""Small files that take less time than another process takes to start."""

_SLOW = 0.00006
"""Seconds a small file takes when a disk or a server is waited for, so that more at a time pay than there are cores:
100,000 files, none of them in the page cache, took 12.1 s one by one and 4.0 s six at a time."""

Item = tuple[bytes, bytes]
"""A name below the root, and the `RECORD` that the file must still have once it was read."""

Progress = Callable[[int], None]


def hash_files(root: bytes, items: Sequence[Item], *, workers: int, progress: Progress) -> dict[bytes, bytes]:
    """Return the raw SHA-256 of each file below `root` by its name; `progress` is told of bytes as they are read.

    Large files, and small ones where a disk is waited for, are read `workers` at a time, the others as many as there
    are cores. Errors: `StoreError` for a file that cannot be read, `VerificationError` for one that is no longer what
    its record says.
    """
    sizes = [fields[0] for fields in unpacked(expected for _name, expected in items)]
    large = [[item] for item, size in zip(items, sizes, strict=True) if size >= _LARGE]
    small = [item for item, size in zip(items, sizes, strict=True) if size < _LARGE]
    batches = deque(small[start : start + _BATCH] for start in range(0, len(small), _BATCH))
    cores = min(workers, len(os.sched_getaffinity(0)))
    digests: dict[bytes, bytes] = {}
    quick = _hash_here(root, batches, len(small) if cores == 1 else _ALONE, digests, progress)
    if not (large or batches):
        return digests
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - with logging, which a small output does without

    pool = ThreadPoolExecutor(workers)
    try:
        helpers = (cores if quick else workers) if batches else 0
        running = [pool.submit(_hash_there, root, batches, progress) for _ in range(helpers)]
        running += [pool.submit(_hash_batch, root, batch, progress) for batch in large]
        for one in running:
            digests.update(one.result())
    finally:
        batches.clear()
        pool.shutdown(cancel_futures=True)
    return digests


def _hash_here(
    root: bytes, batches: deque[list[Item]], most: int, digests: dict[bytes, bytes], progress: Progress
) -> bool:
    """Hash batches, of so many files at most, until something had to be waited for; return whether nothing had."""
    while batches and most > 0:
        batch = batches.popleft()
        began = time.perf_counter()
        digests.update(_hash_batch(root, batch, progress))
        if time.perf_counter() - began > _SLOW * len(batch):
            return False
        most -= len(batch)
    return True


def _hash_there(root: bytes, batches: deque[list[Item]], progress: Progress) -> list[tuple[bytes, bytes]]:
    """Have batches hashed by another process until none is left."""
    found: list[tuple[bytes, bytes]] = []
    helper = _helper()
    while batch := _next(batches):
        digests = _asked(helper, root, batch) if helper else [NOTHING] * len(batch)
        found += [
            # What the other process did not read is read here, which tells why.
            (name, hash_file(root, name, expected, progress) if digest == NOTHING else digest)
            for (name, expected), digest in zip(batch, digests, strict=True)
        ]
        progress(_size(batch))
    return found


def _next(batches: deque[list[Item]]) -> list[Item]:
    try:
        return batches.popleft()
    except IndexError:
        return []


def _helper() -> process.Asked | None:
    """Return a process that reads files, or None where none can be started."""
    with contextlib.suppress(ToolError):
        return process.Asked([sys.executable, "-I", "-S", reader.__file__])
    return None


def _asked(helper: process.Asked, root: bytes, batch: Sequence[Item]) -> list[bytes]:
    names, records = zip(*batch, strict=True)
    answer = b""
    with contextlib.suppress(ToolError):
        answer = helper.ask(reader.request(root, names, records)).read(DIGEST_SIZE * len(batch))
    answer = answer.ljust(DIGEST_SIZE * len(batch), b"\0")  # of a process that ended
    return [answer[start : start + DIGEST_SIZE] for start in range(0, len(answer), DIGEST_SIZE)]


def _hash_batch(root: bytes, batch: Sequence[Item], progress: Progress) -> list[tuple[bytes, bytes]]:
    done = [(name, hash_file(root, name, expected, progress)) for name, expected in batch]
    progress(_size(batch))
    return done


def _size(batch: Sequence[Item]) -> int:
    """Return the bytes of the small files of a batch; of large ones, progress is told as they are read."""
    sizes = (fields[0] for fields in unpacked(expected for _name, expected in batch))
    return sum(size for size in sizes if size < _LARGE)


def hash_file(root: bytes, name: bytes, expected: bytes, progress: Progress) -> bytes:
    """Return the raw SHA-256 of one file; an empty `name` is `root` itself. Errors: as `hash_files`."""
    path = root + b"/" + name if name else root
    large = RECORD.unpack(expected)[0] >= _LARGE
    with steady(path):
        digest = read_file(path, expected, follow=not name, seen=progress if large else None)
    if digest == NOTHING:
        raise changed(path)
    return digest
