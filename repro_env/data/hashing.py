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
from repro_env.data.ahead import Ahead
from repro_env.data.reader import DIGEST_SIZE, NOTHING, RECORD, read_file
from repro_env.data.tree import changed, steady, unpacked
from repro_env.edges import process
from repro_env.errors import ToolError

_LARGE = 128 << 10
"""Bytes from which on a file is worth a thread."""

_HUGE = 64 << 20
"""Bytes from which on a file is worth another thread, which reads it ahead of the hashing."""

_BATCH = 256
_ALONE = 2048
"""Small files that take less time than another process takes to start."""

_SLOW = 0.00006
"""Seconds a small file takes when a disk or a server is waited for, so that more at a time pay than there are cores:
100,000 files, none of them in the page cache, took 12.1 s one by one and 4.0 s six at a time."""

Progress = Callable[[int], None]


def hash_files(
    root: bytes, names: Sequence[bytes], records: Sequence[bytes], *, workers: int, progress: Progress
) -> list[bytes]:
    """Return the raw SHA-256 of each of these files below `root`; `progress` is told of bytes as they are read.

    `records` has the `RECORD` that each must still have once it was read. Large files, and small ones where a disk is
    waited for, are read `workers` at a time, the others as many as there are cores. Errors: `StoreError` for a file
    that cannot be read, `VerificationError` for one that is no longer what its record says.
    """
    work = _Work(root, names, records, progress)
    large = [[number] for number, size in enumerate(work.sizes) if size >= _LARGE]
    small = [number for number, size in enumerate(work.sizes) if size < _LARGE]
    batches = deque(small[start : start + _BATCH] for start in range(0, len(small), _BATCH))
    cores = min(workers, len(os.sched_getaffinity(0)))
    quick = work.here(batches, len(small) if cores == 1 else _ALONE)
    if not (large or batches):
        return work.digests
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - with logging, which a small output does without

    pool = ThreadPoolExecutor(workers)
    try:
        helpers = (cores if quick else workers) if batches else 0
        running = [pool.submit(work.there, batches) for _ in range(helpers)]
        running += [pool.submit(work.batch, numbers) for numbers in large]
        for one in running:
            one.result()
    finally:
        batches.clear()
        pool.shutdown(cancel_futures=True)
    return work.digests


class _Work:
    """Files, by their numbers in the order they are in, and the digests that are found."""

    def __init__(self, root: bytes, names: Sequence[bytes], records: Sequence[bytes], progress: Progress) -> None:
        self._root, self._names, self._records, self._progress = root, names, records, progress
        self.sizes = [fields[0] for fields in unpacked(records)]
        self.digests = [NOTHING] * len(names)

    def here(self, batches: deque[list[int]], most: int) -> bool:
        """Hash batches, of so many files at most, until something had to be waited for; return whether nothing had."""
        while batches and most > 0:
            numbers = batches.popleft()
            began = time.perf_counter()
            self.batch(numbers)
            self._tell(numbers)
            if time.perf_counter() - began > _SLOW * len(numbers):
                return False
            most -= len(numbers)
        return True

    def there(self, batches: deque[list[int]]) -> None:
        """Have batches hashed by another process until none is left."""
        helper = _helper()
        while numbers := _next(batches):
            for number, digest in zip(numbers, self._asked(helper, numbers), strict=True):
                self.digests[number] = digest
            # What the other process did not read is read here, which tells why.
            self.batch([number for number in numbers if self.digests[number] == NOTHING])
            self._tell(numbers)

    def batch(self, numbers: Sequence[int]) -> None:
        """Hash these files in this thread; of large ones, progress is told as they are read."""
        for number in numbers:
            self.digests[number] = hash_file(self._root, self._names[number], self._records[number], self._progress)

    def _tell(self, numbers: Sequence[int]) -> None:
        self._progress(sum(self.sizes[number] for number in numbers))

    def _asked(self, helper: process.Asked | None, numbers: Sequence[int]) -> list[bytes]:
        size = DIGEST_SIZE * len(numbers)
        names, records = [self._names[number] for number in numbers], [self._records[number] for number in numbers]
        answer = b""
        if helper is not None:
            with contextlib.suppress(ToolError):
                answer = helper.ask(reader.request(self._root, names, records)).read(size)
        if len(answer) != size:  # of a process that ended meanwhile
            return [NOTHING] * len(numbers)
        return [answer[start : start + DIGEST_SIZE] for start in range(0, size, DIGEST_SIZE)]


def _next(batches: deque[list[int]]) -> list[int]:
    try:
        return batches.popleft()
    except IndexError:
        return []


def _helper() -> process.Asked | None:
    """Return a process that reads files, or None where none can be started."""
    with contextlib.suppress(ToolError):
        return process.Asked([sys.executable, "-I", "-S", reader.__file__])
    return None


def hash_file(root: bytes, name: bytes, expected: bytes, progress: Progress) -> bytes:
    """Return the raw SHA-256 of one file; an empty `name` is `root` itself. Errors: as `hash_files`."""
    path = root + b"/" + name if name else root
    size = RECORD.unpack(expected)[0]
    with steady(path):
        if size < _LARGE:
            digest = read_file(path, expected, follow=not name)
        elif size < _HUGE:
            digest = read_file(path, expected, follow=not name, seen=progress)
        else:
            with Ahead(size) as ahead:
                digest = read_file(path, expected, follow=not name, seen=progress, read=ahead.read)
    if digest == NOTHING:
        raise changed(path)
    return digest
