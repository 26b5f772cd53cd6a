"""Threads that work a list off, and that neither an error nor Ctrl-C has to wait for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor


@contextlib.contextmanager
def thread_pool(workers: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads called `name`; at the end of the block everything submitted is done.

    When the block fails, what has not begun never does. When it is interrupted, what has begun is not waited for
    either: it writes nothing but temporary files, and the process is about to end.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
    try:
        yield pool
    except BaseException as error:
        pool.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
        raise
    pool.shutdown()
