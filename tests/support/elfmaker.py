"""Shared libraries and programs made to order by the C compiler, a few kilobytes each, that need no C library.

    base = make_elf(tmp_path / "libbase.so.1", soname="libbase.so.1", versions={"BASE_1": ["one"], "BASE_2": ["two"]})
    user = make_elf(tmp_path / "user.so", needs=[base], calls=["one", "two"], runpath="$ORIGIN/../libs")

And others put together byte by byte, for machines that the compiler does not know.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import machine

_TIMEOUT = 60.0


def make_elf(
    path: Path,
    *,
    soname: str = "",
    needs: Sequence[Path] = (),
    calls: Sequence[str] = (),
    versions: Mapping[str, Sequence[str]] | None = None,
    rpath: str = "",
    runpath: str = "",
    options: Sequence[str] = (),
    program: bool = False,
    padding: int = 0,
) -> Path:
    """Compile a shared library, or a program, and return its path.

    It defines the functions of `versions`, calls those named by `calls`, needs the libraries of `needs` by their
    sonames, and holds `padding` bytes of code that says nothing.
    """
    machine.require("gcc")
    path.parent.mkdir(parents=True, exist_ok=True)
    source = path.with_name(f"{path.name}.c")
    source.write_text(_source(calls, versions or {}, program=program, padding=padding))
    words = ["gcc", "-nostdlib", "-fPIC", "-o", str(path), str(source)]
    words += ["-pie", "-Wl,-e,start"] if program else ["-shared"]
    words += [f"-Wl,-soname,{soname}"] if soname else []
    words += [f"-Wl,--disable-new-dtags,-rpath,{rpath}"] if rpath else []
    words += [f"-Wl,--enable-new-dtags,-rpath,{runpath}"] if runpath else []
    if versions:
        script = path.with_name(f"{path.name}.map")
        script.write_text(_script(versions))
        words.append(f"-Wl,--version-script,{script}")
    words += ["-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined", *map(str, needs), *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
    return path


def _source(calls: Sequence[str], versions: Mapping[str, Sequence[str]], *, program: bool, padding: int) -> str:
    lines = [f"extern void {name}(void);" for name in calls]
    lines += [f"void {name}(void) {{}}" for names in versions.values() for name in names]
    body = " ".join(f"{name}();" for name in calls)
    lines.append(f"void {'start' if program else 'caller'}(void) {{ {body} }}")
    if padding:
        lines.append(f'__asm__(".section .text\\n.fill {padding}, 1, 0x90\\n");')
    return "\n".join([*lines, ""])


def _script(versions: Mapping[str, Sequence[str]]) -> str:
    parts, before = [], ""
    for version, names in versions.items():
        parts.append(
            f"{version} {{ global: {' '.join(f'{name};' for name in names)} {'' if before else 'local: *;'} }}{before};"
        )
        before = f" {version}"
    return "\n".join(parts)


def handmade_elf(
    *, bits: int = 64, order: str = "<", machine_number: int = 62, soname: str = "", needed: Sequence[str] = ()
) -> bytes:
    """Return the smallest shared library of any class and byte order: one segment, one dynamic section, its names."""
    head_size, program_size, word = (64, 56, "Q") if bits == 64 else (52, 32, "I")
    names = b"\0"
    offsets = []
    for name in (soname, *needed):
        offsets.append(len(names))
        names += name.encode() + b"\0"
    count = 3 + bool(soname) + len(needed)
    entry = struct.Struct(order + word.lower() + word)
    dynamic_at = head_size + 2 * program_size
    names_at = dynamic_at + entry.size * count
    size = names_at + len(names)
    entries = [(5, names_at), (10, len(names)), *([(14, offsets[0])] if soname else [])]
    entries += [*((1, offset) for offset in offsets[1:]), (0, 0)]
    ident = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2, 1])
    head = struct.pack(
        f"{order}16sHHI{word}{word}{word}IHHHHHH",
        *(ident, 3, machine_number, 1, 0, head_size, 0, 0, head_size, program_size, 2, 0, 0, 0),
    )

    def segment(kind: int, flags: int, offset: int, length: int) -> bytes:
        if bits == 64:
            return struct.pack(f"{order}IIQQQQQQ", kind, flags, offset, offset, offset, length, length, 8)
        return struct.pack(f"{order}IIIIIIII", kind, offset, offset, offset, length, length, flags, 8)

    segments = segment(1, 5, 0, size) + segment(2, 6, dynamic_at, entry.size * count)
    return head + segments + b"".join(entry.pack(*one) for one in entries) + names


def apart(small: bytes, distance: int) -> bytes:
    """Return the handmade library with its names in a large segment far behind the rest."""
    names_at = small.index(b"\0libx")
    head, names = bytearray(small[:names_at]), small[names_at:]
    place = names_at + distance
    # The loaded segment grows, and the string table's address with it; the segment then starts after the header.
    struct.pack_into("<QQQQQ", head, 64 + 8, 64, 64, 64, place, place)
    at = head.index(struct.pack("<qQ", 5, names_at))
    struct.pack_into("<qQ", head, at, 5, place)
    return bytes(head) + bytes(distance) + names + bytes(128)
