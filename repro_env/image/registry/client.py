"""One repository at one registry: its manifests and blobs.

Source: OCI distribution specification 1.1, "Pull" and "Push".
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode, urljoin

from repro_env.edges.http_client import Answer, HttpClient
from repro_env.errors import FetchError, IntegrityError
from repro_env.frozen import dataclass
from repro_env.image.registry.errors import refusal
from repro_env.values import Digest, ImageReference, format_size

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_TYPES = (OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST)

MANIFEST_LIMIT = 4 << 20
"""Bytes; the specification lets a registry refuse larger manifests."""

_OK, _CREATED, _ACCEPTED, _ABSENT = 200, 201, 202, 404
_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest or index as a registry holds it: the very bytes that `digest` is of."""

    digest: Digest
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository that can be asked. `base` is the registry's address, `https://HOST`; `name` is for people."""

    http: HttpClient
    base: str
    registry: str
    repository: str

    @property
    def name(self) -> str:
        """The repository with its registry, `ghcr.io/team/churn`."""
        return f"{self.registry}/{self.repository}"

    def url(self, path: str) -> str:
        """Return the address of a part of this repository: `blobs/sha256:...`."""
        return f"{self.base}/v2/{quote(self.repository)}/{path}"

    def blob_url(self, digest: Digest) -> str:
        """Return where a blob may be downloaded."""
        return self.url(f"blobs/{digest}")

    def manifest(self, reference: ImageReference) -> Manifest:
        """Return what a reference names. Errors: `NotFoundError`, `FetchError`, `IntegrityError`."""
        action = f"get the image {reference}"
        accept = {"Accept": ", ".join(MANIFEST_TYPES)}
        answer = self.http.send("GET", self.url(f"manifests/{reference.target}"), headers=accept)
        if answer.status != _OK:
            raise refusal(answer, action=action, registry=self.registry)
        if len(answer.body) > MANIFEST_LIMIT:
            raise FetchError(f"cannot {action}", f"its manifest is larger than {format_size(MANIFEST_LIMIT)}")
        digest = Digest.of(answer.body)
        _check_digest(reference, digest, answer)
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
        return Manifest(digest=digest, media_type=media_type, content=answer.body)

    def document(self, digest: Digest, *, size: int) -> bytes:
        """Return a small blob, such as a config, checked. Errors: as `manifest`."""
        action = f"get {digest} of {self.name}"
        if size > MANIFEST_LIMIT:
            raise FetchError(f"cannot {action}", f"it is larger than {format_size(MANIFEST_LIMIT)}")
        content = self.http.get(self.blob_url(digest), limit=MANIFEST_LIMIT)
        if Digest.of(content) != digest:
            raise IntegrityError(f"{self.registry} gives other bytes for {digest}", f"found {Digest.of(content)}")
        return content

    def has_blob(self, digest: Digest) -> bool:
        """Whether the repository has a blob. Errors: `FetchError`."""
        return self._has(self.blob_url(digest), digest)

    def has_manifest(self, digest: Digest) -> bool:
        """Whether the repository has a manifest. Errors: `FetchError`."""
        return self._has(self.url(f"manifests/{digest}"), digest, {"Accept": ", ".join(MANIFEST_TYPES)})

    def _has(self, url: str, digest: Digest, headers: dict[str, str] | None = None) -> bool:
        answer = self.http.send("HEAD", url, headers=headers)
        if answer.status in (_OK, _ABSENT):
            return answer.status == _OK
        raise refusal(answer, action=f"ask whether {self.name} has {digest.short}", registry=self.registry)

    def mount(self, digest: Digest, source: str) -> str | None:
        """Take over a blob from another repository of this registry, without its bytes.

        Returns None if that was done; else the address of the upload that the registry has begun instead, or an empty
        text if it has not. Errors: `FetchError`.
        """
        query = urlencode({"mount": str(digest), "from": source})
        answer = self._post(f"blobs/uploads/?{query}")
        if answer.status == _CREATED:
            return None
        return self.location(answer) if answer.status == _ACCEPTED else ""

    def begin_upload(self) -> tuple[str, int]:
        """Begin an upload and return its address, and the least size of a chunk in bytes. Errors: `FetchError`."""
        answer = self._post("blobs/uploads/")
        if answer.status != _ACCEPTED:
            raise refusal(answer, action=f"push to {self.name}", registry=self.registry)
        least = answer.headers.get("oci-chunk-min-length", "")
        return self.location(answer), int(least) if _NUMBER.fullmatch(least) else 0

    def put_manifest(self, content: bytes, media_type: str, target: str) -> Digest:
        """Store a manifest or index under a tag or its own digest. Errors: `FetchError`, `IntegrityError`."""
        headers = {"Content-Type": media_type, "Content-Length": str(len(content))}
        url = self.url(f"manifests/{target}")
        answer = self.http.send("PUT", url, headers=headers, body=lambda: [content])
        if answer.status not in (_OK, _CREATED, _ACCEPTED):
            raise refusal(answer, action=f"push {self.name}:{target}", registry=self.registry)
        digest, said = Digest.of(content), answer.headers.get("docker-content-digest", "")
        if said.startswith("sha256:") and said != str(digest):
            raise IntegrityError(f"{self.registry} stored another manifest than it was sent", f"{said}, not {digest}")
        return digest

    def location(self, answer: Answer) -> str:
        """Return the address that an upload goes on at. Errors: `FetchError` if the registry gives no usable one."""
        location = answer.headers.get("location", "")
        if not location:
            raise FetchError(f"cannot push to {self.name}", f"{self.registry} does not say where to upload to")
        try:
            return urljoin(f"{self.base}/", location)
        except ValueError as error:
            why = f"the address that {self.registry} says to upload to is none: {error}"
            raise FetchError(f"cannot push to {self.name}", why) from error

    def _post(self, path: str) -> Answer:
        return self.http.send("POST", self.url(path), headers={"Content-Length": "0"}, body=list)


def _check_digest(reference: ImageReference, digest: Digest, answer: Answer) -> None:
    """Refuse a manifest that is not the one named, or not the one the registry says it is."""
    said = answer.headers.get("docker-content-digest", "")
    expected = str(reference.digest) if reference.digest else said if said.startswith("sha256:") else str(digest)
    if str(digest) != expected:
        raise IntegrityError(
            f"{reference.registry} gives other bytes for the image {reference}",
            f"expected {expected}\nfound    {digest}",
        )
