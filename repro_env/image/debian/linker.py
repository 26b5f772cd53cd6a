"""`/etc/ld.so.cache`, as ldconfig would write it, from the sonames of the libraries in the tree.

Without it the dynamic linker still finds what is in the default directories, but not what is in those of
`/etc/ld.so.conf.d`, and `ctypes.util.find_library` finds nothing at all. Libraries below `glibc-hwcaps` are left out:
the linker then takes the baseline one, which runs everywhere.
Source: glibc, `sysdeps/generic/dl-cache.h` ("struct cache_file_new") and ldconfig(8).
"""

from __future__ import annotations

import fnmatch
import re
import struct
from collections.abc import Iterator, Sequence

from repro_env.frozen import dataclass
from repro_env.image.debian.deb import Deb
from repro_env.image.debian.tree import Node, Tree
from repro_env.image.elf import MACHINES, Elf, MalformedElfError, read_elf

_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("<20sIIB3xI12x")
_ENTRY = struct.Struct("<iIIIQ")
_LITTLE_ENDIAN = 2
_FLAGS = {"amd64": 0x0303, "arm64": 0x0A03}  # FLAG_ELF_LIBC6 and the architecture's own
_NAME = re.compile(r"(?:lib|ld-).*\.so(?:\..*)?\Z|ld\.so\Z|ld64\.so\..*\Z")
_DIGITS = re.compile(r"(\d+)", re.ASCII)
_BITS = 64
_MULTIARCH = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}


@dataclass(frozen=True, slots=True)
class _Entry:
    soname: str
    path: str


def write_linker_cache(tree: Tree, debs: Sequence[Deb]) -> None:
    """Write the cache for the architecture of the C library at hand; without one there is nothing to write."""
    libc = next((deb for deb in debs if deb.name == "libc6"), None)
    if libc is None or libc.architecture not in _FLAGS:
        return
    entries: list[_Entry] = []
    for directory in _directories(tree, _MULTIARCH[libc.architecture]):
        sonames = dict.fromkeys(_sonames(tree, directory, MACHINES[libc.architecture]))
        entries += [_Entry(soname, f"{directory}/{soname}") for soname in sonames]
    entries.sort(key=lambda entry: cache_key(entry.soname), reverse=True)
    tree.file("etc/ld.so.cache", _cache(entries, _FLAGS[libc.architecture]))


def _directories(tree: Tree, multiarch: str) -> Iterator[str]:
    """Yield the directories that ldconfig looks in, each real one once under the first name it goes by."""
    known: set[str] = set()
    for path in [
        *_configured(tree, "etc/ld.so.conf"),
        f"/lib/{multiarch}",
        f"/usr/lib/{multiarch}",
        "/lib",
        "/usr/lib",
    ]:
        node = tree.find(path.strip("/"))
        if node is not None and node.kind == "directory" and node.path not in known:
            known.add(node.path)
            yield path.rstrip("/")


def _configured(tree: Tree, path: str, depth: int = 0) -> Iterator[str]:
    """Yield the directories that a file of `ld.so.conf`'s form names, `include` lines followed."""
    node = tree.find(path)
    for line in node.read().decode(errors="replace").splitlines() if node else ():
        words = line.partition("#")[0].replace(",", " ").replace(":", " ").split()
        if words[:1] == ["include"] and depth < 10:  # noqa: PLR2004 - a circle of includes
            for pattern in words[1:]:
                for found in _glob(tree, pattern.lstrip("/")):
                    yield from _configured(tree, found, depth + 1)
        elif words[:1] != ["hwcap"]:
            yield from (word for word in words if word.startswith("/"))


def _glob(tree: Tree, pattern: str) -> list[str]:
    folder, _, name = pattern.rpartition("/")
    return [node.path for node in tree.below(folder) if fnmatch.fnmatchcase(node.path.rpartition("/")[2], name)]


def _sonames(tree: Tree, directory: str, machine: int) -> Iterator[str]:
    for node in tree.below(directory.lstrip("/")):
        name = node.path.rpartition("/")[2]
        target = tree.find(node.path) if _NAME.match(name) else None
        if target is None or target.kind != "file":
            continue
        library = _library(target)
        if library is not None and (library.machine, library.bits) == (machine, _BITS):
            yield name if node.kind == "symlink" and _is_own_name(name, library.soname) else library.soname or name


def _library(node: Node) -> Elf | None:
    """Return what a shared library says of itself; ldconfig passes over what is malformed."""
    try:
        elf = read_elf(node.ranges, node.size)
    except MalformedElfError:
        return None
    return None if elf is None or elf.executable else elf


def _is_own_name(link: str, soname: str) -> bool:
    """Whether ldconfig enters a link by its own name: `libx.so.1` of that soname, or the compiler's `libx.so`."""
    return link == soname or (link.endswith(".so") and soname.startswith(link))


def cache_key(name: str) -> list[tuple[int, int]]:
    """Return what names sort by in the cache: runs of digits as numbers, a digit after anything else.

    Source: glibc, `_dl_cache_libcmp`; the linker's binary search relies on this order, largest first.
    """
    key: list[tuple[int, int]] = []
    for piece in _DIGITS.split(name):
        key += [(1, int(piece))] if piece.isdigit() else [(0, byte) for byte in piece.encode()]
    return [*key, (-1, 0)]


def _cache(entries: Sequence[_Entry], flags: int) -> bytes:
    strings = bytearray()
    places: dict[str, int] = {}
    start = _HEADER.size + _ENTRY.size * len(entries)
    for text in dict.fromkeys(text for entry in entries for text in (entry.soname, entry.path)):
        places[text] = start + len(strings)
        strings += text.encode() + b"\0"
    body = b"".join(_ENTRY.pack(flags, places[entry.soname], places[entry.path], 0, 0) for entry in entries)
    return _HEADER.pack(_MAGIC, len(entries), len(strings), _LITTLE_ENDIAN, 0) + body + bytes(strings)
