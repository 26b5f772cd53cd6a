"""One blob on its way into the store: resumed from what is on disk, hashed while it comes."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from repro_env.edges.http import Body, Http
from repro_env.edges.report import Task
from repro_env.errors import FetchError, IntegrityError
from repro_env.values import Digest, format_size, strip_credentials

_READ = 1 << 20
_BREAKS = 5
"""Broken connections in a row, each bringing less than `_PROGRESS` bytes, after which a URL is given up."""
_PROGRESS = 1 << 20


class StoppedError(Exception):
    """The command is ending; the partial file stays for the next one. Never leaves the downloading thread."""


class Download:
    """A partial file being completed. Use as a context manager, under the blob's lock.

    `task` hears of each byte once, however often it is sent.
    """

    def __init__(self, part: Path, digest: Digest, size: int, label: str, task: Task, stop: threading.Event) -> None:
        self._part, self._digest, self._size, self._label = part, digest, size, label
        self._task, self._stop = task, stop
        self._hash = hashlib.sha256()
        self._have = 0
        self._shown = 0
        self._inherited = False  # whether bytes here came from somewhere else than the URL being read

    def __enter__(self) -> Self:
        self._part.touch()
        self._stream = self._part.open("r+b", buffering=0)
        self._hash_what_is_there()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        if self._have == 0:
            self._part.unlink(missing_ok=True)

    def from_url(self, http: Http, url: str) -> None:
        """Complete the file from this URL and check it.

        Errors: `FetchError`, after which another URL may go on from here; `IntegrityError`, after which it starts anew.
        """
        if self._have == self._size and self._is_right():
            return
        self._read(http, url)
        if self._inherited and not self._is_right():
            # What an earlier command or another mirror left may be what is wrong: this URL gets a clean try.
            self._restart()
            self._read(http, url)
        if not self._is_right():
            error = self._wrong(url)
            self._restart()
            raise error
        self._inherited = True

    def _read(self, http: Http, url: str) -> None:
        breaks = 0
        while self._have < self._size:
            start = self._have
            with http.open(url, offset=start) as body:
                try:
                    self._take(body, url)
                except FetchError:
                    self._inherited = self._inherited or start > 0
                    breaks = 0 if self._have - start >= _PROGRESS else breaks + 1
                    if breaks >= _BREAKS:
                        raise
                else:
                    return

    def _take(self, body: Body, url: str) -> None:
        if body.offset != self._have:
            if body.offset != 0:
                raise FetchError(f"cannot resume {strip_credentials(url)}", "the server goes on from another place")
            self._restart()
        for chunk in body.chunks():
            if self._stop.is_set():
                raise StoppedError
            if self._have + len(chunk) > self._size:
                self._restart()
                raise IntegrityError(
                    f"{self._label} is not the file that was locked",
                    f"expected {format_size(self._size)}, and more than that came\nfrom {strip_credentials(url)}",
                    "the server has another file under that name, or answers with a page: look at the address",
                )
            self._append(chunk)

    def _append(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:  # a nearly full disk takes a part
            rest = rest[self._stream.write(rest) :]
        self._hash.update(chunk)
        self._have += len(chunk)
        if self._have > self._shown:
            self._task.advance(self._have - self._shown)
            self._shown = self._have

    def _hash_what_is_there(self) -> None:
        while self._have <= self._size and (chunk := self._stream.read(_READ)):
            self._hash.update(chunk)
            self._have += len(chunk)
        if self._have > self._size or (self._have == self._size and not self._is_right()):
            self._restart()
        self._inherited = self._have > 0
        self._task.advance(self._have)
        self._shown = self._have

    def _restart(self) -> None:
        self._stream.seek(0)
        self._stream.truncate(0)
        self._hash = hashlib.sha256()
        self._have = 0
        self._inherited = False

    def _is_right(self) -> bool:
        return self._have == self._size and self._hash.hexdigest() == self._digest.hex

    def _wrong(self, url: str) -> IntegrityError:
        return IntegrityError(
            f"{self._label} is not the file that was locked",
            f"expected {self._digest} ({format_size(self._size)})\n"
            f"found    sha256:{self._hash.hexdigest()} ({format_size(self._have)})\n"
            f"from     {strip_credentials(url)}",
            "the server has another file under that name: use another mirror, or lock again if the new file is right",
        )
