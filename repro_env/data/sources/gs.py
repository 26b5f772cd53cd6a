"""Objects of Google Cloud Storage: `gs://BUCKET/PREFIX/`. An object's own word is its generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from repro_env.data.sources.base import Context, Source
from repro_env.data.sources.object_store import Bucket, ObjectStore, Plain, etag
from repro_env.data.sources.words import needs


def make(_context: Context) -> Source:
    """Return the source of `gs:` addresses."""
    return ObjectStore("gs", ("project", "anonymous"), _bucket)


def _bucket(options: Mapping[str, str]) -> Bucket:
    google = needs("gcsfs", "gs")
    token = {"token": "anon"} if options.get("anonymous") == "true" else {}
    system = google.GCSFileSystem(project=options.get("project"), version_aware=True, **token)
    errors = (
        needs("google.auth.exceptions", "gs").GoogleAuthError,
        needs("aiohttp", "gs").ClientError,
    )
    hint = "log in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
    return Plain(system, errors, hint, word=_word, exact=_exact)


def _word(found: Mapping[str, Any]) -> str:
    return f"generation:{found['generation']}" if found.get("generation") else etag(found)


def _exact(path: str, pin: str) -> str:
    kind, _, generation = pin.partition(":")
    return f"{path}#{generation}" if kind == "generation" else path
