"""What a layer holds that the dynamic linker has to do with, remembered in the store by the layer's digest.

It is noted while the layer is made, in the same pass, or read from the layer once (`library_scan`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import Any

from repro_env.frozen import dataclass
from repro_env.image import tar
from repro_env.image.elf import MAGIC, Elf, ElfSink, MalformedElfError
from repro_env.image.store import Store
from repro_env.values import Digest

_KIND = "libraries"
VERSION = 1
"""Of what is remembered. Layers noted by another version are made again, to the same bytes, and noted anew."""

_CONFIGURATION = re.compile(r"etc/ld\.so\.conf\Z|etc/ld\.so\.conf\.d/[^/]+\Z")
"""Where the linker's directories are configured. Source: ldconfig(8)."""

_NO_LIBRARIES = "usr/share/"
"""Architecture-independent files (FHS, section 4.11): no link there leads to a library."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A shared library or executable at `path` in the image, without the leading slash.

    `package` is the name and version of what brought it, empty if that is not known. `elf` is None for a malformed
    file, of which nothing is known but that it is there.
    """

    path: str
    package: str = ""
    elf: Elf | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLibraries:
    """Of one layer: its libraries and executables, its links, the linker's configuration, and what it takes away.

    `links` maps a symlink's path to its target; `configuration` a path to its text. `removed` are the paths of
    whiteouts, and `emptied` the directories of opaque ones (OCI image specification, "layer.md").
    """

    files: tuple[Library, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    configuration: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    emptied: tuple[str, ...] = ()


def is_configuration(path: str) -> bool:
    """Whether a file configures where the linker looks."""
    return _CONFIGURATION.match(path) is not None


def is_link_of_interest(path: str) -> bool:
    """Whether a symlink may lead to a library."""
    return not path.startswith(_NO_LIBRARIES)


class LibraryObserver:
    """Notes the libraries of a layer while it is written, in the writer's pass.

    `package` says which package a path is of; `again` streams a path's content once more, for the few files that are
    laid out so that one pass does not do.
    """

    def __init__(self, *, package: Callable[[str], str], again: Callable[[str], Iterable[bytes]]) -> None:
        self.found: list[Library] = []
        self._package = package
        self._again = again

    def begin(self, entry: tar.Entry, first: bytes) -> ElfSink | None:
        """Take ELF files and leave the others alone."""
        if not first.startswith(MAGIC):
            return None
        path = entry.path

        def done(result: Elf | MalformedElfError | None) -> None:
            self.note(path, result)

        return ElfSink(entry.size, lambda: self._again(path), done)

    def note(self, path: str, result: Elf | MalformedElfError | None) -> None:
        """Note what was read of one file; what is not dynamically linked is not worth it."""
        if result is not None:
            elf = result if isinstance(result, Elf) else None
            self.found.append(Library(path=path, package=self._package(path), elf=elf))


def remember_libraries(store: Store, layer: Digest, libraries: LayerLibraries) -> None:
    """Keep what is known of a layer."""
    document = {
        "version": VERSION,
        "files": [_file_document(file) for file in libraries.files],
        "links": dict(libraries.links),
        "configuration": dict(libraries.configuration),
        "removed": list(libraries.removed),
        "emptied": list(libraries.emptied),
    }
    store.remember(_KIND, layer.hex, document)


def recall_libraries(store: Store, layer: Digest) -> LayerLibraries | None:
    """Return what is known of a layer, or None if nothing is."""
    document: Any = store.recall(_KIND, layer.hex)
    try:
        if document["version"] != VERSION:
            return None
        return LayerLibraries(
            files=tuple(_file(one) for one in document["files"]),
            links=document["links"],
            configuration=document["configuration"],
            removed=tuple(document["removed"]),
            emptied=tuple(document["emptied"]),
        )
    except (KeyError, TypeError, AttributeError):
        return None


def _file_document(file: Library) -> dict[str, Any]:
    """Return a file's facts without those that are empty: most are."""
    document: dict[str, Any] = {"path": file.path, "package": file.package}
    elf = file.elf
    if elf is not None:
        facts = {
            "executable": elf.executable,
            "soname": elf.soname,
            "needed": list(elf.needed),
            "rpath": elf.rpath,
            "runpath": elf.runpath,
            "interpreter": elf.interpreter,
            "needs": {library: list(versions) for library, versions in elf.needs.items()},
            "defines": list(elf.defines),
        }
        present = {name: value for name, value in facts.items() if value}
        document["elf"] = {"machine": elf.machine, "bits": elf.bits, **present}
    return document


def _file(document: Mapping[str, Any]) -> Library:
    facts = document.get("elf")
    return Library(path=document["path"], package=document["package"], elf=None if facts is None else _elf(facts))


def _elf(facts: Mapping[str, Any]) -> Elf:
    return Elf(
        machine=facts["machine"],
        bits=facts["bits"],
        executable=facts.get("executable", False),
        soname=facts.get("soname", ""),
        needed=tuple(facts.get("needed", ())),
        rpath=facts.get("rpath", ""),
        runpath=facts.get("runpath", ""),
        interpreter=facts.get("interpreter", ""),
        needs={library: tuple(versions) for library, versions in facts.get("needs", {}).items()},
        defines=tuple(facts.get("defines", ())),
    )
