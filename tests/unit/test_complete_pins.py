"""Pins of files of which an index tells less than a lock holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import Server, serve

from repro_env.edges.http_client import HttpClient
from repro_env.errors import IntegrityError
from repro_env.image.store import Store
from repro_env.resolve.python.complete import complete, complete_source
from repro_env.resolve.python.pylock import Distribution
from repro_env.values import Digest

CONTENT = b"a wheel"
RIGHT = Digest.of(CONTENT)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.whl").write_bytes(CONTENT)
    with serve(tmp_path / "web") as found:
        yield found


def told(server: Server, *, sha256: Digest | None, size: int | None = None) -> Distribution:
    url = f"http://user:secret@{server.url.removeprefix('http://')}/a.whl"
    return Distribution(name="a", version="1", file="a.whl", url=url, sha256=sha256, size=size)


class Silent(HttpClient):
    """Has servers tell no size."""

    def size(self, url: str) -> None:
        del url


@pytest.mark.parametrize("sha256", [None, RIGHT])
@pytest.mark.parametrize("http", [HttpClient(), Silent()], ids=["a size by HEAD", "no size"])
def test_what_is_not_told_is_found_out(store: Store, server: Server, sha256: Digest | None, http: HttpClient) -> None:
    pin = complete(told(server, sha256=sha256), project=Path("/p"), store=store, http=http)
    assert (pin.sha256, pin.size, pin.url) == (RIGHT, len(CONTENT), f"{server.url}/a.whl")
    assert complete_source(told(server, sha256=sha256), project=Path("/p"), store=store, http=http).sha256 == RIGHT


@pytest.mark.parametrize("complete_one", [complete, complete_source])
def test_other_bytes_than_the_index_names_are_not_pinned(store: Store, server: Server, complete_one: object) -> None:
    assert callable(complete_one)
    with pytest.raises(IntegrityError, match=r"a\.whl is not what its index says") as caught:
        complete_one(told(server, sha256=Digest.of(b"other")), project=Path("/p"), store=store, http=Silent())
    assert "secret" not in str(caught.value)
    assert not store.has(RIGHT)
