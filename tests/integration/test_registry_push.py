"""Pushing to Debian's registry, at its best and behind a proxy that does wrong: what is sent, and what is not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from images import AMD64, ARM64, make_image, make_layer, noise
from proxy import Fault, Proxy, run_proxy
from registry import Registry, run_registry

from repro_env.edges.http import NotFoundError
from repro_env.edges.http_client import Limits
from repro_env.edges.report import Silent
from repro_env.errors import FetchError, IntegrityError
from repro_env.image.oci import Image, write_image
from repro_env.image.registry import upload
from repro_env.image.registry.push import Pushed, Pusher, Shipment
from repro_env.image.registry.registries import Registries
from repro_env.image.store import Store
from repro_env.values import Digest, ImageReference

QUICK = Limits(connect=2, read=0.5, attempts=3, pause=0.01, retry_after=2)
CHUNK = 1 << 20


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with run_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def proxy(registry: Registry) -> Iterator[Proxy]:
    with run_proxy(registry.host) as running:
        yield running


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """A repository of this test's own."""
    return f"test/{abs(hash(request.node.name)):x}"


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "CHUNK", CHUNK)


def push(store: Store, reference: str, image: Digest, environ: dict[str, str] | None = None) -> Pushed:
    registries = Registries({"HOME": "/nonexistent", **(environ or {})}, limits=QUICK)
    shipment = Shipment(reference=ImageReference.parse(reference), manifests={AMD64: image})
    (pushed,) = Pusher(store, registries, Silent()).push([shipment])
    assert pushed.digest == image
    return pushed


def verify(reference: str, image: Digest, directory: Path) -> None:
    """Let skopeo read everything there is of an image and hold it against its digests."""
    words = ["skopeo", "copy", "--quiet", "--insecure-policy", "--preserve-digests", "--src-tls-verify=false"]
    subprocess.run([*words, f"docker://{reference}@{image}", f"dir:{directory}"], check=True)
    assert Digest.of((directory / "manifest.json").read_bytes()) == image


def test_only_what_lacks_is_sent(store: Store, proxy: Proxy, repository: str, tmp_path: Path) -> None:
    base = make_layer(store, noise(3 << 20))
    code = [make_layer(store, noise(1000), path="code") for _ in range(2)]
    first, second = (write_image(Image(platform=AMD64, layers=(base, layer)), store) for layer in code)
    reference = f"{proxy.host}/{repository}:1"

    pushed = push(store, reference, first)
    assert (pushed.uploaded, pushed.mounted, pushed.present) == (3, 0, 0)
    assert pushed.sent > 3 << 20

    before = proxy.received
    again = push(store, reference, first)
    assert (again.uploaded, again.present, again.sent) == (0, 3, 0)
    manifest = store.blob(first).stat().st_size
    assert proxy.received - before == manifest

    before = proxy.received
    edited = push(store, reference, second)
    assert (edited.uploaded, edited.present) == (2, 1)
    assert proxy.received - before < 5000
    verify(reference.removesuffix(":1"), second, tmp_path / "out")


def test_what_the_registry_has_is_not_even_read(store: Store, proxy: Proxy, repository: str) -> None:
    image = make_image(store, noise(1000), noise(2000))
    push(store, f"{proxy.host}/{repository}", image)
    for layer in json.loads(store.read(image))["layers"]:
        store.blob(Digest.parse(layer["digest"])).unlink()
    assert push(store, f"{proxy.host}/{repository}", image).sent == 0
    assert push(store, f"{proxy.host}/{repository}-elsewhere", image).mounted == 3


def test_a_blob_of_another_repository_is_mounted(store: Store, proxy: Proxy, repository: str, tmp_path: Path) -> None:
    image = make_image(store, noise(2 << 20))
    push(store, f"{proxy.host}/{repository}/a:1", image)
    before = proxy.received
    pushed = push(store, f"{proxy.host}/{repository}/b:1", image)
    assert (pushed.mounted, pushed.uploaded, pushed.sent) == (2, 0, 0)
    assert proxy.received - before == store.blob(image).stat().st_size
    verify(f"{proxy.host}/{repository}/b", image, tmp_path / "out")


def test_a_registry_that_mounts_nothing_is_sent_the_bytes(store: Store, proxy: Proxy, repository: str) -> None:
    image = make_image(store, noise(1 << 20))
    push(store, f"{proxy.host}/{repository}/a:1", image)
    # Some answer a mount with 405, some with an upload; neither may fail the push.
    proxy.fault(Fault("POST", r"\?mount=", status=405, times=1))
    proxy.fault(Fault("POST", r"\?mount=", status=404, times=1))
    pushed = push(store, f"{proxy.host}/{repository}/b:1", image)
    assert (pushed.mounted, pushed.uploaded) == (0, 2)


def test_a_remembered_place_that_is_gone_ends_in_the_upload_it_began(
    store: Store, proxy: Proxy, repository: str
) -> None:
    image = make_image(store, noise(1 << 20))
    for layer in json.loads(store.read(image))["layers"]:
        store.remember("blob-places", layer["digest"].partition(":")[2], {"names": [f"{proxy.host}/was/here/once"]})
    pushed = push(store, f"{proxy.host}/{repository}", image)
    assert (pushed.mounted, pushed.uploaded) == (0, 2)
    assert proxy.asked("POST", r"/uploads/\Z") == 1  # for the config: the layer's began with the mount


