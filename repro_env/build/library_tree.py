"""An image's layers as the dynamic linker sees them: which library a needed name leads to. Pure.

Source: ld.so(8), section "Dynamic string tokens" and the order of the search at its beginning; ldconfig(8).
"""

from __future__ import annotations

import fnmatch
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator

from repro_env.image.elf import MACHINES
from repro_env.image.libraries import LayerLibraries, Library
from repro_env.values import Platform

_LINKS = 40
_INCLUDES = 10
_BITS = 64


class LibraryTree:
    """The libraries of whole images, layer over layer. Paths are without the leading slash.

    `search` is what the image's `LD_LIBRARY_PATH` says.
    """

    def __init__(self, layers: Iterable[LayerLibraries], platform: Platform, *, search: str = "") -> None:
        self.files: dict[str, Library] = {}
        self._links: dict[str, str] = {}
        self._configuration: dict[str, str] = {}
        for layer in layers:
            self._lay(layer)
        self._machine = MACHINES[platform.architecture]
        self._lib = (f"lib/{platform.multiarch}", "lib64", "lib")
        self._real: dict[str, str] = {}
        self._search = [place for place in search.split(":") if place.startswith("/")]
        defaults = (
            f"lib/{platform.multiarch}",
            f"usr/lib/{platform.multiarch}",
            "lib",
            "usr/lib",
            "lib64",
            "usr/lib64",
        )
        self._defaults = [*self._configured("etc/ld.so.conf"), *defaults]
        self._names: dict[str, dict[str, Library]] = defaultdict(dict)
        for library in self.files.values():
            if self.fits(library):
                for name in {posixpath.basename(library.path), library.elf.soname if library.elf else ""}:
                    self._names[name][library.path] = library
        for link in self._links:
            target = self.at(link)
            if target is not None and self.fits(target):
                self._names[posixpath.basename(link)][target.path] = target

    def fits(self, library: Library) -> bool:
        """Whether a library is of this image's machine, as far as is known."""
        return library.elf is None or (library.elf.machine, library.elf.bits) == (self._machine, _BITS)

    def find(self, name: str, wanted_by: Library) -> Library | None:
        """Return the library that the linker takes for a name that another needs, or None if it finds none."""
        if "/" in name:
            return self.at(name.lstrip("/"))
        for directory in self._directories(wanted_by):
            found = self.at(f"{directory}/{name}")
            if found is not None and self.fits(found):
                return found
        return None

    def named(self, name: str) -> Iterable[Library]:
        """Return every library of this name, wherever it stands: its file's, a link's, or its soname."""
        return self._names.get(name, {}).values()

    def at(self, path: str) -> Library | None:
        """Return the library that a path leads to, links followed, or None if to none."""
        for _turn in range(_LINKS):
            folder, _, name = path.rpartition("/")
            place = f"{self._directory(folder)}/{name}".lstrip("/")
            if place not in self._links:
                return self.files.get(place)
            path = _joined(place, self._links[place])
        return None

    def _lay(self, layer: LayerLibraries) -> None:
        """Put a layer on top of those before it."""
        hidden = tuple(f"{path}/" for path in (*layer.removed, *layer.emptied))
        parts: tuple[dict[str, Library] | dict[str, str], ...] = (self.files, self._links, self._configuration)
        for part in parts if hidden else ():
            for path in [path for path in part if path in layer.removed or path.startswith(hidden)]:
                del part[path]
        for library in layer.files:
            self._links.pop(library.path, None)
            self.files[library.path] = library
        for path in layer.links:
            self.files.pop(path, None)
        self._links.update(layer.links)
        self._configuration.update(layer.configuration)

    def _directories(self, library: Library) -> Iterator[str]:
        """Yield where the linker looks for what this library needs, in its order."""
        origin = posixpath.dirname(library.path)
        elf = library.elf
        if elf is not None and elf.rpath and not elf.runpath:
            yield from self._expanded(elf.rpath, origin)
        yield from self._search
        if elf is not None and elf.runpath:
            yield from self._expanded(elf.runpath, origin)
        yield from self._defaults

    def _expanded(self, paths: str, origin: str) -> Iterator[str]:
        for path in paths.split(":"):
            place = path.replace("${ORIGIN}", "$ORIGIN").replace("${LIB}", "$LIB").replace("$ORIGIN", f"/{origin}")
            for lib in self._lib if "$LIB" in place else ("",):
                if place.startswith("/"):
                    yield place.replace("$LIB", lib)

    def _directory(self, path: str) -> str:
        """Return a directory with every link in it followed."""
        if path not in self._real:
            self._real[path] = self._followed(path)
        return self._real[path]

    def _followed(self, path: str) -> str:
        done: list[str] = []
        rest = path.split("/")[::-1]
        turns = 0
        while rest:
            part = rest.pop()
            if part == "..":
                done = done[:-1]
            elif part not in {"", "."}:
                done.append(part)
            target = self._links.get("/".join(done))
            if target is not None and part not in {"", ".", ".."}:
                turns += 1
                if turns > _LINKS:
                    return "/".join(done)
                done = [] if target.startswith("/") else done[:-1]
                rest += target.split("/")[::-1]
        return "/".join(done)

    def _configured(self, path: str, depth: int = 0) -> Iterator[str]:
        """Yield the directories that a file of `ld.so.conf`'s form names, `include` lines followed."""
        for line in self._configuration.get(path, "").splitlines():
            words = line.partition("#")[0].replace(",", " ").replace(":", " ").split()
            if words[:1] == ["include"] and depth < _INCLUDES:
                patterns = [posixpath.normpath(posixpath.join("/etc", word)).lstrip("/") for word in words[1:]]
                for found in sorted(self._configuration):
                    if any(fnmatch.fnmatchcase(found, pattern) for pattern in patterns):
                        yield from self._configured(found, depth + 1)
            elif words[:1] != ["hwcap"]:
                yield from (word for word in words if word.startswith("/"))


def _joined(path: str, target: str) -> str:
    """Return where a symlink at `path` leads, as text."""
    return posixpath.normpath(posixpath.join("/", posixpath.dirname(path), target)).lstrip("/")
