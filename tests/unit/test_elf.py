"""What is read of ELF files: what the compiler put there, and nothing worse than an error from what is malformed."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from elfmaker import apart, handmade_elf, make_elf

from repro_env.image.elf import MACHINES, Elf, ElfSink, MalformedElfError, read_elf


@pytest.fixture(scope="module")
def versioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that uses all that is read: two needs with versions, its own versions, a soname and a RUNPATH."""
    folder = tmp_path_factory.mktemp("elf")
    base = make_elf(
        folder / "libbase.so.1", soname="libbase.so.1", versions={"BASE_1.0": ["one"], "BASE_1.10": ["two"]}
    )
    plain = make_elf(folder / "libplain.so", soname="libplain.so")
    return make_elf(
        folder / "libuser.so.3.1",
        soname="libuser.so.3",
        needs=[base, plain],
        calls=["one", "two"],
        versions={"USER_3": ["three"]},
        runpath="$ORIGIN/../libs:/opt/lib",
    )


def read(data: bytes) -> Elf | None:
    def ranges(wanted: Sequence[tuple[int, int]]) -> list[bytes]:
        assert all(start >= 0 and start + size <= len(data) for start, size in wanted)
        return [data[start : start + size] for start, size in wanted]

    return read_elf(ranges, len(data))


def stream(data: bytes, *, piece: int = 1 << 18) -> tuple[Elf | MalformedElfError | None, int]:
    """Return what a sink makes of a file that passes in pieces, and how often it was passed again."""
    results: list[Elf | MalformedElfError | None] = []
    passes = 0

    def again() -> list[bytes]:
        nonlocal passes
        passes += 1
        return [data[at : at + piece] for at in range(0, len(data), piece)]

    sink = ElfSink(len(data), again, results.append)
    for at in range(0, len(data), piece):
        sink.feed(data[at : at + piece])
    sink.close()
    (result,) = results
    return result, passes


def test_everything_a_library_says(versioned: Path) -> None:
    elf = read(versioned.read_bytes())
    assert elf is not None
    assert (elf.soname, elf.needed) == ("libuser.so.3", ("libbase.so.1", "libplain.so"))
    assert (elf.rpath, elf.runpath) == ("", "$ORIGIN/../libs:/opt/lib")
    assert {library: set(versions) for library, versions in elf.needs.items()} == {
        "libbase.so.1": {"BASE_1.0", "BASE_1.10"}
    }
    assert elf.defines == ("USER_3",)
    assert (elf.bits, elf.machine in MACHINES.values(), elf.executable, elf.interpreter) == (64, True, False, "")


def test_the_older_way_to_write_a_search_path(tmp_path: Path) -> None:
    elf = read(make_elf(tmp_path / "a.so", rpath="$ORIGIN").read_bytes())
    assert elf is not None
    assert (elf.rpath, elf.runpath, elf.soname) == ("$ORIGIN", "", "")


def test_a_program_names_its_interpreter(tmp_path: Path) -> None:
    base = make_elf(tmp_path / "libbase.so", soname="libbase.so", versions={"B_1": ["one"]})
    elf = read(make_elf(tmp_path / "program", program=True, needs=[base], calls=["one"]).read_bytes())
    assert elf is not None
    assert elf.interpreter.startswith("/lib")
    assert elf.needed == ("libbase.so",)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_each_class_and_byte_order(bits: int, order: str) -> None:
    elf = read(handmade_elf(bits=bits, order=order, machine_number=8, soname="libx.so.1", needed=("a", "libé.so")))
    assert elf == Elf(machine=8, bits=bits, soname="libx.so.1", needed=("a", "libé.so"))


def test_a_name_that_is_not_utf8_is_shown_with_escapes() -> None:
    data = handmade_elf(soname="libx.so.1").replace(b"libx", b"lib\xff")
    elf = read(data)
    assert elf is not None
    assert elf.soname == "lib\\xff.so.1"


@pytest.mark.parametrize(
    "data", [b"", b"\x7f", b"\x7fELF", b"text that is longer than a header of any ELF file is" * 3]
)
def test_what_is_no_elf_file_is_none(data: bytes) -> None:
    assert read(data) is None


