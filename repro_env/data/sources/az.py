"""Blobs of Azure: `az://CONTAINER/PREFIX/`.

A blob's own word is its version where the account keeps versions, and else its ETag.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from repro_env.data.sources.base import Context, Source
from repro_env.data.sources.object_store import Bucket, ObjectStore, Plain, etag
from repro_env.data.sources.words import needs


def make(_context: Context) -> Source:
    """Return the source of `az:` addresses."""
    return ObjectStore("az", ("account-name", "anonymous"), _bucket)


def _bucket(options: Mapping[str, str]) -> Bucket:
    azure = needs("adlfs", "az")
    account = {"account_name": options["account-name"]} if "account-name" in options else {}
    anonymous = {"anon": options.get("anonymous") == "true"} if "anonymous" in options else {}
    system = azure.AzureBlobFileSystem(version_aware=True, **account, **anonymous)
    hint = "log in with `az login`, or set AZURE_STORAGE_ACCOUNT and the credentials that go with it"
    errors = (needs("azure.core.exceptions", "az").AzureError, ValueError)
    return Plain(system, errors, hint, word=_word, exact=_exact)


def _word(found: Mapping[str, Any]) -> str:
    return f"version:{found['version_id']}" if found.get("version_id") else etag(found)


def _exact(path: str, pin: str) -> str:
    kind, _, version = pin.partition(":")
    return f"{path}?versionid={version}" if kind in ("version", "generation") else path
