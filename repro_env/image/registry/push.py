"""Images from the store to a registry: what is there is neither read nor sent, what is beside it is mounted.

For each blob: is it there (HEAD), can it be taken over from another repository of that registry (mount), and only then
is it uploaded. Manifests follow once every blob of theirs is there, and names last.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import field
from typing import Any

from repro_env.edges.pool import thread_pool
from repro_env.edges.report import Reporter, Task
from repro_env.frozen import dataclass
from repro_env.image.oci import MANIFEST_TYPE, descriptor, index_document
from repro_env.image.registry.client import OCI_INDEX, Repository
from repro_env.image.registry.registries import Registries
from repro_env.image.registry.upload import Upload
from repro_env.image.store import Store, canonical_json
from repro_env.values import Digest, ImageReference, Platform

_WORKERS = 8
_PLACES = "blob-places"
_REMEMBERED = 8  # repositories that are remembered to have a blob, the newest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """An image to push: its manifest on each platform, to be called `reference`."""

    reference: ImageReference
    manifests: Mapping[Platform, Digest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What became of a shipment: `digest` is of the index, or of the one manifest. Counts are of blobs."""

    reference: ImageReference
    digest: Digest
    present: int
    mounted: int
    uploaded: int
    sent: int  # bytes


@dataclass(frozen=True, slots=True)
class _Blob:
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Pusher:
    """What pushing needs at hand.

    `origins` maps a blob that is a base image's to the repository it was pinned in. `obtain` has such a blob in the
    store, for a registry that cannot take it over.
    """

    store: Store
    registries: Registries
    report: Reporter
    origins: Mapping[Digest, ImageReference] = field(default_factory=dict)
    obtain: Callable[[Digest], None] = lambda _digest: None

    def push(self, shipments: Sequence[Shipment]) -> tuple[Pushed, ...]:
        """Push images, one after the other, each with its blobs at once.

        Errors: `FetchError`, `IntegrityError`, `StoreError`.
        """
        with thread_pool(_WORKERS, "push") as pool:
            return tuple(self._push(shipment, pool) for shipment in shipments)

    def _push(self, shipment: Shipment, pool: ThreadPoolExecutor) -> Pushed:
        repository = self.registries.repository(shipment.reference, push=True)
        manifests = {platform: self.store.read(digest) for platform, digest in shipment.manifests.items()}
        blobs = _blobs(manifests.values())
        with self.report.task(f"pushing {shipment.reference}", sum(blob.size for blob in blobs)) as task:
            stoppable = _Stoppable(task)
            work = [pool.submit(self._have, repository, blob, stoppable) for blob in blobs]
            try:
                done = [future.result() for future in as_completed(work)]
            except BaseException:
                stoppable.stop()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        ways = Counter(how for how, _sent in done)
        return Pushed(
            reference=shipment.reference,
            digest=self._name(repository, shipment.reference, manifests),
            present=ways["present"],
            mounted=ways["mounted"],
            uploaded=ways["uploaded"],
            sent=sum(sent for _how, sent in done),
        )

    def _have(self, repository: Repository, blob: _Blob, task: Task) -> tuple[str, int]:
        """Have a blob in the repository; return how it got there, and how many bytes were sent."""
        if repository.has_blob(blob.digest):
            task.advance(blob.size)
            how, sent = "present", 0
        else:
            how, sent = self._bring(repository, blob, task)
        self._remember(repository, blob.digest)
        return how, sent

    def _bring(self, repository: Repository, blob: _Blob, task: Task) -> tuple[str, int]:
        begun = ""
        for source in self._sources(repository, blob.digest):
            place = repository.mount(blob.digest, source)
            if place is None:
                task.advance(blob.size)
                return "mounted", 0
            begun = place or begun
        if not self.store.has(blob.digest, blob.size):
            self.obtain(blob.digest)
        Upload(repository, self.store.blob(blob.digest), blob.digest, blob.size, task).send(begun)
        return "uploaded", blob.size

    def _sources(self, repository: Repository, digest: Digest) -> Iterable[str]:
        """Yield repositories of the same registry that have, or once had, this blob: first the base image's own."""
        origin = self.origins.get(digest)
        known = [str(name) for name in (self.store.recall(_PLACES, digest.hex) or {}).get("names", ())]
        names = [origin.name, *known] if origin else known
        prefix = f"{repository.registry}/"
        others = (name.removeprefix(prefix) for name in dict.fromkeys(names) if name.startswith(prefix))
        return [name for name in others if name != repository.repository][:_REMEMBERED]

    def _remember(self, repository: Repository, digest: Digest) -> None:
        known = [str(name) for name in (self.store.recall(_PLACES, digest.hex) or {}).get("names", ())]
        if repository.name not in known:
            names = [repository.name, *known][:_REMEMBERED]
            self.store.remember(_PLACES, digest.hex, {"names": names})

    def _name(self, repository: Repository, reference: ImageReference, manifests: Mapping[Platform, bytes]) -> Digest:
        """Put the manifests, and above several of them an index, under the reference's tag."""
        target = reference.tag or "latest"
        if len(manifests) == 1:
            return repository.put_manifest(next(iter(manifests.values())), MANIFEST_TYPE, target)
        for content in manifests.values():
            repository.put_manifest(content, MANIFEST_TYPE, str(Digest.of(content)))
        described = {platform: descriptor(MANIFEST_TYPE, content) for platform, content in manifests.items()}
        return repository.put_manifest(canonical_json(index_document(described)), OCI_INDEX, target)


class _StoppedError(Exception):
    """The push has failed or was interrupted elsewhere. Never leaves the uploading thread's future."""


class _Stoppable:
    """A task that, once stopped, stops whoever goes on with it: what is being sent may be gigabytes."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def advance(self, amount: int) -> None:
        if self._stopped.is_set():
            raise _StoppedError
        self._task.advance(amount)


def _blobs(manifests: Iterable[bytes]) -> list[_Blob]:
    """Return the blobs of these manifests, each once, the largest first: it is what takes longest."""
    found: dict[Digest, _Blob] = {}
    for content in manifests:
        document: dict[str, Any] = json.loads(content)
        for part in (document["config"], *document["layers"]):
            digest = Digest.parse(part["digest"])
            found[digest] = _Blob(digest, int(part["size"]))
    return sorted(found.values(), key=lambda blob: (-blob.size, blob.digest))
