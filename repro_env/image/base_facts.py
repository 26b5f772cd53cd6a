"""What an image says of itself by its files alone: which glibc it has, and which Python.

Package databases differ by distribution; the files that programs load do not. glibc's own library and every CPython
hold their version as text, so each layer is read once, as a stream, and what was found is remembered by its digest.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, field
from typing import Any, BinaryIO

from repro_env.frozen import dataclass
from repro_env.image.cuda_compat import is_compat, newest_compat, read_compat
from repro_env.image.store import Store
from repro_env.image.tar_reader import stream_tar
from repro_env.lock.cuda import CudaCompat
from repro_env.values import Digest, Platform

_KIND = "image-facts-2"
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"

_LIBC = re.compile(r"(?:usr/)?lib(?:64)?(?:/[a-z0-9_]+-linux-gnu)?/libc(?:\.so\.6|-2\.\d+\.so)\Z")
_PROGRAM = re.compile(r"(?P<prefix>(?:.+/)?)bin/python3(?:\.(?P<minor>\d+))?\Z")
_LIBRARY = re.compile(
    r"(?P<prefix>(?:.+/)?)lib(?:64)?(?:/[a-z0-9_]+-linux-gnu)?/libpython3\.(?P<minor>\d+)\.so\.1\.0\Z"
)

_GLIBC_TEXT = re.compile(rb"GNU C Library [^\n]{0,200}? release version (\d+\.\d+)")
_VERSION_TEXT = rb"(?<![\d.])3\.%d\.\d{1,3}(?:(?:a|b|rc)\d+)?\+?\x00"
_LONGEST = 400  # bytes that either text may take
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFacts:
    """What one layer adds and removes: by path, versions of glibc and of Python, and the targets of links.

    `compat` is what libraries for older NVIDIA drivers say of themselves.
    """

    glibc: Mapping[str, str] = field(default_factory=dict)
    python: Mapping[str, str] = field(default_factory=dict)  # "" for a program whose library knows its version
    links: Mapping[str, str] = field(default_factory=dict)
    compat: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    removed: Sequence[str] = ()
    emptied: Sequence[str] = ()  # directories of which nothing from below is left


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What an image has: empty texts for what it has not. `interpreter` is a path, `python` its full version.

    `compat` is its package for older NVIDIA drivers, None without one.
    """

    glibc: str = ""
    python: str = ""
    interpreter: str = ""
    compat: CudaCompat | None = None


def recall_facts(store: Store, digest: Digest) -> LayerFacts | None:
    """Return what is remembered of a layer's blob, or None."""
    found = store.recall(_KIND, digest.hex)
    try:
        return LayerFacts(**found) if found is not None else None
    except TypeError:
        return None


def remember_facts(store: Store, digest: Digest, facts: LayerFacts) -> None:
    """Keep what was found in a layer's blob."""
    store.remember(_KIND, digest.hex, asdict(facts))


def read_facts(stream: BinaryIO) -> LayerFacts:
    """Return what a layer's tar holds, reading it to the end of its archive. Errors: as `stream_tar`."""
    glibc: dict[str, str] = {}
    python: dict[str, str] = {}
    links: dict[str, str] = {}
    compat: dict[str, dict[str, str]] = {}
    removed: list[str] = []
    emptied: list[str] = []
    with stream_tar(stream, odd_names="backslashreplace") as archive:  # what is remembered is text
        for entry in archive:
            path = posixpath.normpath(f"/{entry.name}").lstrip("/")
            directory, name = posixpath.split(path)
            if name == _OPAQUE:
                emptied.append(directory)
            elif name.startswith(_WHITEOUT):
                removed.append(posixpath.join(directory, name.removeprefix(_WHITEOUT)))
            elif (entry.issym() or entry.islnk()) and (_PROGRAM.match(path) or _LIBC.match(path)):
                links[path] = entry.linkname if entry.issym() else f"/{entry.linkname}"
            elif entry.isreg() and (content := archive.extractfile(entry)) is not None:
                if _LIBC.match(path):
                    glibc[path] = _find(content, _GLIBC_TEXT)
                elif is_compat(path):
                    compat[path] = read_compat(path, content)
                elif match := _PROGRAM.match(path) or _LIBRARY.match(path):
                    python[path] = _python_version(content, match["minor"])
            archive.members.clear()  # type: ignore[attr-defined]  # it keeps every entry it has passed
    return LayerFacts(glibc=glibc, python=python, links=links, compat=compat, removed=removed, emptied=emptied)


