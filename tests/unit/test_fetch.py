"""Fetching into the store from a server that misbehaves on purpose."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from loopback import Fault, Server, serve

from repro_env.build import fetch_blob
from repro_env.build.fetch import Wanted, fetch_all
from repro_env.edges.http_client import HttpClient, Limits
from repro_env.edges.report import Silent
from repro_env.errors import FetchError, IntegrityError, StoreError
from repro_env.image.store import Store
from repro_env.values import Digest

QUICK = Limits(connect=2, read=0.5, attempts=2, pause=0.01)
CONTENT = os.urandom(3 << 20)


class Counting(Silent):
    """A reporter that adds up what it is told."""

    def __init__(self) -> None:
        self.total: int | None = 0
        self.advanced = 0
        self._lock = threading.Lock()

    @contextmanager
    def task(self, title: str, total: int | None, *, unit: str = "bytes") -> Iterator[Counting]:
        self.total = total
        yield self

    def advance(self, amount: int) -> None:
        assert amount >= 0
        with self._lock:
            self.advanced += amount


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    root = tmp_path / "served"
    root.mkdir()
    (root / "blob").write_bytes(CONTENT)
    with serve(root) as running:
        yield running


@pytest.fixture
def client() -> HttpClient:
    return HttpClient(environ={"HOME": "/nonexistent"}, limits=QUICK, sleep=lambda _seconds: None)


def wanted(*urls: str, content: bytes = CONTENT, label: str = "thing.whl") -> Wanted:
    return Wanted(digest=Digest.of(content), size=len(content), urls=urls, label=label)


def fetch(store: Store, client: HttpClient, *things: Wanted, workers: int = 4) -> Counting:
    report = Counting()
    fetch_all(things, store=store, http=client, report=report, workers=workers)
    return report


def leftovers(store: Store) -> list[str]:
    return sorted(path.name for path in store.partial.iterdir())


def test_what_is_missing_is_downloaded_checked_and_kept(store: Store, client: HttpClient, server: Server) -> None:
    report = fetch(store, client, wanted(f"{server.url}/blob"))
    assert store.read(Digest.of(CONTENT)) == CONTENT
    assert (report.total, report.advanced) == (len(CONTENT), len(CONTENT))
    assert leftovers(store) == []


def test_what_is_there_is_not_asked_for(store: Store, client: HttpClient, server: Server) -> None:
    store.add(CONTENT)
    fetch(store, client, wanted(f"{server.url}/blob"))
    assert server.log == []


def test_a_blob_cut_short_in_the_store_is_fetched_again(store: Store, client: HttpClient, server: Server) -> None:
    store.blob(Digest.of(CONTENT)).write_bytes(CONTENT[:100])
    fetch(store, client, wanted(f"{server.url}/blob"))
    assert store.read(Digest.of(CONTENT)) == CONTENT


def test_an_empty_file_is_fetched(store: Store, client: HttpClient, server: Server) -> None:
    (server.root / "empty").write_bytes(b"")
    fetch(store, client, wanted(f"{server.url}/empty", content=b""))
    assert store.has(Digest.of(b""), 0)
    assert leftovers(store) == []


def test_the_same_blob_twice_is_fetched_once(store: Store, client: HttpClient, server: Server) -> None:
    fetch(store, client, wanted(f"{server.url}/blob"), wanted(f"{server.url}/blob", label="other"))
    assert server.asked("/blob") == 1


def test_largest_first(store: Store, client: HttpClient, server: Server) -> None:
    things = []
    for size in (10, 1000, 100):
        content = os.urandom(size)
        (server.root / str(size)).write_bytes(content)
        things.append(wanted(f"{server.url}/{size}", content=content))
    fetch(store, client, *things, workers=1)
    assert [path for _, path, _ in server.log] == ["/1000", "/100", "/10"]


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(store: Store, client: HttpClient, server: Server) -> None:
    server.fault("/blob", Fault(cut=2_000_000))
    report = fetch(store, client, wanted(f"{server.url}/blob"))
    assert store.read(Digest.of(CONTENT)) == CONTENT
    assert [asked for _, _, asked in server.log] == [None, "bytes=2000000-"]
    assert report.advanced == len(CONTENT)


def test_a_server_that_cannot_resume_is_read_again(store: Store, client: HttpClient, server: Server) -> None:
    server.fault("/blob", Fault(cut=2_000_000, resume=False))
    part = store.partial / f"{Digest.of(CONTENT).hex}.part"
    part.write_bytes(CONTENT[:1000])
    report = fetch(store, client, wanted(f"{server.url}/blob"))
    assert store.read(Digest.of(CONTENT)) == CONTENT
    assert report.advanced == len(CONTENT)


def test_what_an_earlier_command_left_is_used(store: Store, client: HttpClient, server: Server) -> None:
    part = store.partial / f"{Digest.of(CONTENT).hex}.part"
    part.write_bytes(CONTENT[:1_234_567])
    report = fetch(store, client, wanted(f"{server.url}/blob"))
    assert [asked for _, _, asked in server.log] == ["bytes=1234567-"]
    assert report.advanced == len(CONTENT)
    assert store.read(Digest.of(CONTENT)) == CONTENT


def test_a_whole_leftover_is_adopted_without_a_request(store: Store, client: HttpClient, server: Server) -> None:
    (store.partial / f"{Digest.of(CONTENT).hex}.part").write_bytes(CONTENT)
    fetch(store, client, wanted(f"{server.url}/blob"))
    assert server.log == []
    assert store.read(Digest.of(CONTENT)) == CONTENT


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 1)])
def test_a_damaged_leftover_is_no_hindrance(store: Store, client: HttpClient, server: Server, left: bytes) -> None:
    (store.partial / f"{Digest.of(CONTENT).hex}.part").write_bytes(left)
    fetch(store, client, wanted(f"{server.url}/blob"))
    assert store.read(Digest.of(CONTENT)) == CONTENT
    assert leftovers(store) == []


def test_wrong_bytes_are_refused_and_said(store: Store, client: HttpClient, server: Server) -> None:
    wrong = b"x" * len(CONTENT)
    server.fault("/blob", Fault(content=wrong, times=-1))
    with pytest.raises(IntegrityError, match=r"thing\.whl is not the file that was locked") as caught:
        fetch(store, client, wanted(f"{server.url.replace('//', '//ann:s3cret@')}/blob?key=s3cret"))
    assert str(Digest.of(CONTENT)) in caught.value.why
    assert str(Digest.of(wrong)) in caught.value.why
    assert f"{server.url}/blob" in caught.value.why
    assert "s3cret" not in str(caught.value)
    assert not store.has(Digest.of(CONTENT))
    assert [name for name in leftovers(store) if name.endswith(".part")] == []


def test_after_wrong_bytes_the_next_url_is_tried(store: Store, client: HttpClient, server: Server) -> None:
    (server.root / "wrong").write_bytes(b"x" * len(CONTENT))
    fetch(store, client, wanted(f"{server.url}/wrong", f"{server.url}/absent", f"{server.url}/blob"))
    assert store.read(Digest.of(CONTENT)) == CONTENT


@pytest.mark.parametrize("length", [0, 1, len(CONTENT) - 1])
def test_a_shorter_file_is_refused(store: Store, client: HttpClient, server: Server, length: int) -> None:
    server.fault("/blob", Fault(content=CONTENT[:length], times=-1))
    with pytest.raises(IntegrityError):
        fetch(store, client, wanted(f"{server.url}/blob"))


def test_a_larger_file_is_cut_off_at_once(store: Store, client: HttpClient, server: Server) -> None:
    server.fault("/blob", Fault(content=CONTENT + b"x" * (64 << 20), times=-1))
    with pytest.raises(IntegrityError) as caught:
        fetch(store, client, wanted(f"{server.url}/blob"))
    assert "more than that came" in caught.value.why
    assert sum(path.stat().st_size for path in store.partial.iterdir()) <= len(CONTENT)


def test_further_urls_are_asked_for_only_when_needed(store: Store, client: HttpClient, server: Server) -> None:
    asked: list[str] = []

    def further() -> list[str]:
        asked.append("once")
        return [f"{server.url}/blob"]

    good = Wanted(
        digest=Digest.of(CONTENT), size=len(CONTENT), urls=(f"{server.url}/blob",), label="a", further=further
    )
    fetch(store, client, good)
    assert asked == []
    store.blob(good.digest).unlink()
    gone = Wanted(digest=good.digest, size=good.size, urls=(f"{server.url}/gone",), label="a", further=further)
    fetch(store, client, gone)
    assert asked == ["once"]
    assert store.read(good.digest) == CONTENT


def test_all_failures_are_reported_at_once_and_the_rest_is_kept(
    store: Store, client: HttpClient, server: Server
) -> None:
    (server.root / "wrong").write_bytes(b"other")
    things = [
        wanted(f"{server.url}/gone", content=b"one", label="one.whl"),
        wanted(f"{server.url}/wrong", content=b"three", label="three.whl"),
        wanted(f"{server.url}/blob", label="good.whl"),
    ]
    with pytest.raises(IntegrityError, match="2 of 3 files") as caught:
        fetch(store, client, *things)
    assert "one.whl" in caught.value.why
    assert "three.whl" in caught.value.why
    assert store.has(Digest.of(CONTENT), len(CONTENT))


def test_files_that_failed_alike_are_told_of_once(store: Store, client: HttpClient, server: Server) -> None:
    things = [wanted(f"{server.url}/{n}", content=str(n).encode(), label=f"{n}.whl") for n in range(40)]
    with pytest.raises(FetchError, match="40 of 40 files") as caught:
        fetch(store, client, *things)
    told, reason = caught.value.why.splitlines()
    assert re.fullmatch(r"(\d+\.whl \(\d B\), ){3}\d+\.whl \(\d B\) and 36 more: cannot download http://.*", told)
    assert reason == "  127.0.0.1 answered 404 Not Found"


def test_further_places_that_failed_alike_are_told_of_once(store: Store, client: HttpClient, server: Server) -> None:
    elsewhere = tuple(f"{server.url}/archive/{n}" for n in range(6))
    gone = Wanted(
        digest=Digest.of(CONTENT), size=len(CONTENT), urls=(f"{server.url}/gone",), label="a", further=lambda: elsewhere
    )
    with pytest.raises(FetchError) as caught:
        fetch(store, client, gone)
    answered = "127.0.0.1 answered 404 Not Found"
    also = f"also tried: cannot download {elsewhere[0]} and 5 more: {answered}"
    assert caught.value.why.splitlines() == [answered, also]


def test_a_file_without_an_address_is_said(store: Store, client: HttpClient) -> None:
    with pytest.raises(FetchError, match=r"cannot download thing\.whl"):
        fetch(store, client, wanted())


def test_a_stalled_transfer_is_given_up_and_kept(
    store: Store, client: HttpClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_blob, "_BREAKS", 1)
    (store.partial / f"{Digest.of(CONTENT).hex}.part").write_bytes(CONTENT[:500])
    server.fault("/blob", Fault(stall=1.5, times=-1))
    with pytest.raises(FetchError) as caught:
        fetch(store, client, wanted(f"{server.url}/blob"))
    assert "sent nothing" in caught.value.why
    assert (store.partial / f"{Digest.of(CONTENT).hex}.part").read_bytes() == CONTENT[:500]


def test_a_server_that_always_breaks_off_is_given_up(store: Store, client: HttpClient, server: Server) -> None:
    server.fault("/blob", Fault(cut=10, times=-1))
    with pytest.raises(FetchError) as caught:
        fetch(store, client, wanted(f"{server.url}/blob"))
    assert "broke off" in caught.value.why
    assert server.asked("/blob") == 5
    assert (store.partial / f"{Digest.of(CONTENT).hex}.part").read_bytes() == CONTENT[:50]


def test_a_full_disk_stops_everything_in_words(
    store: Store, client: HttpClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: fetch_blob.Download, chunk: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fetch_blob.Download, "_append", full)
    with pytest.raises(StoreError, match="cannot use the store") as caught:
        fetch(store, client, wanted(f"{server.url}/blob"), wanted(f"{server.url}/gone", content=b"x"))
    assert "No space left on device" in caught.value.why
    assert "free some space" in caught.value.hint


def test_local_files_are_fetched_the_same_way(store: Store, client: HttpClient, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(CONTENT)
    (store.partial / f"{Digest.of(CONTENT).hex}.part").write_bytes(CONTENT[:70])
    fetch(store, client, wanted((tmp_path / "blob").as_uri()))
    assert store.read(Digest.of(CONTENT)) == CONTENT


PROGRAM = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from repro_env.build.fetch import Wanted, fetch_all
    from repro_env.edges.http_client import HttpClient
    from repro_env.edges.report import Silent
    from repro_env.image.store import Store
    from repro_env.values import Digest
    store, url, digest, size = sys.argv[1:]
    one = Wanted(digest=Digest(digest), size=int(size), urls=(url,), label="thing.whl")
    try:
        fetch_all([one], store=Store(Path(store)), http=HttpClient(), report=Silent())
    except KeyboardInterrupt:
        sys.exit(130)
    """
)


