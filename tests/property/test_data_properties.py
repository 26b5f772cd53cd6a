from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.data import manifest
from repro_env.data.measure import measure
from repro_env.edges.report import Silent

names = st.binary(min_size=1, max_size=20).filter(lambda name: not {0, 0x2F} & set(name) and name not in {b".", b".."})
trees = st.dictionaries(st.lists(names, min_size=1, max_size=3).map(tuple), st.binary(max_size=300), max_size=8)


@given(st.binary(min_size=1))
def test_any_name_is_written_in_one_line_and_comes_back(name: bytes) -> None:
    text = manifest.escape(name)
    assert manifest.unescape(text) == name
    assert text.decode().isprintable() or not any(character in text for character in b"\n\t\r\0\x7f")


@given(names, names)
def test_two_names_are_never_written_alike(one: bytes, other: bytes) -> None:
    assert (one == other) == (manifest.escape(one) == manifest.escape(other))


@settings(deadline=None, max_examples=60)
@given(trees)
def test_any_tree_measures_the_same_wherever_and_in_whatever_order_it_was_made(
    tree: dict[tuple[bytes, ...], bytes],
) -> None:
    wanted = {path: content for path, content in tree.items() if not clashes(path, tree)}
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        for root, items in ((one, list(wanted.items())), (other, list(wanted.items())[::-1])):
            for path, content in items:
                place = os.path.join(os.fsencode(root), *path)
                os.makedirs(os.path.dirname(place), exist_ok=True)
                with open(place, "wb") as stream:
                    stream.write(content)
        found, again = (measure(Path(root), reporter=Silent()) for root in (one, other))
    assert found.digest == again.digest
    assert found.files == len(wanted)
    assert found.size == sum(map(len, wanted.values()))
    read = {manifest.unescape(path.encode()) for path in manifest.parse(found.manifest())}
    assert read == {b"/".join(path) for path in wanted}


def clashes(path: tuple[bytes, ...], tree: dict[tuple[bytes, ...], bytes]) -> bool:
    """Whether another path needs a directory where this one is a file."""
    return any(other[: len(path)] == path and other != path for other in tree)
