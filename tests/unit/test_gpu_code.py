"""What is read of libraries with code for GPUs, whole ones and those that lie about themselves."""

from __future__ import annotations

import struct

import pytest
from elfmaker import handmade_elf
from fatmaker import (
    FAMILY,
    MAGIC,
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

from repro_env.lock.gpu_code import GpuCode

LARGE = b"\x90" * (3 << 19)
"""Code that makes a file too large to be kept whole."""

CODE = container(entry(SASS, 80), entry(SASS, 90, flags=THIS_ONE), entry(PTX, 90, version=(8, 4), width=120))
FOUND = GpuCode(path="x.so", sass=("80", "90a"), ptx=("90/8.4",))


def found(data: bytes, **options: bool) -> GpuCode | None:
    return read_gpu_code(data, **options)[0]  # type: ignore[arg-type]


def reason(data: bytes) -> str:
    code = found(data)
    assert code is not None
    assert not code.sass + code.ptx + code.amd
    return code.unknown


def test_every_kind_of_entry_and_suffix() -> None:
    entries = [
        entry(SASS, 100, flags=FAMILY | 0x1008000),
        entry(SASS, 90, flags=THIS_ONE),
        entry(SASS, 70, flags=0x2000),
        entry(SASS, 75, payload=b""),
        entry(4, 35),  # what compilers of old wrote
        entry(8, 90, width=80),  # NVVM's intermediate code
        entry(PTX, 120, version=(8, 7), flags=FAMILY),
        entry(PTX, 90, version=(8, 4), flags=THIS_ONE),
        entry(PTX, 52, version=(9, 10)),
    ]
    assert found(gpu_elf((".nv_fatbin", container(*entries)))) == GpuCode(
        path="x.so", sass=("70", "75", "90a", "100f"), ptx=("52/9.10", "90a/8.4", "120f/8.7")
    )


@pytest.mark.parametrize("text", [b"\x90" * 64, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(("together", "expected"), [(False, False), (True, True)])
def test_one_pass_is_enough(text: bytes, *, together: bool, expected: bool) -> None:
    several = CODE + bytes(40) + container(entry(SASS, 75), width=24) + container() + bytes(8)
    sections = (("__nv_relfatbin", container(entry(SASS, 61))), ("__nv_module_id", b"a name"), (".nv_fatbin", several))
    library = gpu_elf(*sections, text=text, together=together)
    code, passes = read_gpu_code(library, expected=expected)
    assert code == GpuCode(path="x.so", sass=("61", "75", "80", "90a"), ptx=("90/8.4",))
    assert passes == 0


@pytest.mark.parametrize("gap", [0, 24])
@pytest.mark.parametrize("before", [CODE, struct.pack("<I", MAGIC) * 90, b""], ids=["code", "magic numbers", "nothing"])
def test_what_a_library_chooses_from_by_itself_may_stand_beside(before: bytes, gap: int) -> None:
    images = (".images", CODE + container(entry(SASS, 50)))
    relocatable = ("__nv_relfatbin", container(entry(SASS, 80)))
    library = gpu_elf((".first", before), (".nv_fatbin", CODE), relocatable, images, text=LARGE, gap=gap)
    assert read_gpu_code(library) == (FOUND, 0)


@pytest.mark.parametrize(
    "library",
    [
        gpu_elf((".nv_fatbin", CODE), text=LARGE, together=True),
        gpu_elf((".nv_fatbin", bytes(16) + CODE), text=LARGE),
        gpu_elf((".rodata", container(size=1 << 40)), (".nv_fatbin", CODE), text=LARGE),
        gpu_elf((".rodata", CODE[:90] + bytes(30)), (".nv_fatbin", CODE), text=LARGE, gap=0),
    ],
    ids=["not looked for", "zeros first", "a false container", "a cut one"],
)
def test_a_second_pass_reads_what_the_first_could_not_be_sure_of(library: bytes) -> None:
    code, passes = read_gpu_code(library)
    assert code == FOUND
    assert passes == 1


def test_names_of_sections_far_from_their_table_take_a_pass_of_their_own() -> None:
    library = bytearray(gpu_elf((".nv_fatbin", CODE), text=LARGE))
    (table,) = struct.unpack_from("<Q", library, 40)
    rows = library[table:]
    moved = library + bytes(100_000) + rows
    struct.pack_into("<Q", moved, 40, len(library) + 100_000)
    assert read_gpu_code(bytes(moved)) == (FOUND, 1)


def test_the_count_of_sections_may_stand_in_the_first_of_them() -> None:
    assert found(gpu_elf((".nv_fatbin", CODE), extended=True)) == FOUND
    assert found(gpu_elf((".nv_fatbin", CODE), extended=True, text=LARGE)) == FOUND


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF",
        handmade_elf(soname="libx.so"),
        handmade_elf(bits=32),
        handmade_elf(order=">"),
        gpu_elf((".rodata", b"text")),
        gpu_elf((".nv_fatbin", b"")),
        gpu_elf((".images", CODE)),  # which the library itself chooses from
        gpu_elf((".nv_fatbin", bytes(64))),
        gpu_elf((".nv_fatbin", container())),
        gpu_elf((".nv_fatbin", container(entry(8, 90)))),
        gpu_elf((".nv_fatbin", CODE), kind=1),  # an object file
        gpu_elf((".nv_fatbin", b"elsewhere"), section_type=8),  # no bytes: debugging information that was split off
        gpu_elf((".hip_fatbin", bundle())),
    ],
)
def test_what_carries_nothing_is_not_noted(data: bytes) -> None:
    assert found(data) is None


def test_code_in_a_file_without_section_headers_is_unknown() -> None:
    stripped = bytearray(gpu_elf((".nv_fatbin", CODE)))
    struct.pack_into("<Q", stripped, 40, 0)
    assert reason(bytes(stripped)) == "it holds GPU code and has no section headers"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (CODE[:-1], "a container is cut short"),
        (CODE[:10], "a container is cut short"),
        (b"\1" + CODE, "something else stands between its containers of GPU code"),
        (CODE + b"\1" * 16, "something else stands between its containers of GPU code"),
        (container(version=2), "a container of its GPU code is of version 2, which is not known"),
        (container(size=1 << 50), "a container is cut short"),
        (container(entry(SASS, 80), size=63), "an entry of its GPU code reaches beyond its container"),
        (container(entry(SASS, 80), size=100), "an entry of its GPU code reaches beyond its container"),
        (container(entry(SASS, 80, entry_version=0x102)), "an entry of its GPU code is of version 0x102"),
        (container(struct.pack("<HHIQ", 2, 0x101, 8, 0) + bytes(48)), "an entry of its GPU code reaches beyond"),
        (container(struct.pack("<HHIQ", 2, 0x101, 64, 1 << 60) + bytes(48)), "an entry of its GPU code reaches beyond"),
        (container(entry(SASS, 0)), "an entry of its GPU code is for architecture 0 with flags 0x11"),
        (container(entry(SASS, 1000)), "an entry of its GPU code is for architecture 1000"),
        (container(entry(SASS, 90, flags=THIS_ONE | FAMILY)), "is for architecture 90 with flags 0x300011"),
        (container(*(entry(SASS, 10 + at) for at in range(300))), "it names more than 256 architectures"),
    ],
)
@pytest.mark.parametrize("text", [b"", LARGE], ids=["small", "large"])
def test_a_fat_binary_that_is_not_as_it_has_to_be_is_unknown(code: bytes, why: str, text: bytes) -> None:
    assert why in reason(gpu_elf((".nv_fatbin", container(entry(SASS, 80)) + code), text=text))


