"""Objects of S3, Google Cloud Storage and Azure Blob Storage, through fsspec: `s3://BUCKET/PREFIX/`, `gs://`, `az://`.

Where the store keeps versions, an object is pinned by its version's id and a prefix by the moment of its newest change:
what stood there then is found again among the versions, whatever was written or removed since. Elsewhere an object's
word is its ETag. Credentials and endpoints come from where each service's own tools have them (`AWS_PROFILE`,
`~/.aws`, `AWS_ENDPOINT_URL`, `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT`, ...).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from repro_env.data import manifest
from repro_env.data.sources.base import RemoteFile, Request, Resolved
from repro_env.data.sources.words import no_option, scrubbed
from repro_env.edges.http import Body, NotFoundError
from repro_env.errors import ConfigError, FetchError, VerificationError

_CONDITION = re.compile(r"(?i)pre-?condition|ConditionNotMet")
"""How services say that an object is not the one that was asked for by its ETag (RFC 9110, section 15.5.13)."""

_PIECE = 8 << 20
"""Bytes that are asked for at once: large enough for the time of a request not to count."""


class Bucket(Protocol):
    """What a service is asked, by path (`BUCKET/KEY`)."""

    @property
    def errors(self) -> tuple[type[BaseException], ...]:
        """What its library raises."""

    @property
    def hint(self) -> str:
        """What to do who may not read."""

    def one(self, path: str, revision: str) -> RemoteFile | None:
        """Return the object of exactly that name, as it was at `revision`, or is now; None if there is none."""

    def below(self, path: str, revision: str) -> Sequence[RemoteFile]:
        """Return the objects below a prefix, as they were at `revision`, or are now; their locators are their paths."""

    def moment(self, path: str) -> str:
        """Return the moment of the newest change below a prefix, or nothing where there are no versions."""

    def piece(self, file: RemoteFile, start: int, end: int) -> bytes:
        """Return the bytes from `start` up to `end` of an object that was listed."""


class ObjectStore:
    """One service."""

    def __init__(self, kind: str, known_options: tuple[str, ...], make: Callable[[Mapping[str, str]], Bucket]) -> None:
        self._kind, self._known, self._make = kind, known_options, make

    def resolve(self, request: Request) -> Resolved:
        """Return the object's version, or the prefix at this moment."""
        path, bucket = _path(request), self._bucket(request)
        with _told(request, bucket):
            if not path.endswith("/"):
                found = bucket.one(path, request.revision)
                if found is not None:
                    kind, _, version = found.pin.partition(":")
                    revision = version if kind in ("version", "generation") else ""
                    return Resolved(request=request, revision=revision, kind="file", file=path.rpartition("/")[2])
            return Resolved(request=request, revision=request.revision or bucket.moment(path.rstrip("/") + "/"))

    def files(self, resolved: Resolved) -> Sequence[RemoteFile]:
        """List the objects."""
        request = resolved.request
        path, bucket = _path(request), self._bucket(request)
        with _told(request, bucket):
            if resolved.kind == "file":
                found = bucket.one(path, resolved.revision)
                if found is None:
                    raise NotFoundError(f"there is no {request.uri}", _version_words(resolved))
                return [found]
            prefix = path.rstrip("/") + "/"
            objects = [one for one in bucket.below(prefix, resolved.revision) if not one.locator.endswith("/")]
        if not objects:
            raise NotFoundError(f"there is nothing at {request.uri}", _version_words(resolved))
        return [_named(one, prefix) for one in objects]

    @contextlib.contextmanager
    def open(self, resolved: Resolved, file: RemoteFile, *, offset: int = 0) -> Iterator[Body]:
        """Open one object, at the version that was listed."""
        yield _Pieces(self._bucket(resolved.request), resolved.request, file, offset)

    def _bucket(self, request: Request) -> Bucket:
        no_option(self._kind, request.options, self._known)
        return self._make(request.options)


