from __future__ import annotations

import hashlib

import pytest

from repro_env.data import manifest
from repro_env.data.manifest import Entry
from repro_env.values import Digest

ONE, TWO = Digest.of(b"one"), Digest.of(b"two")


def file(path: str, digest: Digest = ONE, *, size: int = 3, kind: str = "file") -> Entry:
    return Entry(path=path, kind=kind, size=size, digest=digest)


def link(path: str, target: str) -> Entry:
    return Entry(path=path, kind="link", size=0, digest=None, target=target)


def by_path(*entries: Entry) -> dict[str, Entry]:
    return {entry.path: entry for entry in entries}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"data/raw.csv", b"data/raw.csv"),
        ("Adélie 1.csv".encode(), "Adélie 1.csv".encode()),
        (b"a\tb\nc", rb"a\x09b\x0ac"),
        (b"back\\slash", rb"back\x5cslash"),
        (b"latin-\xe9", rb"latin-\xe9"),
        (rb"not an escape \xe9", rb"not an escape \x5cxe9"),
    ],
)
def test_a_name_stands_in_one_line_and_comes_back(name: bytes, text: bytes) -> None:
    assert manifest.escape(name) == text
    assert manifest.unescape(text) == name


def test_a_manifest_is_read_back() -> None:
    hexadecimal = hashlib.sha256(b"one").hexdigest()
    text = manifest.FIRST_LINE + f"file\t3\t{hexadecimal}\ta\nlink\t0\t-\tb\tsub/a\n".encode()
    assert manifest.parse(text) == by_path(file("a"), link("b", "sub/a"))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"repro data manifest 2\n",
        manifest.FIRST_LINE + b"file\t3\tzz\ta\n",
        manifest.FIRST_LINE + b"pipe\t3\t-\ta\n",
        manifest.FIRST_LINE + b"link\t0\t-\ta\n",
        manifest.FIRST_LINE + b"file\tmany\t" + b"0" * 64 + b"\ta\n",
    ],
)
def test_what_is_no_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        manifest.parse(text)


def test_differences_are_told_in_words_and_in_order() -> None:
    before = by_path(
        file("a"), file("gone"), file("moved"), file("size"), file("x"), link("latest", "a"), file("same"), file("kind")
    )
    after = by_path(
        file("a", TWO),
        file("elsewhere"),
        file("new", TWO),
        file("size", TWO, size=1234),
        file("x", kind="executable"),
        link("latest", "b"),
        file("same"),
        link("kind", "a"),
    )
    before = {**before, "moved": file("moved", Digest.of(b"m"))}
    after = {**after, "elsewhere": file("elsewhere", Digest.of(b"m"))}
    assert manifest.differences(before, after) == [
        "a has another content of the same 3 bytes",
        "moved is now elsewhere",
        "gone is missing",
        "kind was a file and is a link to a",
        "latest was a link to a and is a link to b",
        "new is new",
        "size has another content: 3 bytes then, 1,234 now",
        "x became executable",
    ]


def test_copies_and_empty_files_are_not_called_renamed() -> None:
    empty = Digest.of(b"")
    before = by_path(file("one"), file("two"), file("nothing", empty, size=0))
    after = by_path(file("three"), file("blank", empty, size=0))
    assert manifest.differences(before, after) == [
        "blank is new",
        "nothing is missing",
        "one is missing",
        "three is new",
        "two is missing",
    ]