def test_processors_of_plain_and_compressed_bundles() -> None:
    first = bundle("hipv4-amdgcn-amd-amdhsa--gfx90a", "hipv4-amdgcn-amd-amdhsa--gfx942:sramecc+:xnack-")
    older = bundle("hip-amdgcn-amd-amdhsa-gfx906", "hip-amdgcn-amd-amdhsa-unknown-gfx1030", codes=70_000)
    generic = bundle("hipv4-amdgcn-amd-amdhsa--gfx9-4-generic", "hip-spirv64-amd-amdhsa--amdgcnspirv")
    amd = ("amdgcnspirv", "gfx9-4-generic", "gfx90a", "gfx906", "gfx942:sramecc+:xnack-", "gfx1030")
    for parts in (
        [first, older, generic],
        [packed(first, version=2), packed(older, version=3), packed(generic, method=0)],
        [packed(first), older, packed(generic, version=2, method=0)],
    ):
        code = found(gpu_elf((".hip_fatbin", in_pages(parts)), text=LARGE))
        assert code is not None
        assert set(code.amd) == set(amd), code
        assert code == found(gpu_elf((".hip_fatbin", in_pages(parts))))


def test_a_library_may_carry_both() -> None:
    code = found(gpu_elf((".nv_fatbin", CODE), (".hip_fatbin", bundle("hipv4-amdgcn-amd-amdhsa--gfx1100"))))
    assert code == GpuCode(path="x.so", sass=FOUND.sass, ptx=FOUND.ptx, amd=("gfx1100",))