class _Pieces:
    """An object, read piece by piece."""

    def __init__(self, bucket: Bucket, request: Request, file: RemoteFile, offset: int) -> None:
        self._bucket, self._request, self._file, self.offset = bucket, request, file, offset

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes. Errors: `FetchError`."""
        size, at = self._file.size or 0, self.offset
        while at < size:
            with _told(self._request, self._bucket):
                piece = self._bucket.piece(self._file, at, min(at + _PIECE, size))
            if not piece:
                return
            yield piece
            at += len(piece)


class Plain:
    """A bucket as fsspec has it, of which only the newest state can be listed.

    `word` returns an object's own word from what fsspec says of it, and `exact` the path that means that version alone.
    """

    def __init__(
        self,
        system: Any,
        errors: tuple[type[BaseException], ...],
        hint: str,
        *,
        word: Callable[[Mapping[str, Any]], str],
        exact: Callable[[str, str], str],
    ) -> None:
        self._system, self._word, self._exact = system, word, exact
        self.errors: tuple[type[BaseException], ...] = (OSError, TimeoutError, *errors)
        self.hint = hint

    def one(self, path: str, revision: str) -> RemoteFile | None:
        """Return the object of exactly that name."""
        try:
            found = self._system.info(self._exact(path, f"generation:{revision}") if revision else path)
        except FileNotFoundError:
            return None
        return self._file(path, found) if found.get("type") == "file" else None

    def below(self, path: str, revision: str) -> Sequence[RemoteFile]:  # noqa: ARG002 - there is only the newest state
        """Return the objects below a prefix as they are now."""
        self._system.invalidate_cache()
        return [self._file(name, found) for name, found in self._system.find(path, detail=True).items()]

    def moment(self, path: str) -> str:  # noqa: ARG002 - the protocol's
        """Return nothing: there is no way back."""
        return ""

    def piece(self, file: RemoteFile, start: int, end: int) -> bytes:
        """Return some of an object's bytes. Errors: `VerificationError` where it is not the one that was listed."""
        path = self._exact(file.locator, file.pin)
        found: bytes = self._system.cat_file(path, start=start, end=end)
        if path == file.locator and end == file.size:  # no version was asked for: it may be another by now
            self._system.invalidate_cache()
            now = self.one(path, "")
            if now is None or (now.pin, now.size) != (file.pin, file.size):
                raise _changed(path)
        return found

    def _file(self, path: str, found: Mapping[str, Any]) -> RemoteFile:
        return RemoteFile(path="", size=int(found["size"]), pin=self._word(found), locator=path)


def etag(found: Mapping[str, Any]) -> str:
    """Return an object's ETag as its word, or nothing where it has none."""
    return f"etag:{found['etag']}" if found.get("etag") else ""


def _changed(what: str) -> VerificationError:
    why = "an object is not the one any more that was listed a moment ago"
    return VerificationError(f"{what} changed meanwhile", why, "run again")


def _path(request: Request) -> str:
    """Return `BUCKET/KEY` of an address. Errors: `ConfigError`."""
    path = request.uri.partition("://")[2]
    bucket, _, key = path.partition("/")
    if not bucket:
        raise ConfigError(f"data {request.name} names no bucket", request.uri, "write it as s3://BUCKET/PREFIX/")
    return f"{bucket}/{key}"


def _named(file: RemoteFile, prefix: str) -> RemoteFile:
    inside = file.locator.removeprefix(prefix)
    return replace(file, path=manifest.escape(inside.encode()).decode())


def _version_words(resolved: Resolved) -> str:
    return f"as it was at {resolved.revision}" if resolved.revision else ""


@contextlib.contextmanager
def _told(request: Request, bucket: Bucket) -> Iterator[None]:
    """Turn what a service's own library raises into a `FetchError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no {request.uri}", scrubbed(str(error))) from error
    except bucket.errors as error:
        if _CONDITION.search(str(error)):
            raise _changed(request.uri) from error
        denied = isinstance(error, PermissionError)
        why = scrubbed(f"{type(error).__name__}: {error}")
        hint = bucket.hint if denied else "check the network, the credentials and the endpoint that its own tools use"
        raise FetchError(f"cannot read {request.uri}", why, hint) from error
