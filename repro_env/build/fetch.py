"""Downloading what the store lacks: in parallel, resumed where it stopped, and checked against the lock.

Only bytes whose SHA-256 and size are the pinned ones enter the store, wherever they come from. What breaks off stays in
the store's `partial/` and goes on from there, in this command or the next one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from repro_env.build.fetch_blob import Download
from repro_env.edges import files
from repro_env.edges.http import Http
from repro_env.edges.report import Reporter, Task
from repro_env.errors import FetchError, IntegrityError, ReproError, StoreError
from repro_env.frozen import dataclass
from repro_env.image.store import Store
from repro_env.values import Digest, format_size

_SHOWN = 12  # reasons for failures of one batch that are listed
_NAMED = 4  # files that are named with each of them
_FAREWELL = 0.5  # seconds that the threads get to notice Ctrl-C; what they hold can always be resumed


def _nothing() -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One blob to have in the store.

    `urls` are tried in order, then those that `further` gives, which is asked only when all of `urls` failed.
    `label` is what people know the file by. `size` is in bytes.
    """

    digest: Digest
    size: int
    urls: tuple[str, ...]
    label: str
    further: Callable[[], Iterable[str]] = _nothing


def fetch_all(wanted: Sequence[Wanted], *, store: Store, http: Http, report: Reporter, workers: int = 8) -> None:
    """Have every wanted blob in the store, downloading what it lacks with `workers` threads, largest first.

    One failure does not stop the others. Errors: `IntegrityError` when a server's bytes are not the pinned ones,
    `FetchError` when nothing could be downloaded, both of all files at once; `StoreError`, which stops everything.
    """
    missing = _missing(wanted, store)
    if not missing:
        return
    title = f"downloading {missing[0].label}" if len(missing) == 1 else f"downloading {len(missing)} files"
    with report.task(title, sum(one.size for one in missing)) as task:
        failures = _Batch(missing, store, http, report, task).run(min(workers, len(missing)))
    if failures:
        raise _together(failures, len(missing))


def _missing(wanted: Sequence[Wanted], store: Store) -> list[Wanted]:
    """Return what the store lacks, each blob once with all its URLs, largest first."""
    found: dict[Digest, Wanted] = {}
    for one in wanted:
        if one.digest in found:
            known = found[one.digest]
            found[one.digest] = replace(known, urls=tuple(dict.fromkeys(known.urls + one.urls)))
        elif not store.has(one.digest, one.size):
            found[one.digest] = one
    return sorted(found.values(), key=lambda one: (-one.size, one.label))


class _Batch:
    """The threads that work a list off."""

    def __init__(self, missing: Sequence[Wanted], store: Store, http: Http, report: Reporter, task: Task) -> None:
        self._store, self._http, self._report, self._task = store, http, report, task
        self._todo: queue.SimpleQueue[Wanted] = queue.SimpleQueue()
        for one in missing:
            self._todo.put(one)
        self._done: queue.SimpleQueue[tuple[Wanted, BaseException | None]] = queue.SimpleQueue()
        self._count = len(missing)
        self._stop = threading.Event()

    def run(self, workers: int) -> list[tuple[Wanted, ReproError]]:
        """Work the list off and return what failed."""
        # Daemon threads: one that waits for a silent server must not keep an interrupted command from ending.
        threads = [threading.Thread(target=self._work, daemon=True, name=f"fetch-{n}") for n in range(workers)]
        for thread in threads:
            thread.start()
        try:
            return self._collect()
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(_FAREWELL / workers)

    def _collect(self) -> list[tuple[Wanted, ReproError]]:
        failures: list[tuple[Wanted, ReproError]] = []
        for _ in range(self._count):
            one, error = self._done.get()
            if isinstance(error, StoreError) or (error is not None and not isinstance(error, ReproError)):
                raise error
            if error is not None:
                failures.append((one, error))
        return failures

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                one = self._todo.get_nowait()
            except queue.Empty:
                return
            try:
                self._fetch(one)
            except BaseException as error:  # noqa: BLE001 - carried to the thread that waits and raised there
                self._done.put((one, error))
            else:
                self._done.put((one, None))

    def _fetch(self, one: Wanted) -> None:
        """Have one blob. Another process that is downloading it is waited for."""
        lock = self._store.partial / f"{one.digest.hex}.lock"
        with files.os_errors(f"use the store at {self._store.root}"), files.locked(lock):
            if self._store.has(one.digest, one.size):
                self._task.advance(one.size)
            else:
                self._download(one)
            # Who still waits for the removed file, or has made it anew, finds the blob there and asks no more.
            lock.unlink(missing_ok=True)

    def _download(self, one: Wanted) -> None:
        part = self._store.partial / f"{one.digest.hex}.part"
        failures: list[ReproError] = []
        with Download(part, one.digest, one.size, one.label, self._task, self._stop) as download:
            for url in _places(one):
                try:
                    download.from_url(self._http, url)
                except (FetchError, IntegrityError) as error:
                    failures.append(error)
                    continue
                self._store.adopt(part, one.digest)
                return
        raise _worst(failures) if failures else FetchError(f"cannot download {one.label}", "no address for it is known")


def _places(one: Wanted) -> Iterable[str]:
    yield from one.urls
    yield from (url for url in one.further() if url not in one.urls)


def _worst(failures: Sequence[ReproError]) -> ReproError:
    """Return the one error for a file that none of its URLs gave: wrong bytes weigh more than no bytes."""
    kind = IntegrityError if any(isinstance(error, IntegrityError) for error in failures) else FetchError
    first = next(error for error in failures if isinstance(error, kind))
    others: dict[str, list[ReproError]] = {}
    for error in failures:
        if error is not first:
            others.setdefault(_one_line(error.why), []).append(error)
    tried = [f"also tried: {alike[0].what}{_and_more(len(alike) - 1)}: {why}" for why, alike in others.items()]
    return kind(first.what, "\n".join(filter(None, [first.why, *tried])), first.hint)


def _together(failures: Sequence[tuple[Wanted, ReproError]], total: int) -> ReproError:
    """Return one error for all failed files of a batch of `total`."""
    errors = [error for _, error in failures]
    if len(errors) == 1:
        return errors[0]
    kind = IntegrityError if any(isinstance(error, IntegrityError) for error in errors) else FetchError
    reasons: dict[str, list[tuple[Wanted, ReproError]]] = {}
    for one, error in failures:
        reasons.setdefault(error.why, []).append((one, error))
    lines = [_alike(group) for group in reasons.values()]
    more = sum(map(len, list(reasons.values())[_SHOWN:]))
    lines[_SHOWN:] = [f"and {more} more"] if more else []
    hints = dict.fromkeys(error.hint for error in errors if error.hint)
    return kind(f"{len(errors)} of {total} files could not be downloaded", "\n".join(lines), "; ".join(hints))


def _alike(failures: Sequence[tuple[Wanted, ReproError]]) -> str:
    """Return the lines for files that failed for one reason: an index that is down takes hundreds along."""
    labels = [f"{one.label} ({format_size(one.size)})" for one, _ in failures[:_NAMED]]
    first = failures[0][1]
    return f"{', '.join(labels)}{_and_more(len(failures) - _NAMED)}: {first.what}\n{_indented(first.why)}"


def _and_more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def _one_line(text: str) -> str:
    return ", ".join(text.splitlines())


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())