def image_facts(layers: Iterable[LayerFacts], env: Mapping[str, str], platform: Platform) -> ImageFacts:
    """Return what an image has whose layers, lowest first, are these and whose config declares `env`."""
    glibc: dict[str, str] = {}
    python: dict[str, str] = {}
    links: dict[str, str] = {}
    compat: dict[str, Mapping[str, str]] = {}
    everything: tuple[dict[str, Any], ...] = (glibc, python, links, compat)
    for layer in layers:
        for known in everything:
            for path in [path for path in known if _is_gone(path, layer)]:
                del known[path]
        for path in (*layer.glibc, *layer.python, *layer.links, *layer.compat):
            for known in everything:
                known.pop(path, None)
        glibc |= layer.glibc
        python |= layer.python
        links |= layer.links
        compat |= layer.compat
    interpreter, version = _interpreter(python, links, env.get("PATH") or _SYSTEM_PATH)
    return ImageFacts(
        glibc=_native(glibc, platform), python=version, interpreter=interpreter, compat=newest_compat(compat)
    )


def _is_gone(path: str, layer: LayerFacts) -> bool:
    whole = any(path == gone or path.startswith(f"{gone}/") for gone in layer.removed)
    return whole or any(not above or path.startswith(f"{above}/") for above in layer.emptied)


def _native(glibc: Mapping[str, str], platform: Platform) -> str:
    """Return the version of the C library that this platform's programs load, not that of a foreign one beside it."""
    own = [path for path in glibc if f"/{platform.multiarch}/" in path]
    plain = [path for path in glibc if "-linux-gnu/" not in path]
    wide = [path for path in plain if "lib64/" in path]
    return next((glibc[path] for path in (*own, *wide, *plain) if glibc[path]), "")


def _interpreter(python: Mapping[str, str], links: Mapping[str, str], path: str) -> tuple[str, str]:
    """Return the interpreter that `python3` would start, and its version; empty texts for none."""
    for directory in path.split(":"):
        place = directory.strip("/")
        programs = {name: _version(name, python) for name in python if posixpath.dirname(name) == place}
        known = {name: version for name, version in programs.items() if version and _PROGRAM.match(name)}
        if known:
            chosen = links.get(posixpath.join(place, "python3"), "")
            named = posixpath.normpath(posixpath.join(f"/{place}", chosen)).lstrip("/")
            best = named if named in known else max(known, key=_minor)
            return f"/{best}", known[best]
    return "", ""


def _minor(name: str) -> int:
    return int(name.rpartition("python3.")[2])


def _version(program: str, python: Mapping[str, str]) -> str:
    """Return a program's version: its own text, or that of the library of the same installation."""
    match = _PROGRAM.match(program)
    if match is None or match["minor"] is None:
        return ""
    libraries = (
        version
        for path, version in python.items()
        if (found := _LIBRARY.match(path)) and (found["prefix"], found["minor"]) == (match["prefix"], match["minor"])
    )
    return python[program] or next(libraries, "")


def _python_version(content: Any, minor: str | None) -> str:
    if minor is None:
        return ""
    return _find(content, re.compile(b"(" + _VERSION_TEXT % int(minor) + b")")).rstrip("\0+")


def _find(content: Any, pattern: re.Pattern[bytes]) -> str:
    """Return the pattern's first group where it first occurs in a stream, or an empty text; in bounded memory."""
    for window in _windows(content):
        match = pattern.search(window)
        if match:
            return match[1].decode("ascii")
    return ""


def _windows(content: Any) -> Iterator[bytes]:
    before = b""
    while piece := content.read(_CHUNK):
        yield before + piece
        before = piece[-_LONGEST:]
