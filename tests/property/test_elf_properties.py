"""Whatever bytes come: the reader ends, gives an `Elf`, None or its own error, and reads the same from any stream."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence

import pytest
from elfmaker import handmade_elf
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.image.elf import Elf, ElfSink, MalformedElfError, read_elf
from repro_env.image.elf.stream import AbsentError, Sparse

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
WHOLE = st.builds(
    handmade_elf,
    bits=st.sampled_from([32, 64]),
    order=st.sampled_from("<>"),
    machine_number=st.integers(0, 0xFFFF),
    soname=NAMES,
    needed=st.lists(NAMES, max_size=5).map(tuple),
)


def read(data: bytes) -> Elf | MalformedElfError | None:
    def ranges(wanted: Sequence[tuple[int, int]]) -> list[bytes]:
        assert all(start >= 0 and size >= 0 and start + size <= len(data) for start, size in wanted)
        return [data[start : start + size] for start, size in wanted]

    try:
        return read_elf(ranges, len(data))
    except MalformedElfError as error:
        return error


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def stream(data: bytes, cuts: Sequence[int]) -> Elf | MalformedElfError | None:
    results: list[Elf | MalformedElfError | None] = []
    sink = ElfSink(len(data), lambda: pieces(data, cuts), results.append)
    for piece in pieces(data, cuts):
        sink.feed(piece)
    sink.close()
    (result,) = results
    return result


def same(one: Elf | MalformedElfError | None, other: Elf | MalformedElfError | None) -> bool:
    return str(one) == str(other) if isinstance(one, MalformedElfError) else one == other


@given(WHOLE, st.lists(st.integers(0, 1 << 16), max_size=6))
@settings(deadline=None)
def test_a_whole_file_is_read_as_it_was_made(data: bytes, cuts: list[int]) -> None:
    found = read(data)
    assert isinstance(found, Elf)
    assert found.soname
    assert stream(data, cuts) == found


@given(
    WHOLE,
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=8),
    st.integers(0, 1 << 16),
    st.lists(st.integers(0, 1 << 16), max_size=6),
)
@settings(deadline=None, max_examples=500)
def test_a_damaged_file_is_at_worst_malformed(
    data: bytes, changes: list[tuple[int, int]], cut: int, cuts: list[int]
) -> None:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    hostile = bytes(damaged[: cut % (len(damaged) + 1)] if cut % 3 == 0 else damaged)
    assert same(stream(hostile, cuts), read(hostile))


@given(st.binary(max_size=600), st.lists(st.integers(0, 1 << 16), max_size=6))
@settings(deadline=None)
def test_what_only_begins_as_an_elf_file_is_at_worst_malformed(rest: bytes, cuts: list[int]) -> None:
    hostile = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, 62) + rest
    assert same(stream(hostile, cuts), read(hostile))


@given(
    st.binary(min_size=1, max_size=200),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 80)), max_size=12),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 60)), max_size=6),
)
@settings(deadline=None)
def test_parts_are_given_back_wherever_all_of_a_range_was_kept(
    data: bytes, kept: list[tuple[int, int]], wanted: list[tuple[int, int]]
) -> None:
    sparse = Sparse()
    known: set[int] = set()
    for start, size in kept:
        sparse.keep(start, data[start : start + size])
        known.update(range(start, min(start + size, len(data))))
    for start, size in wanted:
        if set(range(start, start + size)) <= known:
            assert sparse.read([(start, size)]) == [data[start : start + size]]
        else:
            with pytest.raises(AbsentError) as caught:
                sparse.read([(start, 0), (start, size)])
            assert caught.value.ranges == [(start, size)]