def test_objects_and_static_programs_say_nothing(tmp_path: Path) -> None:
    data = bytearray(handmade_elf(soname="libx.so.1"))
    data[16] = 1  # ET_REL
    assert read(bytes(data)) is None
    static = make_elf(tmp_path / "static", program=True, options=["-static", "-no-pie"])
    assert read(static.read_bytes()) is None


@pytest.mark.parametrize("piece", [1 << 18, 4096, 1000])
def test_a_stream_gives_what_the_file_gives(versioned: Path, piece: int) -> None:
    data = versioned.read_bytes()
    assert stream(data, piece=piece) == (read(data), 0)


@pytest.mark.parametrize("options", [(), ("-Wl,-z,noseparate-code",)], ids=["separate code", "one segment"])
def test_a_large_library_needs_no_second_pass(tmp_path: Path, options: tuple[str, ...]) -> None:
    base = make_elf(tmp_path / "libbase.so", soname="libbase.so", versions={"B_1": ["one"]})
    large = make_elf(tmp_path / "large.so", needs=[base], calls=["one"], padding=12 << 20, options=options)
    data = large.read_bytes()
    result, passes = stream(data)
    assert (result, passes) == (read(data), 0)
    assert isinstance(result, Elf)
    assert result.needs == {"libbase.so": ("B_1",)}


def test_names_where_nobody_looks_for_them_are_fetched_by_a_second_pass() -> None:
    small = handmade_elf(soname="libx.so.1", needed=("liby.so",))
    data = apart(small, 20 << 20)
    result, passes = stream(data)
    assert result == read(small)
    assert passes == 1


def test_cut_anywhere_it_is_an_error_or_the_same(versioned: Path) -> None:
    data = versioned.read_bytes()
    whole = read(data)
    for length in range(len(data)):
        try:
            found = read(data[:length])
        except MalformedElfError:
            continue
        assert found is None or found == whole


@pytest.mark.parametrize("value", [0x00, 0x01, 0x7F, 0xFF])
def test_no_byte_makes_it_worse_than_an_error(versioned: Path, value: int) -> None:
    data = bytearray(versioned.read_bytes())
    interesting = [*range(64 + 56 * 12), *_section_bytes(data)]
    for place in interesting:
        before, data[place] = data[place], value
        _harmless(bytes(data))
        data[place] = before


def _section_bytes(data: bytearray) -> list[int]:
    """Return the places of the dynamic section and of the version records, which the program headers lead to."""
    count = int.from_bytes(data[56:58], "little")
    places: list[int] = []
    for index in range(count):
        kind, _flags, offset, _address, _physical, size = struct.unpack_from("<IIQQQQ", data, 64 + 56 * index)
        if kind == 2 or (kind == 1 and size < 4096):
            places += range(offset, offset + size)
    return places


def _harmless(data: bytes) -> None:
    try:
        direct: Elf | str | None = read(data)
    except MalformedElfError as error:
        direct = str(error)
    streamed, passes = stream(data)
    assert passes <= 6
    assert (str(streamed) if isinstance(streamed, MalformedElfError) else streamed) == direct


def test_a_circle_of_version_records_ends() -> None:
    """A record's `next` is unsigned, so a list only runs forward; one of thousands of records in few bytes ends too."""
    table = struct.pack("<HHIII", 1, 1, 1, 16, 1) * 4096
    data = _with_version_needs(table)
    with pytest.raises(MalformedElfError):
        read(data)


def _with_version_needs(table: bytes) -> bytes:
    small = bytearray(handmade_elf(soname="libx.so.1", needed=("liby.so",)))
    # The soname's entry makes way for DT_VERNEED, whose table stands behind everything.
    at = small.index(struct.pack("<q", 14))
    struct.pack_into("<qQ", small, at, 0x6FFFFFFE, len(small))
    struct.pack_into("<QQ", small, 64 + 32, len(small) + len(table), len(small) + len(table))
    return bytes(small) + table
