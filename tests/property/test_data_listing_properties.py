"""A manifest made of a listing is the one that measuring the same files gives; names cannot break out of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from datatree import of
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.data import manifest
from repro_env.data.listing import list_files, pins_of, pins_text
from repro_env.data.select import EVERYTHING
from repro_env.data.sources.base import RemoteFile, Request, Resolved
from repro_env.errors import VerificationError

names = st.binary(min_size=1, max_size=6).filter(lambda name: name not in (b".", b"..") and not set(name) & set(b"/\0"))
trees = st.dictionaries(names, st.binary(max_size=20), min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(trees)
def test_a_manifest_is_written_again_as_it_was(tree: dict[bytes, bytes]) -> None:
    with tempfile.TemporaryDirectory() as place:
        for name, content in tree.items():
            with open(os.fsencode(place) + b"/" + name, "wb") as stream:
                stream.write(content)
        text = of(Path(place)).manifest()
    entries = manifest.parse(text)
    assert len(entries) == len(tree)
    assert manifest.text(reversed(list(entries.values()))) == text


class Listed:
    """A source of which only the listing is asked."""

    def __init__(self, files: list[RemoteFile]) -> None:
        self._files = files

    def files(self, resolved: Resolved) -> list[RemoteFile]:
        return self._files


RESOLVED = Resolved(request=Request(name="raw", uri="s3://b/raw/"))


def listed(files: list[RemoteFile]) -> tuple[RemoteFile, ...]:
    return list_files(Listed(files), RESOLVED, EVERYTHING)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.lists(names, min_size=1, max_size=6, unique=True), st.text(max_size=9))
def test_a_list_of_pins_has_a_line_a_file_whatever_servers_say(found: list[bytes], word: str) -> None:
    files = [RemoteFile(path=manifest.escape(name).decode(), size=3, pin=f"etag:{word}") for name in found]
    text = pins_text("raw", listed(files))
    assert pins_of(text).keys() == {file.path for file in files}
    assert text.count(b"\n") == len(files) + 1


@pytest.mark.parametrize(
    "path", ["../a", "a/../b", "/etc/passwd", "a//b", "./a", "..", "a/", r"\x2e\x2e/a", r"a\x2f..\x2fb", r"a\x00"]
)
def test_names_that_would_leave_the_data_are_refused(path: str) -> None:
    with pytest.raises(VerificationError, match="cannot be a directory"):
        listed([RemoteFile(path=path, size=1), RemoteFile(path="fine", size=1)])


@pytest.mark.parametrize("target", ["/etc/passwd", "../x", "sub/../../x"])
def test_links_that_would_leave_the_data_are_refused(target: str) -> None:
    with pytest.raises(VerificationError, match="leaves the data"):
        listed([RemoteFile(path="a", kind="link", target=target)])


def test_a_link_that_would_leave_the_data_through_another_is_refused() -> None:
    up = RemoteFile(path="sub/up", kind="link", target="..")
    listed([up, RemoteFile(path="a", kind="link", target="sub/up/b")])
    with pytest.raises(VerificationError, match=r"a -> .* leaves the data"):
        listed([up, RemoteFile(path="a", kind="link", target="sub/up/../x")])


def test_two_files_of_one_name_and_a_file_below_a_file_are_refused() -> None:
    files = [RemoteFile(path=path, size=1) for path in ("a", "a", "b", "b/c/d")]
    with pytest.raises(VerificationError) as error:
        listed(files)
    assert "a: is listed twice" in error.value.why
    assert "b/c/d: lies below b" in error.value.why
