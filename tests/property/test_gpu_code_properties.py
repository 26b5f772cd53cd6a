"""However a library is cut into pieces, the same is read of it; whatever happens to it, something is said of it."""

from __future__ import annotations

import struct

from fatmaker import (
    FAMILY,
    PTX,
    SASS,
    THIS_ONE,
    bundle,
    container,
    entry,
    gpu_elf,
    in_pages,
    packed,
    read_gpu_code,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.lock.gpu_code import GpuCode, gpu_code_from

flags = st.sampled_from([0, THIS_ONE, FAMILY])
entries = st.builds(
    entry,
    st.sampled_from([PTX, SASS, SASS, 4, 8]),
    st.integers(10, 999),
    version=st.tuples(st.integers(1, 9), st.integers(0, 12)),
    flags=flags,
    payload=st.binary(max_size=40),
    width=st.sampled_from([64, 80, 120]),
)
fatbins = st.lists(
    st.builds(
        lambda found, zeros: container(*found) + bytes(zeros),
        st.lists(entries, max_size=4),
        st.sampled_from([0, 8, 200]),
    ),
    max_size=4,
).map(b"".join)
processors = st.sampled_from(["gfx90a", "gfx942:xnack-", "gfx1100"]).map(
    lambda name: f"hipv4-amdgcn-amd-amdhsa--{name}"
)
bundles = (
    st.lists(processors, max_size=3)
    .map(lambda found: bundle(*found))
    .flatmap(lambda made: st.sampled_from([made, packed(made), packed(made, version=2, method=0)]))
)
sections = st.one_of(
    st.tuples(st.sampled_from([".nv_fatbin", "__nv_relfatbin"]), fatbins),
    st.tuples(st.just(".hip_fatbin"), st.lists(bundles, max_size=2).map(in_pages)),
    st.tuples(st.sampled_from([".rodata", ".data"]), st.binary(max_size=60) | fatbins),
)


@st.composite
def libraries(draw: st.DrawFn) -> bytes:
    return gpu_elf(
        *draw(st.lists(sections, max_size=4)),
        text=draw(st.binary(max_size=60)) + bytes(draw(st.sampled_from([0, 1 << 20]))),
        together=draw(st.booleans()),
        gap=draw(st.sampled_from([0, 24])),
        extended=draw(st.booleans()),
    )


LIBRARY = gpu_elf(
    (".nv_fatbin", container(entry(SASS, 90, flags=THIS_ONE), entry(PTX, 90, version=(8, 4))) + container()),
    (
        ".hip_fatbin",
        in_pages([bundle("hipv4-amdgcn-amd-amdhsa--gfx90a"), packed(bundle("hip-amdgcn-amd-amdhsa-gfx9"))]),
    ),
)
CUTS = st.lists(st.integers(0, len(LIBRARY)), max_size=6)


def checked(data: bytes, *, cuts: list[int] | None = None, expected: bool = False) -> GpuCode | None:
    """Return what is read, which the lock can say, after no more passes than there can be need for."""
    code, passes = read_gpu_code(data, cuts=cuts or [], expected=expected)
    assert passes <= 5
    if code is not None:
        assert gpu_code_from([code.to_dict()]) == (code,)
    return code


@settings(deadline=None)
@given(libraries(), st.data(), st.booleans())
def test_pieces_and_expectations_do_not_matter(library: bytes, data: st.DataObject, expected: bool) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(library)), max_size=8))
    assert checked(library, cuts=cuts, expected=expected) == checked(library)


@settings(deadline=None, max_examples=400)
@given(
    st.lists(
        st.tuples(st.integers(0, len(LIBRARY) - 8), st.sampled_from(["<B", "<H", "<I", "<Q"]), st.data()), max_size=4
    ),
    CUTS,
    st.integers(0, len(LIBRARY)),
)
def test_a_damaged_library_is_read_or_unknown(
    changes: list[tuple[int, str, st.DataObject]], cuts: list[int], end: int
) -> None:
    library = bytearray(LIBRARY)
    for place, form, data in changes:
        limit = 1 << 8 * struct.calcsize(form)
        struct.pack_into(
            form, library, place, data.draw(st.integers(0, limit - 1) | st.integers(0, min(limit, 300) - 1))
        )
    checked(bytes(library), cuts=cuts)
    checked(bytes(library[:end]))


HEADERS = [*range(64), *range(len(LIBRARY) - 64 * 4, len(LIBRARY))]


@settings(deadline=None, max_examples=400)
@given(st.dictionaries(st.sampled_from(HEADERS), st.integers(0, 255), max_size=6), CUTS)
def test_damaged_headers_do_no_harm(changes: dict[int, int], cuts: list[int]) -> None:
    library = bytearray(LIBRARY)
    for place, value in changes.items():
        library[place] = value
    checked(bytes(library), cuts=cuts)
