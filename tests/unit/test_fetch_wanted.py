"""What a lock wants fetched, and where else it may be had."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from repro_env.build.fetch_index import Offer, locate, offers
from repro_env.build.fetch_wanted import Places, absolute_url, wanted_of_lock
from repro_env.edges.credentials import Index
from repro_env.edges.http import NotFoundError
from repro_env.errors import LockError
from repro_env.lock.model import DebianPackage, DebianRoot, Environment, Lock, LockedBase, LockedStep, Wheel
from repro_env.values import Digest, Platform, PythonVersion

AMD64, ARM64 = Platform("amd64"), Platform("arm64")
WHEEL = Wheel(
    name="some-thing",
    version="1.0",
    file="some_thing-1.0-py3-none-any.whl",
    url="https://first/p/some_thing-1.0-py3-none-any.whl",
    sha256=Digest.of(b"wheel"),
    size=5,
)
DEB = DebianPackage(
    name="libc6",
    version="2.36-9",
    architecture="amd64",
    url="http://deb.debian.org/debian/pool/main/g/glibc/libc6_2.36-9_amd64.deb",
    sha256=Digest.of(b"deb"),
    size=3,
)
ROOT = DebianRoot(glibc="2.36", python="3.11.2", sources=(), packages=(DEB,))


def lock(*wheels: Wheel) -> Lock:
    environment = Environment(interpreter="3.11.2", wheels=wheels)
    step = LockedStep(
        name="clean", base="slim", python=PythonVersion(11), command=("true",), environments={AMD64: environment}
    )
    return Lock(
        project="p",
        inputs={},
        bases={"slim": LockedBase(name="slim", suite="bookworm", roots={AMD64: ROOT})},
        steps={"clean": step, "train": replace(step, name="train")},
        data={},
    )


class Pages:
    """An index in memory that notes what it was asked."""

    def __init__(self, **pages: bytes) -> None:
        self.pages = {url.replace("_", "/"): page for url, page in pages.items()}
        self.asked: list[str] = []

    def get(self, url: str, *, limit: int, accept: str = "*/*") -> bytes:
        self.asked.append(url)
        if url not in self.pages:
            raise NotFoundError("no")
        return self.pages[url]


def page(*links: str) -> bytes:
    return "".join(f'<a href="{link}">x</a>' for link in links).encode()


def test_wheels_and_debs_of_the_steps_each_once() -> None:
    wanted = wanted_of_lock(lock(WHEEL), ["clean", "train"], AMD64, places=Places(project=Path("/p")), pages=Pages())
    assert [(one.label, one.digest, one.size, one.urls) for one in wanted] == [
        (WHEEL.file, WHEEL.sha256, 5, (WHEEL.url,)),
        ("libc6_2.36-9_amd64.deb", DEB.sha256, 3, (DEB.url,)),
    ]


@pytest.mark.parametrize(("step", "platform"), [("other", AMD64), ("clean", ARM64)])
def test_what_is_not_locked_is_said(step: str, platform: Platform) -> None:
    with pytest.raises(LockError, match=f"does not pin step {step} on {platform}"):
        wanted_of_lock(lock(WHEEL), [step], platform, places=Places(project=Path("/p")), pages=Pages())


def test_a_mirror_is_tried_first_and_the_archive_last() -> None:
    def archive(package: DebianPackage, root: DebianRoot) -> Sequence[str]:
        assert (package, root) == (DEB, ROOT)
        return ["http://snapshot/libc6.deb"]

    places = Places(
        project=Path("/p"), mirrors={"http://deb.debian.org/debian/": "https://mirror/deb"}, archive=archive
    )
    (one,) = wanted_of_lock(lock(), ["clean"], AMD64, places=places, pages=Pages())
    assert one.urls == ("https://mirror/deb/pool/main/g/glibc/libc6_2.36-9_amd64.deb", DEB.url)
    assert list(one.further()) == ["http://snapshot/libc6.deb"]


@pytest.mark.parametrize(
    ("url", "absolute"),
    [
        ("https://h/a.whl", "https://h/a.whl"),
        ("file:///a.whl", "file:///a.whl"),
        ("wheels/a.whl", "file:///p/wheels/a.whl"),
        ("wheels/a%20b%2Bc.whl", "file:///p/wheels/a%20b%2Bc.whl"),
    ],
)
def test_a_relative_url_is_of_the_project(url: str, absolute: str) -> None:
    assert absolute_url(url, Path("/p")) == absolute


class TestLocate:
    def found(self, pages: Pages, *indexes: Index) -> list[str]:
        return list(locate(WHEEL, indexes, pages))

    def test_by_hash_in_html(self) -> None:
        other = f"../../files/{WHEEL.file}#sha256={'0' * 64}"
        right = f"../../packages/renamed.whl#sha256={WHEEL.sha256.hex}"
        pages = Pages()
        pages.pages["https://second/simple/some-thing/"] = page(other, right)
        assert self.found(pages, Index(url="https://second/simple/")) == ["https://second/packages/renamed.whl"]

    def test_by_hash_in_json(self) -> None:
        files = [
            {"filename": WHEEL.file, "url": "https://cdn/wrong", "hashes": {"sha256": "0" * 64}},
            {"filename": WHEEL.file, "url": "/right", "hashes": {"sha256": WHEEL.sha256.hex}},
        ]
        pages = Pages()
        pages.pages["https://second/simple/some-thing/"] = json.dumps({"files": files}).encode()
        assert self.found(pages, Index(url="https://second/simple")) == ["https://second/right"]

    def test_by_name_only_where_the_index_has_no_hash(self) -> None:
        pages = Pages()
        pages.pages["https://a/some-thing/"] = page(f"/x/{WHEEL.file}", "/x/other-1.0-py3-none-any.whl")
        pages.pages["https://b/some-thing/"] = page(f"/y/{WHEEL.file}#sha256={WHEEL.sha256.hex}")
        found = self.found(pages, Index(url="https://a"), Index(url="https://b"))
        assert found == [f"https://b/y/{WHEEL.file}", f"https://a/x/{WHEEL.file}"]

    def test_credentials_of_the_index_go_along(self) -> None:
        pages = Pages()
        pages.pages["https://ann:pw@a/some-thing/"] = page(f"f/x.whl#sha256={WHEEL.sha256.hex}")
        assert self.found(pages, Index(url="https://ann:pw@a")) == ["https://ann:pw@a/some-thing/f/x.whl"]

    def test_in_a_flat_page(self) -> None:
        pages = Pages()
        pages.pages["https://a/flat"] = page(f"{WHEEL.file}#sha256={WHEEL.sha256.hex}")
        assert self.found(pages, Index(url="https://a/flat", flat=True)) == [f"https://a/{WHEEL.file}"]

    def test_in_a_directory(self) -> None:
        index = Index(url="file:///wheels", flat=True)
        assert self.found(Pages(), index) == [f"file:///wheels/{WHEEL.file}"]

    def test_in_a_local_index(self) -> None:
        pages = Pages()
        pages.pages["file:///i/simple/some-thing/index.html"] = page(f"../../f/x.whl#sha256={WHEEL.sha256.hex}")
        assert self.found(pages, Index(url="file:///i/simple")) == ["file:///i/f/x.whl"]

    def test_an_index_that_fails_offers_nothing(self) -> None:
        assert self.found(Pages(), Index(url="https://a"), Index(url="https://b")) == []


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"files": ' + "[" * 99_999,
        "{}",
        '{"files": 3}',
        '{"files": [3]}',
        '{"files": [{"filename": "a"}]}',
        '{"files": [{"hashes": 1}]}',
    ],
)
def test_a_damaged_page_offers_nothing(text: str) -> None:
    assert offers(text.encode(), "https://h/") == []


@pytest.mark.parametrize("text", [b"\xff\xfe<a", b"<a href>", b"", b"<a href='http://[::1'>x</a>"])
def test_damaged_html_offers_nothing_usable(text: bytes) -> None:
    assert [one for one in offers(text, "https://h/") if one.file.endswith(".whl")] == []


def test_a_base_element_is_obeyed() -> None:
    text = b'<base href="https://cdn/x/"><a href="y.whl#sha256=00">y</a>'
    assert offers(text, "https://h/") == [Offer(file="y.whl", url="https://cdn/x/y.whl", sha256="00")]


def test_one_damaged_entry_hides_no_other() -> None:
    good = {"filename": "y.whl", "url": "y.whl", "hashes": {"sha256": "00"}}
    bad = [3, {"filename": "x.whl"}, {**good, "hashes": None}, {**good, "url": "http://[::1"}]
    text = json.dumps({"files": [*bad, good]}).encode()
    assert offers(text, "https://h/") == [Offer(file="y.whl", url="https://h/y.whl", sha256="00")]
