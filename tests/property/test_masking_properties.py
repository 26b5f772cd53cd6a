"""Masking a stream gives what replacing in the whole of it gives, however it is cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.edges.masking import MASK, Masker, maskable

# Few letters, so that values overlap, repeat and begin each other.
values = st.text("ab", min_size=4, max_size=7) | st.text("ab\n ", max_size=16) | st.sampled_from(["aaaa", "abababab"])
secrets = st.lists(values, min_size=1, max_size=4).filter(lambda found: bool(maskable(found)))


@st.composite
def streams(draw: st.DrawFn) -> tuple[tuple[bytes, ...], list[bytes]]:
    patterns = maskable(draw(secrets))
    pieces = st.sampled_from(patterns) | st.text("ab\n", max_size=5).map(str.encode)
    return patterns, draw(st.lists(pieces | pieces.map(lambda piece: piece[: len(piece) // 2]), max_size=12))


def replaced(text: bytes, patterns: tuple[bytes, ...]) -> bytes:
    """Replace from left to right, of those that begin at one place the longest."""
    done, at = b"", 0
    while at < len(text):
        longest = max((pattern for pattern in patterns if text.startswith(pattern, at)), key=len, default=b"")
        done += MASK if longest else text[at : at + 1]
        at += len(longest) or 1
    return done


@settings(deadline=None, max_examples=500)
@given(streams(), st.data())
def test_any_chunks_give_what_the_whole_text_gives(
    stream: tuple[tuple[bytes, ...], list[bytes]], data: st.DataObject
) -> None:
    patterns, pieces = stream
    text = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    masker = Masker(patterns)
    passed = [masker.feed(text[start:end]) for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert b"".join([*passed, masker.finish()]) == replaced(text, patterns)


@settings(deadline=None)
@given(streams())
def test_what_waits_is_always_the_beginning_of_a_secret(stream: tuple[tuple[bytes, ...], list[bytes]]) -> None:
    patterns, pieces = stream
    masker = Masker(patterns)
    for piece in pieces:
        masker.feed(piece)
        held = masker._held
        assert not held or any(pattern != held and pattern.startswith(held) for pattern in patterns)