def start(store: Store, url: str, content: bytes) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", PROGRAM, str(store.root), url, Digest.of(content).hex, str(len(content))]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_two_processes_download_one_blob_once(store: Store, server: Server) -> None:
    server.fault("/blob", Fault(stall=0.5))
    processes = [start(store, f"{server.url}/blob", CONTENT) for _ in range(3)]
    for process in processes:
        assert process.communicate(timeout=60) == (b"", b"")
        assert process.returncode == 0
    assert server.asked("/blob") == 1
    assert leftovers(store) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_interrupted_download_ends_promptly_and_goes_on_later(
    store: Store, client: HttpClient, server: Server, number: signal.Signals, status: int
) -> None:
    server.fault("/blob", Fault(cut=1_000_000, stall=0.2))

    def then_stall() -> None:
        while server.asked("/blob") == 0:
            time.sleep(0.005)
        server.fault("/blob", Fault(stall=20))

    threading.Thread(target=then_stall, daemon=True).start()
    process = start(store, f"{server.url}/blob", CONTENT)
    part = store.partial / f"{Digest.of(CONTENT).hex}.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size == 1_000_000 and server.asked("/blob") == 2):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    began = time.monotonic()
    process.send_signal(number)
    _out, error = process.communicate(timeout=20)
    assert process.returncode == status
    assert error == b""
    assert time.monotonic() - began < 3
    assert hashlib.sha256(part.read_bytes()).digest() == hashlib.sha256(CONTENT[:1_000_000]).digest()
    server.fault("/blob", Fault(times=0))
    fetch(store, client, wanted(f"{server.url}/blob"))
    assert server.log[-1] == ("GET", "/blob", "bytes=1000000-")
    assert store.read(Digest.of(CONTENT)) == CONTENT
