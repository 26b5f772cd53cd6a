"""Buckets as fsspec has them, on its file system in memory: what Google's and Azure's share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from repro_env.data.sources import az, gs
from repro_env.data.sources.base import Request
from repro_env.data.sources.object_store import Bucket, ObjectStore, Plain
from repro_env.edges.http import NotFoundError
from repro_env.errors import ConfigError, FetchError, VerificationError

memory = pytest.importorskip("fsspec.implementations.memory")


class Refused(Exception):  # noqa: N818 - as a service's library might call it
    """What a service's library raises."""


class Named(memory.MemoryFileSystem):  # type: ignore[misc,name-defined]
    """Names without the slash that this one has before each, and services have not."""

    def find(self, path: str, **options: Any) -> dict[str, Any]:
        return {name.lstrip("/"): found for name, found in super().find(path, **options).items()}


@pytest.fixture
def system() -> Iterator[Any]:
    found = Named()
    for name, content in {"a.csv": b"one", "sub/b.csv": b"two" * 5_000_000}.items():
        found.pipe_file(f"/bucket/raw/{name}", content)
    yield found
    found.store.clear()
    found.pseudo_dirs[:] = [""]


@pytest.fixture
def source(system: Any) -> ObjectStore:
    def make(_options: Mapping[str, str]) -> Bucket:
        return Plain(system, (Refused,), "log in", word=_word, exact=lambda path, _: path)

    return ObjectStore("gs", ("project",), make)


def _word(found: Mapping[str, Any]) -> str:
    return f"etag:{found['size']}"


def read(source: ObjectStore, uri: str) -> dict[str, bytes]:
    resolved = source.resolve(Request(name="raw", uri=uri))
    found = {}
    for file in source.files(resolved):
        with source.open(resolved, file) as body:
            found[file.path] = b"".join(body.chunks())
        with source.open(resolved, file, offset=2) as body:
            assert (body.offset, b"".join(body.chunks())) == (2, found[file.path][2:])
    return found


def test_a_prefix_and_one_object(source: ObjectStore) -> None:
    assert read(source, "gs://bucket/raw/") == {"a.csv": b"one", "sub/b.csv": b"two" * 5_000_000}
    assert read(source, "gs://bucket/raw/a.csv") == {"": b"one"}


def test_what_is_not_there_and_what_is_refused(
    source: ObjectStore, system: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFoundError):
        read(source, "gs://bucket/nothing/")
    with pytest.raises(ConfigError, match="no option region"):
        source.resolve(Request(name="raw", uri="gs://bucket/raw", options={"region": "x"}))

    def refuse(*_words: object, **_options: object) -> None:
        raise Refused("see https://me:open-sesame@host/a?sig=open-sesame")

    monkeypatch.setattr(system, "info", refuse)
    with pytest.raises(FetchError) as error:
        source.resolve(Request(name="raw", uri="gs://bucket/raw/a.csv"))
    assert "open-sesame" not in str(error.value)


def test_an_object_that_is_replaced_while_it_is_read_is_noticed(source: ObjectStore, system: Any) -> None:
    resolved = source.resolve(Request(name="raw", uri="gs://bucket/raw/sub/b.csv"))
    (file,) = source.files(resolved)
    with source.open(resolved, file) as body:
        pieces = body.chunks()
        next(pieces)
        system.pipe_file("/bucket/raw/sub/b.csv", b"two" * 6_000_000)
        with pytest.raises(VerificationError, match="changed meanwhile"):
            list(pieces)


def test_the_words_of_google_and_of_azure() -> None:
    assert gs._word({"generation": "17", "etag": "x"}) == "generation:17"
    assert gs._exact("b/a", "generation:17") == "b/a#17"
    assert gs._exact("b/a", gs._word({"etag": "x"})) == "b/a"
    assert gs._word({}) == az._word({}) == "", "what has no word of its own is not taken for another of that kind"
    assert az._word({"version_id": "2025-01-31T00:00:00Z", "etag": "x"}) == "version:2025-01-31T00:00:00Z"
    assert az._exact("c/a", "version:2025-01-31T00:00:00Z") == "c/a?versionid=2025-01-31T00:00:00Z"
    assert az._exact("c/a", "etag:x") == "c/a"
