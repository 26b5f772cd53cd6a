"""A blob on its way into a registry: in one request if it is small, else in chunks, resumed where it stopped."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from repro_env.edges import files
from repro_env.edges.http_client import Answer
from repro_env.edges.http_errors import TransientError
from repro_env.edges.report import Task
from repro_env.errors import IntegrityError, ReproError
from repro_env.image.registry.client import Repository
from repro_env.image.registry.errors import refusal
from repro_env.values import Digest

CHUNK = 64 << 20
"""Bytes sent in one request: few enough that what a broken connection loses is soon sent again."""

_BREAKS = 5
"""Broken connections in a row, none of which brought anything, after which an upload is given up."""

_PIECE = 1 << 18
_OK, _CREATED, _ACCEPTED, _NO_CONTENT = 200, 201, 202, 204
_BAD_REQUEST, _ABSENT, _BAD_RANGE = 400, 404, 416
_NO_CHUNKS = frozenset({400, 405, 411, 413, 416, 501})
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})\Z")


class Upload:
    """One blob, a file, being sent. `task` hears of each byte once."""

    def __init__(self, repository: Repository, path: Path, digest: Digest, size: int, task: Task) -> None:
        self._repository, self._path, self._digest, self._size, self._task = repository, path, digest, size, task
        self._shown = 0
        self._chunk = CHUNK
        self._place = ""

    def send(self, place: str = "") -> None:
        """Send the blob whole; `place` is an upload that was begun for it. Errors: `FetchError`, `StoreError`."""
        self._place = place
        have, breaks = 0, 0
        while True:
            try:
                if not self._place:
                    have = self._begin()
                while have + self._chunk < self._size:
                    have = self._send_chunk(have)
                self._finish(have)
            except TransientError as error:
                self._repository.http.wait(error, breaks, attempts=_BREAKS)
                before, have = have, self._resume()
                breaks = 0 if have > before else breaks + 1
            else:
                self._show(self._size)
                return

    def _begin(self) -> int:
        self._place, least = self._repository.begin_upload()
        self._chunk = max(self._chunk, least)
        return 0

    def _send_chunk(self, start: int) -> int:
        """Send the next chunk and return how many bytes the registry has then."""
        end = start + self._chunk
        answer = self._request("PATCH", self._place, start, end, {"Content-Range": f"{start}-{end - 1}"})
        if start == 0 and answer.status in _NO_CHUNKS:
            self._chunk = self._size  # a registry that takes a blob in one piece only
            return self._begin()
        if answer.status not in (_ACCEPTED, _CREATED, _NO_CONTENT):
            raise self._failure(answer)
        self._place = self._repository.location(answer)
        self._show(end)
        have = min(_received(answer, end), end)
        if have <= start:
            why = f"{self._repository.registry} says that it has {have} bytes after {end} were sent"
            raise TransientError(f"cannot push to {self._repository.name}", why)
        return have

    def _finish(self, start: int) -> None:
        """Send what is left and end the upload with the digest, which the registry checks."""
        answer = self._request("PUT", _with_digest(self._place, self._digest), start, self._size, {})
        if answer.status not in (_CREATED, _NO_CONTENT):
            raise self._failure(answer)

    def _resume(self) -> int:
        """Ask how much has arrived and return that; an upload that is gone is begun anew."""
        if not self._place:
            return 0
        answer = self._repository.http.send("GET", self._place)
        if answer.status in (_OK, _ACCEPTED, _NO_CONTENT) and answer.headers.get("range"):
            have = _received(answer, 0)
            if have < self._size:
                self._place = self._repository.location(answer) if answer.headers.get("location") else self._place
                return have
        self._place = ""
        return 0

    def _request(self, method: str, url: str, start: int, end: int, headers: dict[str, str]) -> Answer:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(end - start),
            **headers,
        }
        return self._repository.http.send(method, url, headers=headers, body=self._pieces(start, end), retry=False)

    def _pieces(self, start: int, end: int) -> Callable[[], Iterable[bytes]]:
        def read() -> Iterator[bytes]:
            with files.os_errors(f"read {self._path}"), self._path.open("rb") as stream:
                stream.seek(start)
                left = end - start
                while left and (piece := stream.read(min(_PIECE, left))):
                    left -= len(piece)
                    yield piece
                    self._show(end - left)

        return read

    def _show(self, have: int) -> None:
        if have > self._shown:
            self._task.advance(have - self._shown)
            self._shown = have

    def _failure(self, answer: Answer) -> ReproError:
        """Return the error for an answer that is not a success, a `TransientError` where another attempt may be one."""
        what = f"cannot push to {self._repository.name}"
        why = f"{self._repository.registry} answered {answer.status} {answer.reason}".rstrip()
        if answer.status == _ABSENT:  # the registry has forgotten the upload
            self._place = ""
        if answer.status in (_ABSENT, _BAD_RANGE):
            return TransientError(what, why)
        if answer.status == _BAD_REQUEST and b"DIGEST_INVALID" in answer.body:
            self._place = ""
            self._check_file()
            return TransientError(what, f"what {self._repository.registry} received is not what was sent: {why}")
        return refusal(answer, action=f"push to {self._repository.name}", registry=self._repository.registry)

    def _check_file(self) -> None:
        with files.os_errors(f"read {self._path}"), self._path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != self._digest.hex:
            raise IntegrityError(
                f"the store's {self._digest} is damaged", str(self._path), "remove that file and build again"
            )


def _received(answer: Answer, otherwise: int) -> int:
    """Return how many bytes an upload's `Range` says there are. `0-0`, which registries say of none too, is none."""
    match = _RANGE.match(answer.headers.get("range", ""))
    if not match:
        return otherwise
    return int(match[1]) + 1 if int(match[1]) else 0


def _with_digest(place: str, digest: Digest) -> str:
    parts = urlsplit(place)
    query = f"{parts.query}&digest={digest}" if parts.query else f"digest={digest}"
    return urlunsplit(parts._replace(query=query))
