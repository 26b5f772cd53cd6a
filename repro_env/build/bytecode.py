"""Layers of byte code: what a step's interpreter would compile at each start, compiled once.

An image is read-only to its step, so without them every module is compiled anew at every start. The `.pyc` files are
of the unchecked-hash kind, valid whatever the time of the sources (PEP 552), and the same on every machine. They stand
in layers of their own, beside those of the sources: a layer with many modules has one for its byte code, and what the
others have stands together in one more. Threshold, not rank, so that adding a package moves no other. Packages' test
suites, which are often most of a package and are not imported by a step, are left to be compiled when they are.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from repro_env.build.compiling import Compiler
from repro_env.edges.report import Reporter
from repro_env.frozen import dataclass
from repro_env.image.files_layer import files_layer
from repro_env.image.layer import Layer
from repro_env.image.layer_memory import layer_key, recall_layer, remember_layer
from repro_env.image.store import Store
from repro_env.image.unpack import unpack_layer
from repro_env.lock.model import LAYOUT
from repro_env.lock.places import ENVIRONMENT, INTERPRETER
from repro_env.values import Digest

ALONE_FROM = 1 << 20
"""Bytes of modules from which on a layer's byte code is a layer of its own."""

_KIND = "bytecode-layer"
_PLACES = ("/usr", INTERPRETER, ENVIRONMENT)
"""Prefixes whose `lib/python3.N` holds modules: a distribution's, a Python's that was brought along, the packages'."""

_UNREADABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # what a line of text cannot hold
_TESTS = re.compile(r"/tests?/")
_SHOWN = 4


@dataclass(frozen=True, slots=True)
class _Modules:
    """The modules of one layer: where it is unpacked, and their absolute paths in the image, sorted."""

    layer: Layer
    tree: Path
    paths: tuple[str, ...]
    size: int  # of the sources, in bytes


@dataclass(frozen=True, slots=True)
class Bytecode:
    """The byte code of an image's layers: `beside` is of single layers, `together` of all the others' modules."""

    beside: Mapping[Digest, Layer]  # by the source layer's diff_id
    together: Layer | None


def compiled_layers(layers: Sequence[Layer], compiler: Compiler, store: Store, report: Reporter) -> Bytecode:
    """Return the layers of byte code for the modules in these layers, made now if the store lacks them.

    The modules are those of the standard library and of `/opt/env`. The bytes depend on them and on the interpreter's
    full version alone. Errors: as `Compiler.compile`, and as `unpack_layer`.
    """
    minor = compiler.version.rpartition(".")[0]
    found = [modules for layer in layers if (modules := _modules(layer, minor, store)).paths]
    alone = [modules for modules in found if modules.size >= ALONE_FROM]
    small = [modules for modules in found if modules.size < ALONE_FROM]
    with report.task("compiling modules", sum(len(modules.paths) for modules in found), unit="modules") as task:

        def made(group: Sequence[_Modules]) -> Layer:
            layer = _layer(group, compiler, store)
            task.advance(sum(len(modules.paths) for modules in group))
            return layer

        beside = {modules.layer.diff_id: made([modules]) for modules in alone}
        return Bytecode(beside, made(small) if small else None)


def _modules(layer: Layer, minor: str, store: Store) -> _Modules:
    """Return the modules of a layer that it does not hold compiled already."""
    tree = unpack_layer(store, layer)
    found = [file for place in _PLACES for file in _below(tree, f"{place}/lib/python{minor}", cache_tag(minor))]
    by_directory = sorted(found, key=lambda one: tuple(map(str.encode, posixpath.split(one[0]))))
    return _Modules(layer, tree, tuple(path for path, _size in by_directory), sum(size for _path, size in found))


def _below(tree: Path, place: str, tag: str) -> Iterator[tuple[str, int]]:
    """Yield the absolute path in the image, and the size, of the modules below a place."""
    for directory, _names, files in os.walk(f"{tree}{place}"):
        inside = directory[len(str(tree)) :]
        for name in files:
            path, file = f"{inside}/{name}", f"{directory}/{name}"
            wanted = name.endswith(".py") and not _TESTS.search(path) and not _UNREADABLE.search(path)
            if not wanted or os.path.islink(file):
                continue
            if not os.path.exists(f"{tree}{compiled_path(path, tag)}"):
                yield path, os.path.getsize(file)


def cache_tag(minor: str) -> str:
    """Return what an interpreter `3.N` names its byte code with, `cpython-3N` (PEP 3147)."""
    return f"cpython-{minor.replace('.', '')}"


def compiled_path(path: str, tag: str) -> str:
    """Return where the byte code of a module stands (PEP 3147)."""
    directory, name = posixpath.split(path)
    return f"{directory}/__pycache__/{name.removesuffix('.py')}.{tag}.pyc"


def _layer(found: Sequence[_Modules], compiler: Compiler, store: Store) -> Layer:
    """Return the layer of these modules' byte code, from the store if it was made before."""
    key = layer_key(LAYOUT, compiler.version, [one.layer.diff_id.hex for one in found])
    known = recall_layer(store, _KIND, key)
    if known is not None:
        return known
    tag = cache_tag(compiler.version.rpartition(".")[0])
    contents: dict[str, bytes] = {}
    for modules in found:
        compiled = compiler.compile(modules.tree, modules.paths)
        contents |= {compiled_path(path, tag).lstrip("/"): data for path, data in compiled}
    layer = files_layer(store, contents, f"byte code of {_named(found)}")
    remember_layer(store, _KIND, key, layer)
    return layer


def _named(found: Sequence[_Modules]) -> str:
    """Return what people know these layers as."""
    comments = [modules.layer.comment for modules in found]
    return ", ".join(comments[:_SHOWN]) + (f" and {len(comments) - _SHOWN} more" if len(comments) > _SHOWN else "")
