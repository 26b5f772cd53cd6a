"""Objects of S3 and of what speaks like it: `s3://BUCKET/PREFIX/`.

Options: `endpoint-url`, `region`, `profile`, and `anonymous = "true"` for public buckets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from repro_env.data.sources.base import Context, RemoteFile, Source
from repro_env.data.sources.object_store import ObjectStore
from repro_env.data.sources.words import needs

_UNVERSIONED = "null"
"""The version id of objects in a bucket that keeps no versions. Source: Amazon S3's API, ListObjectVersions."""
_CONNECTING = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 4, "mode": "standard"}}


class S3:
    """The buckets of one account and endpoint."""

    hint = 'log in with its own tools (AWS_PROFILE, ~/.aws), or say anonymous = "true" in options'

    def __init__(self, options: Mapping[str, str]) -> None:
        filesystem = needs("s3fs", "s3").S3FileSystem
        region = {"region_name": options["region"]} if "region" in options else {}
        self._system = filesystem(
            anon=options.get("anonymous") == "true",
            endpoint_url=options.get("endpoint-url"),
            profile=options.get("profile"),
            client_kwargs=region,
            config_kwargs=_CONNECTING,
            use_listings_cache=False,
        )
        self._sync = needs("fsspec.asyn", "s3").sync
        service = needs("botocore.exceptions", "s3")
        self.errors = (OSError, TimeoutError, service.BotoCoreError, service.ClientError)

    def one(self, path: str, revision: str) -> RemoteFile | None:
        """Return the object of exactly that name, at a version or as it is now."""
        bucket, _, key = path.partition("/")
        if not key:
            return None
        version = {"VersionId": revision} if revision else {}
        try:
            found = self._system.call_s3("head_object", Bucket=bucket, Key=key, **version)
        except FileNotFoundError:
            return None
        return _file(path, found["ContentLength"], found.get("VersionId", ""), found["ETag"])

    def below(self, path: str, revision: str) -> Sequence[RemoteFile]:
        """Return the objects below a prefix as they were at a moment, or are now."""
        bucket = path.partition("/")[0]
        if not revision:
            return [
                _file(f"{bucket}/{one['Key']}", one["Size"], "", one["ETag"])
                for one in self._pages("list_objects_v2", path, ("Contents",), "ContinuationToken")
            ]
        newest = self._states(path, datetime.fromisoformat(revision))
        return [
            _file(f"{bucket}/{key}", one["Size"], one["VersionId"], one["ETag"])
            for key, one in sorted(newest.items())
            if "ETag" in one  # what has none is a mark that the object was removed
        ]

    def moment(self, path: str) -> str:
        """Return the moment of the newest change below a prefix, or nothing where no versions are kept, or told."""
        try:
            found = list(self._versions(path))
        except PermissionError:
            return ""  # listing versions takes a right of its own
        if not found or any(one["VersionId"] == _UNVERSIONED for one in found):
            return ""
        newest: datetime = max(one["LastModified"] for one in found)
        return newest.astimezone(UTC).isoformat()

    def piece(self, file: RemoteFile, start: int, end: int) -> bytes:
        """Return some of an object's bytes, if it still is what was listed."""
        bucket, _, key = file.locator.partition("/")
        kind, _, word = file.pin.partition(":")
        exact = {"VersionId": word} if kind == "version" else {"IfMatch": word}
        found = self._system.call_s3("get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}", **exact)
        content: bytes = self._sync(self._system.loop, found["Body"].read)
        return content

    def _states(self, path: str, moment: datetime) -> dict[str, Mapping[str, Any]]:
        """Return what was newest of each key at a moment."""
        newest: dict[str, Mapping[str, Any]] = {}
        for one in self._versions(path):
            if one["LastModified"] > moment:
                continue
            before = newest.get(one["Key"])
            if before is None or _age(before) < _age(one):
                newest[one["Key"]] = one
        return newest

    def _versions(self, path: str) -> Iterator[Mapping[str, Any]]:
        return self._pages("list_object_versions", path, ("Versions", "DeleteMarkers"), "KeyMarker", "VersionIdMarker")

    def _pages(self, method: str, path: str, lists: Sequence[str], *markers: str) -> Iterator[Mapping[str, Any]]:
        bucket, _, prefix = path.partition("/")
        following: dict[str, str] = {}
        while True:
            page = self._system.call_s3(method, Bucket=bucket, Prefix=prefix, **following)
            for name in lists:
                yield from page.get(name) or ()
            following = {marker: page[f"Next{marker}"] for marker in markers if page.get(f"Next{marker}")}
            if not page.get("IsTruncated") or not following:
                return


def make(_context: Context) -> Source:
    """Return the source of `s3:` addresses."""
    return ObjectStore("s3", ("endpoint-url", "region", "profile", "anonymous"), S3)


def _age(one: Mapping[str, Any]) -> tuple[datetime, bool]:
    # Times are of whole seconds: of several changes within one, the store says which is the latest.
    return one["LastModified"], bool(one.get("IsLatest"))


def _file(path: str, size: int, version: str, etag: str) -> RemoteFile:
    known = version and version != _UNVERSIONED
    return RemoteFile(path="", size=size, pin=f"version:{version}" if known else f"etag:{etag}", locator=path)