def test_large_blobs_go_in_chunks(
    store: Store, proxy: Proxy, repository: str, small_chunks: None, tmp_path: Path
) -> None:
    image = make_image(store, noise(3 * CHUNK + 5))
    push(store, f"{proxy.host}/{repository}", image)
    assert proxy.asked("PATCH") == 3
    verify(f"{proxy.host}/{repository}", image, tmp_path / "out")


def test_a_registry_without_chunks_is_sent_the_whole(
    store: Store, proxy: Proxy, repository: str, small_chunks: None, tmp_path: Path
) -> None:
    proxy.fault(Fault("PATCH", "", status=405, times=-1))
    image = make_image(store, noise(3 * CHUNK + 5))
    push(store, f"{proxy.host}/{repository}", image)
    assert proxy.asked("PATCH") == 1
    verify(f"{proxy.host}/{repository}", image, tmp_path / "out")


def test_several_platforms_are_an_index(store: Store, registry: Registry, repository: str, tmp_path: Path) -> None:
    images = {AMD64: make_image(store, noise(1000)), ARM64: make_image(store, noise(1000), platform=ARM64)}
    reference = ImageReference.parse(f"{registry.host}/{repository}:v1")
    registries = Registries({"HOME": "/nonexistent"}, limits=QUICK)
    (pushed,) = Pusher(store, registries, Silent()).push([Shipment(reference=reference, manifests=images)])
    words = ["skopeo", "copy", "--quiet", "--insecure-policy", "--all", "--src-tls-verify=false", "--preserve-digests"]
    subprocess.run([*words, f"docker://{reference}", f"dir:{tmp_path}/out"], check=True)
    content = (tmp_path / "out" / "manifest.json").read_bytes()
    assert Digest.of(content) == pushed.digest
    listed = [(entry["platform"]["architecture"], entry["digest"]) for entry in json.loads(content)["manifests"]]
    assert listed == [("amd64", str(images[AMD64])), ("arm64", str(images[ARM64]))]


FAULTS = {
    "a connection that is refused": Fault("HEAD", "/blobs/", refuse=True),
    "a registry that is busy": Fault("HEAD", "/blobs/", status=429, headers={"Retry-After": "0"}, times=2),
    "a registry that is down for a moment": Fault("POST", "/uploads/", status=503, times=2),
    "a bad gateway before the end of an upload": Fault("PUT", "/uploads/", status=502),
    "an answer that stalls": Fault("HEAD", "/blobs/", stall=1.5),
    "a chunk that breaks off": Fault("PATCH", "/uploads/", drop=300_000, times=2),
    "a last chunk that breaks off": Fault("PUT", "/uploads/", drop=200_000),
    "a chunk whose answer is lost": Fault("PATCH", "/uploads/", cut=0, stall=1.5),
    "a chunk that arrives changed": Fault("PATCH", "/uploads/", flip="request"),
    "a blob that arrives changed": Fault("PUT", "/uploads/", flip="request"),
    "a manifest that is asked to come later": Fault("PUT", "/manifests/", status=429, headers={"Retry-After": "1"}),
    "an upload that the registry forgets": Fault("PATCH", "/uploads/", status=404),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_passes_is_overcome(
    store: Store, proxy: Proxy, repository: str, small_chunks: None, name: str, tmp_path: Path
) -> None:
    fault = FAULTS[name]
    proxy.fault(Fault(**{key: getattr(fault, key) for key in Fault.__slots__}))
    image = make_image(store, noise(2 * CHUNK + 400_000))
    push(store, f"{proxy.host}/{repository}", image)
    verify(f"{proxy.host}/{repository}", image, tmp_path / "out")
    assert proxy.asked(fault.method, fault.path) > 1


LASTING = {
    "refused": Fault("HEAD", "/blobs/", refuse=True, times=-1),
    "stalled": Fault("POST", "/uploads/", stall=1.2, times=-1),
    "down": Fault("POST", "/uploads/", status=500, times=-1),
    "busy for an hour": Fault("HEAD", "/blobs/", status=429, headers={"Retry-After": "3600"}, times=-1),
    "breaking off": Fault("PUT", "/uploads/", refuse=True, times=-1),
    "wrong bytes": Fault("PUT", "/uploads/", flip="request", times=-1),
    "forbidden": Fault("POST", "/uploads/", status=403, times=-1),
    "full": Fault("PUT", "/uploads/", status=507, times=-1),
    "no manifests": Fault("PUT", "/manifests/", status=400, times=-1),
}


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_ends_in_words_and_leaves_no_image(
    store: Store, registry: Registry, proxy: Proxy, repository: str, name: str
) -> None:
    fault = LASTING[name]
    proxy.fault(Fault(**{key: getattr(fault, key) for key in Fault.__slots__}))
    image = make_image(store, noise(1000))
    with pytest.raises(FetchError) as caught:
        push(store, f"{proxy.host}/{repository}", image)
    assert caught.value.what.startswith("cannot ")
    assert caught.value.why
    reference = ImageReference.parse(f"{registry.host}/{repository}")
    place = Registries({"HOME": "/nonexistent"}, limits=QUICK).repository(reference)
    with pytest.raises(NotFoundError, match="cannot get the image"):
        place.manifest(reference)


def test_a_damaged_blob_of_the_store_is_found_out(store: Store, registry: Registry, repository: str) -> None:
    image = make_image(store, noise(1000))
    layer = Digest.parse(json.loads(store.read(image))["layers"][0]["digest"])
    content = bytearray(store.blob(layer).read_bytes())
    content[-1] ^= 1
    store.blob(layer).write_bytes(content)
    with pytest.raises(IntegrityError, match=r"the store's .* is damaged"):
        push(store, f"{registry.host}/{repository}", image)