GFX = bundle("hipv4-amdgcn-amd-amdhsa--gfx90a")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (GFX[:30], "a container is cut short"),
        (GFX[:-1], "a container is cut short"),
        (GFX + b"\1" * 8, "something else stands between its bundles of GPU code"),
        (b"__CLANG_ONLOAD_BUNDLE__!" + GFX[24:], "something else stands between its bundles"),
        (packed(GFX, version=1), "its GPU code is compressed in version 1 of clang's bundles"),
        (b"CCOB\3\0\1\0" + bytes(24), "a bundle of its GPU code is smaller than its header"),
        (packed(GFX)[:-1], "a container is cut short"),
        (packed(GFX[:40]), "the list of a bundle of its GPU code is cut short"),
        (packed(b"else" * 9), "a compressed bundle of its GPU code holds something else"),
        (packed(GFX)[:40] + bytes(len(packed(GFX)) - 40), "a compressed bundle of its GPU code is damaged"),
        (packed(GFX, method=0)[:40] + bytes(len(packed(GFX, method=0)) - 40), "bundle of its GPU code is damaged"),
        (packed(GFX, method=1).replace(b"\3\0\1\0", b"\3\0\7\0", 1), "is compressed by method 7, which is not known"),
        (GFX[:24] + struct.pack("<Q", 1 << 40) + GFX[32:], "a bundle of its GPU code lists 1099511627776 code objects"),
        (GFX[:48] + struct.pack("<Q", 1 << 40) + GFX[56:], "name in its GPU code is 1099511627776 bytes long"),
        (bundle("hip-nvptx64-nvidia-cuda--sm_90"), "a code object in its GPU code is for no AMD processor"),
        (bundle("hipv4-amdgcn-amd-amdhsa--"), "what its GPU code is for: expected an AMD processor"),
        (bundle("hipv4-amdgcn-amd-amdhsa--gfx\n9"), "what its GPU code is for: expected an AMD processor"),
    ],
)
def test_a_bundle_that_is_not_as_it_has_to_be_is_unknown(code: bytes, why: str) -> None:
    assert why in reason(gpu_elf((".hip_fatbin", code)))


def patched(at: int, form: str, value: int, *, row: int | None = None) -> bytes:
    """Return a library with one number of its header, or of a section's header, changed."""
    library = bytearray(gpu_elf((".nv_fatbin", CODE)))
    (table,) = struct.unpack_from("<Q", library, 40)
    struct.pack_into(form, library, at if row is None else table + 64 * row + at, value)
    return bytes(library)


@pytest.mark.parametrize(
    ("library", "why"),
    [
        (patched(58, "<H", 40), "its section headers are of 40 bytes each"),
        (patched(40, "<Q", 1 << 63), "its section headers reach beyond its end"),
        (patched(60, "<H", 999), "its section headers reach beyond its end"),
        (patched(62, "<H", 3), "its section names are in no section"),
        (patched(24, "<Q", 1 << 40, row=2), "its section names reach beyond its end"),
        (patched(32, "<Q", 1 << 40, row=2), "its section names are 1099511627776 bytes"),
        (patched(0, "<I", 1 << 31, row=1), "a section's name lies outside the names"),
        (patched(32, "<Q", 1 << 40, row=1), "its section .nv_fatbin reach beyond its end"),
        (patched(8, "<Q", 1 << 11, row=1), "its section .nv_fatbin is compressed"),
        (gpu_elf(*[(".nv_fatbin", CODE)] * 65), "it has 65 sections of GPU code"),
    ],
)
def test_a_section_table_that_lies_is_unknown(library: bytes, why: str) -> None:
    assert reason(library) == why


def test_more_sections_than_a_program_has() -> None:
    library = bytearray(gpu_elf((".nv_fatbin", CODE), extended=True))
    (table,) = struct.unpack_from("<Q", library, 40)
    struct.pack_into("<Q", library, table + 32, 1 << 40)
    assert reason(bytes(library)) == "it has 1099511627776 sections"
