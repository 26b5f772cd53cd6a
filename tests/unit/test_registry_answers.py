"""What a registry must not be able to do by what it answers: go on for ever, or end in anything but words."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from repro_env.config.model import ImageBase
from repro_env.edges.http_client import Answer
from repro_env.edges.http_errors import TransientError
from repro_env.edges.report import Silent
from repro_env.errors import FetchError, IntegrityError
from repro_env.image.registry.authority import _check_realm
from repro_env.image.registry.client import OCI_MANIFEST, Manifest, Repository
from repro_env.image.registry.download import blob_chunks
from repro_env.image.registry.errors import refusal
from repro_env.image.registry.upload import Upload
from repro_env.image.store import Store
from repro_env.resolve import image as resolving
from repro_env.values import Digest, ImageReference, Platform

AMD64 = Platform("amd64")
NESTED = b"[" * 200_000
CHUNK = 1000


class Endless:
    """A body that says to be at an offset and never ends."""

    offset = 0

    def chunks(self) -> Iterator[bytes]:
        while True:
            yield bytes(100)


@dataclass
class Http:
    """Answers each method with the next of its answers, the last one again and again; it waits for nothing."""

    answers: Mapping[str, list[Answer]] = field(default_factory=dict)
    asked: list[tuple[str, str, int]] = field(default_factory=list)

    def send(self, method: str, url: str, *, headers: Any = None, body: Any = None, retry: bool = True) -> Answer:
        del headers, retry
        self.asked.append((method, url, sum(map(len, body())) if body else 0))
        left = self.answers[method]
        return left.pop(0) if len(left) > 1 else left[0]

    def wait(self, error: TransientError, attempt: int, *, attempts: int | None = None) -> None:
        if attempts is not None and attempt + 1 >= attempts:
            raise error.final()

    @contextlib.contextmanager
    def open(self, _url: str, *, offset: int = 0) -> Iterator[Endless]:
        del offset
        yield Endless()


def repository(http: Http) -> Repository:
    return Repository(cast("Any", http), "https://r.example", "r.example", "a/b")


def answer(status: int, **headers: str) -> Answer:
    return Answer(
        status=status, reason="", headers={key.replace("_", "-"): text for key, text in headers.items()}, body=b""
    )


def test_a_blob_that_does_not_end_is_stopped() -> None:
    with pytest.raises(IntegrityError, match=r"r\.example gives other bytes") as caught:
        list(blob_chunks(repository(Http()), Digest.of(b"x"), 250, lambda _count: None))
    assert caught.value.why == "more than 250 bytes came"


@pytest.fixture
def blob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("repro_env.image.registry.upload.CHUNK", CHUNK)
    path = tmp_path / "blob"
    path.write_bytes(bytes(3 * CHUNK + 5))
    return path


def send(blob: Path, http: Http) -> Http:
    class Task:
        def advance(self, amount: int) -> None:
            """Hear of nothing."""

    size = blob.stat().st_size
    Upload(repository(http), blob, Digest.of(blob.read_bytes()), size, Task()).send()
    return http


def test_an_upload_that_gets_nowhere_is_given_up(blob: Path) -> None:
    begun, nothing = answer(202, location="/v2/u/1"), answer(202, location="/v2/u/1", range="0-0")
    http = Http({"POST": [begun], "PATCH": [nothing], "GET": [nothing]})
    with pytest.raises(FetchError, match=r"cannot push to r\.example/a/b") as caught:
        send(blob, http)
    assert "it has 0 bytes after 1000 were sent" in caught.value.why
    assert [method for method, _url, _size in http.asked].count("PATCH") == 5


def test_more_than_was_sent_counts_as_what_was_sent(blob: Path) -> None:
    begun, all_of_it = answer(202, location="/v2/u/1"), answer(202, location="/v2/u/1", range=f"0-{10**15}")
    http = send(blob, Http({"POST": [begun], "PATCH": [all_of_it], "PUT": [answer(201)]}))
    assert [size for method, _url, size in http.asked if method in {"PATCH", "PUT"}] == [CHUNK, CHUNK, CHUNK, 5]


@pytest.mark.parametrize("header", ["9" * 5000, "²", "-1", "many"])
def test_a_least_chunk_that_is_no_number_is_none(header: str) -> None:
    begun = answer(202, location="/v2/u/1", oci_chunk_min_length=header)
    assert repository(Http({"POST": [begun]})).begin_upload() == ("https://r.example/v2/u/1", 0)


@pytest.mark.parametrize("location", ["", "http://[::1/x"])
def test_an_upload_that_begins_nowhere_is_refused(location: str) -> None:
    with pytest.raises(FetchError, match=r"cannot push to r\.example/a/b"):
        repository(Http({"POST": [answer(202, location=location)]})).begin_upload()


@pytest.mark.parametrize("realm", ["", "https://[::1/token", "ftp://r.example/token", "/token"])
def test_a_login_goes_nowhere_but_to_an_address(realm: str) -> None:
    with pytest.raises(FetchError, match=r"cannot log in to r\.example"):
        _check_realm("https://r.example/v2/a/blobs/b", realm)


def test_a_refusal_is_said_whatever_its_body_holds() -> None:
    refused = Answer(status=400, reason="Bad Request", headers={}, body=NESTED)
    assert "answered 400 Bad Request" in refusal(refused, action="push", registry="r.example").why


class TestLocking:
    """Documents of an image that is to be a base."""

    def resolve(self, store: Store, config: Mapping[str, Any], manifest: bytes | None = None) -> Any:
        described = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": []}, "config": config})
        document = {"config": {"digest": str(Digest.of(b"")), "size": 2}, "layers": []}
        content = manifest or json.dumps(document).encode()

        class Known:
            def manifest(self, _reference: ImageReference) -> Manifest:
                return Manifest(digest=Digest.of(content), media_type=OCI_MANIFEST, content=content)

            def document(self, _digest: Digest, *, size: int) -> bytes:
                assert size == 2
                return described.encode()

        class Registries:
            def repository(self, _reference: ImageReference) -> Known:
                return Known()

        base = ImageBase(name="base", image="r.example/a/b:1", glibc="2.36")
        resolver = resolving.ImageResolver(registries=cast("Any", Registries()), store=store, report=Silent())
        return resolver.resolve(base, [AMD64], previous=None, upgrade=False).roots[AMD64]

    def test_an_ordinary_one_is_taken(self, store: Store) -> None:
        root = self.resolve(store, {"Env": ["PATH=/bin", "TEXT=two\nlines=é"], "User": "1000"})
        assert (root.env, root.user) == ({"PATH": "/bin", "TEXT": "two\nlines=é"}, "1000")

    @pytest.mark.parametrize(
        "config",
        [{"Env": ["=x"]}, {"Env": ["A"]}, {"Env": ["A=\0"]}, {"Env": ["A=\ud800"]}, {"User": "\udc00"}, {"Env": [1]}],
        ids=["no name", "no value", "nul", "half a character", "half a user", "no text"],
    )
    def test_what_no_lock_could_hold_is_refused(self, store: Store, config: Mapping[str, Any]) -> None:
        with pytest.raises(IntegrityError, match="are damaged"):
            self.resolve(store, config)

    @pytest.mark.parametrize("manifest", [NESTED, b"{" * 9, b"[]", b"\xff"])
    def test_a_manifest_that_is_none_is_refused(self, store: Store, manifest: bytes) -> None:
        with pytest.raises(IntegrityError, match="the registry's manifest"):
            self.resolve(store, {}, manifest)
