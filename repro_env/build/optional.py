"""Which of a package's files are sure to be loaded, and which only where what they need is there. Pure.

An extension module is loaded when it is imported, and with it whatever it needs. A library that none of them needs is
a plug-in, opened by name when it is wanted, behind a check or a fallback: a Qt platform, an execution provider. In a
package that has no extension module (`ctypes`), the libraries without a version in their names are taken to be what it
opens at once; those with one are there for others to need.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from repro_env.build.library_tree import LibraryTree
from repro_env.frozen import dataclass
from repro_env.image.libraries import Library
from repro_env.lock.places import ENVIRONMENT

PREFIX = ENVIRONMENT.lstrip("/")

_EXTENSION = re.compile(r"\w[^/]*\.(?:cpython-\d+[^/]*|abi\d*)\.so\Z|(?!lib)[A-Za-z_]\w*\.so\Z")
"""Names that Python imports: with a tag of PEP 3149, or an identifier alone, which a library's name seldom is."""

_VARIANT = re.compile(r"(?P<module>\w+)\.\w+\.(?:cpython-\d+[^/]*|abi\d*)\.so\Z")
"""One of several builds of one module, of which the package takes what fits: `MPI.openmpi.cpython-311-....so`."""

_TRIED = {
    "numba": ("*/numba/np/ufunc/omppool.*", "*/numba/np/ufunc/tbbpool.*"),  # threading layers; workqueue needs nothing
    "torchaudio": ("*/torio/lib/*_ffmpeg*", "*/torchaudio/lib/*_ffmpeg*"),  # one for each FFmpeg, the first that loads
    "torchcodec": ("*/torchcodec/*",),  # same
    "torchvision": ("*/torchvision/image*.so",),  # image files; its absence is a warning on import
    "tensorflow-io": ("*/tensorflow_io/*",),  # file systems, each loaded where it can be
}
"""Modules that a package tries to load and does without, by the package's name."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The paths of an environment's files that are sure to be loaded once their package is used.

    `roots` are, by package, those among them that Python itself or a person starts from.
    """

    roots: Mapping[str, tuple[str, ...]]
    files: frozenset[str]


def loaded_files(tree: LibraryTree) -> Loaded:
    """Return which of the environment's files are sure to be loaded."""
    packages: dict[str, list[Library]] = defaultdict(list)
    for path in sorted(tree.files):
        if path.startswith(f"{PREFIX}/"):
            packages[tree.files[path].package].append(tree.files[path])
    roots = {package: tuple(_roots(package, files)) for package, files in packages.items()}
    reached = _reached(tree, (root for every in roots.values() for root in every))
    return Loaded({package: tuple(root.path for root in every) for package, every in roots.items()}, frozenset(reached))


def spared_variants(files: Collection[str], lacking: Collection[str]) -> frozenset[str]:
    """Return those of the `lacking` files whose module has another build among `files` that lacks nothing."""
    variants: dict[str, set[str]] = defaultdict(set)
    for path in files:
        if match := _VARIANT.match(posixpath.basename(path)):
            variants[f"{posixpath.dirname(path)}/{match['module']}"].add(path)
    whole = [group for group in variants.values() if not group <= set(lacking)]
    return frozenset(path for group in whole for path in group if path in lacking)


def _roots(package: str, files: Sequence[Library]) -> list[Library]:
    tried = _TRIED.get(package.partition(" ")[0], ())
    sure = [file for file in files if not any(fnmatch.fnmatchcase(file.path, pattern) for pattern in tried)]
    extensions = [file for file in sure if _EXTENSION.match(posixpath.basename(file.path))]
    programs = [file for file in sure if file.path.startswith(f"{PREFIX}/bin/")]
    return [*(extensions or (file for file in sure if file.path.endswith(".so"))), *programs]


def _reached(tree: LibraryTree, roots: Iterable[Library]) -> set[str]:
    """Return the paths of these files and of all that they need, directly or not."""
    found: dict[str, Library] = {}
    waiting = list(roots)
    while waiting:
        library = waiting.pop()
        if library.path not in found:
            found[library.path] = library
            for name in library.elf.needed if library.elf else ():
                needed = tree.find(name, library)
                waiting += [needed] if needed else tree.named(name)
    return set(found)
