"""From what uv names to what the lock pins: hash and size of every wheel, and a URL that may be written down."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit

from repro_env.edges.http import Http
from repro_env.errors import IntegrityError
from repro_env.image.store import Store
from repro_env.lock.model import SourcePackage, Wheel
from repro_env.resolve.python.pylock import Distribution
from repro_env.values import Digest, strip_credentials


class SizedHttp(Http, Protocol):
    """A client that can also ask for a size alone, and for a whole document: `edges.http_client.HttpClient`."""

    def size(self, url: str) -> int | None:
        """Return the content's size in bytes, or None if it is not known. Errors: `FetchError`."""

    def get(self, url: str, *, limit: int, accept: str = "*/*") -> bytes:
        """Return a document. Errors: `FetchError`."""


def complete(found: Distribution, *, project: Path, store: Store, http: SizedHttp) -> Wheel:
    """Return the pin of a wheel, asking for its size, or downloading it into the store, where the index says less.

    Errors: `FetchError`, `IntegrityError` when it is not what the index says, `StoreError`.
    """
    sha256, size = found.sha256, found.size
    if sha256 is not None and size is None:
        size = _size_in_store(store, sha256) or http.size(found.url)
    if sha256 is None or size is None:
        sha256, size = download(found.url, store, http, sha256=sha256, wrong=_wrong(found))
    return Wheel(
        name=found.name,
        version=found.version,
        file=found.file,
        url=locked_url(found.url, project),
        sha256=sha256,
        size=size,
    )


def complete_source(found: Distribution, *, project: Path, store: Store, http: SizedHttp) -> SourcePackage:
    """Return the pin of a source distribution, which is downloaded into the store: what its build needs is inside.

    Errors: `FetchError`, `IntegrityError` when it is not what the index says, `StoreError`.
    """
    sha256, size = found.sha256, found.size
    if sha256 is None or not store.has(sha256):
        sha256, size = download(found.url, store, http, sha256=sha256, wrong=_wrong(found))
    return SourcePackage(
        name=found.name,
        version=found.version,
        file=found.file,
        url=locked_url(found.url, project),
        sha256=sha256,
        size=size if size is not None else store.blob(sha256).stat().st_size,
    )


def locked_url(url: str, project: Path) -> str:
    """Return a URL for the lock: without credentials, and relative to the project for a file inside it."""
    if not url.startswith("file:"):
        return strip_credentials(url)
    path = Path(unquote(urlsplit(url).path))
    root = project.resolve()
    return quote(str(path.relative_to(root))) if path.is_relative_to(root) else strip_credentials(url)


def _size_in_store(store: Store, digest: Digest) -> int | None:
    return store.blob(digest).stat().st_size if store.has(digest) else None


def _wrong(found: Distribution) -> str:
    return f"{found.file} is not what its index says"


def download(url: str, store: Store, http: Http, *, sha256: Digest | None, wrong: str) -> tuple[Digest, int]:
    """Have a file in the store whose hash or size is not known, and return both.

    What is not of `sha256`, where that is given, is not kept. Errors: `IntegrityError` then, whose `what` is `wrong`;
    `FetchError`, `StoreError`.
    """
    hasher, size = hashlib.sha256(), 0
    with store.writing() as (stream, keep), http.open(url) as body:
        for chunk in body.chunks():
            stream.write(chunk)
            hasher.update(chunk)
            size += len(chunk)
        digest = Digest(hasher.hexdigest())
        if sha256 not in {None, digest}:
            why = f"expected {sha256}\nfound    {digest}\nfrom     {strip_credentials(url)}"
            raise IntegrityError(wrong, why)
        keep(digest)
    return digest, size
