"""NVIDIA's fat binaries: containers, each with code of one source file for several architectures.

No payload is decompressed: an entry's header says what it is for. The format is not published; what is read here was
held against `cuobjdump` on real libraries of CUDA 11 to 13. In little-endian order:

    container  u32 magic, u16 version, u16 size of this header, u64 size of the entries
    entry      u16 kind, u16 version, u32 size of this header, u64 size of the payload with its padding,
               @24 u16 minor, u16 major, u32 architecture, @40 u64 flags
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator

from repro_env.image.gpu.walk import BETWEEN, Between, Found, Skip, Steps, Take, TooManyError, UnreadableError

SECTIONS = frozenset({".nv_fatbin", "__nv_relfatbin"})
"""Where linked code stands, and relocatable code that was kept."""

MAGIC = b"\x50\xed\x55\xba"
BEGINNING = MAGIC + b"\1\0\x10\0"
"""How every container known begins: its version, the size of its header."""

_CONTAINER = struct.Struct("<IHHQ")
_ENTRY = struct.Struct("<HHIQIIHHIQQQQ")
_VERSION = 1
_ENTRY_VERSION = 0x101
_PTX, _SASS = 1, 2  # others: old cubins, NVVM's intermediate code
_THIS_ONE, _FAMILY = 1 << 20, 1 << 21  # sm_90a: no other architecture; sm_100f: its family
_ARCHITECTURES = range(10, 1000)
_MOST = 1 << 18
"""Containers and entries of one section; the largest libraries have some ten thousand."""

_BEYOND = "an entry of its GPU code reaches beyond its container"


def containers(take: Callable[[Found], None]) -> Steps:
    """Read containers one after another; `take` gets what is in each, once it is whole. Errors: `UnreadableError`."""
    left = _MOST
    while left > 0:
        yield BETWEEN
        head = yield Take(_CONTAINER.size)
        _magic, version, width, size = _CONTAINER.unpack(head)
        if not head.startswith(MAGIC):
            raise UnreadableError("something else stands between its containers of GPU code")
        if version != _VERSION or width < _CONTAINER.size:
            raise UnreadableError(f"a container of its GPU code is of version {version}, which is not known")
        yield Skip(width - _CONTAINER.size)
        inner = Found()
        left -= 1 + (yield from _entries(size, inner, left))
        take(inner)
    raise TooManyError("it has too many containers of GPU code")


def _entries(left: int, found: Found, most: int) -> Generator[Take | Skip | Between, bytes, int]:
    """Read the entries of a container, which take `left` bytes, and return how many they are."""
    for number in range(most):
        if not left:
            return number
        head = yield Take(min(_ENTRY.size, left))
        if len(head) < _ENTRY.size:
            raise UnreadableError(_BEYOND)
        kind, version, width, payload, _packed, _, minor, major, architecture, _, flags, _, _size = _ENTRY.unpack(head)
        if version != _ENTRY_VERSION:
            raise UnreadableError(f"an entry of its GPU code is of version {version:#x}, which is not known")
        if width < _ENTRY.size or width + payload > left:
            raise UnreadableError(_BEYOND)
        name = _architecture(architecture, flags)
        if kind == _SASS:
            found.sass.add(name)
        elif kind == _PTX:
            found.ptx.add(f"{name}/{major}.{minor}")
        yield Skip(width + payload - _ENTRY.size)
        left -= width + payload
    raise TooManyError("it has too many entries of GPU code")


def _architecture(number: int, flags: int) -> str:
    suffix = {0: "", _THIS_ONE: "a", _FAMILY: "f"}.get(flags & (_THIS_ONE | _FAMILY))
    if number not in _ARCHITECTURES or suffix is None:
        raise UnreadableError(f"an entry of its GPU code is for architecture {number} with flags {flags:#x}")
    return f"{number}{suffix}"
