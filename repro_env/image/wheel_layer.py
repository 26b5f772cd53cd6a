"""Wheels to one layer: their files merged, sorted, and written with the wheels' own compressed streams."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from repro_env.errors import BuildError, IntegrityError
from repro_env.frozen import dataclass
from repro_env.image import tar
from repro_env.image.archive import Archive
from repro_env.image.gpu import GpuObserver
from repro_env.image.gpu.observer import VERSION as GPU_VERSION
from repro_env.image.layer import Deflated, Layer, LayerWriter
from repro_env.image.layer_memory import layer_document, layer_key, layer_of
from repro_env.image.libraries import VERSION, LayerLibraries, LibraryObserver, remember_libraries
from repro_env.image.observers import Observers
from repro_env.image.store import Store
from repro_env.image.wheel import Installed, plan, site_packages
from repro_env.lock.gpu_code import GpuCode, gpu_code_from
from repro_env.lock.model import Wheel
from repro_env.values import Digest, PythonVersion

_OVERLAP_HINT = "drop one of them, or choose versions that do not overlap"


@dataclass(frozen=True, slots=True)
class WheelLayer:
    """A layer made of wheels, and what it puts where: path to fingerprint, then the owner's name for messages.

    `gpu_code` maps the SHA-256 of each of its wheels that carries code for GPUs to the libraries that do, sorted.
    """

    layer: Layer
    paths: Mapping[str, tuple[str, str]]
    gpu_code: Mapping[Digest, tuple[GpuCode, ...]]


def wheel_layer(
    wheels: Sequence[Wheel], python: PythonVersion, store: Store, *, layout: int, comment: str
) -> WheelLayer:
    """Return the layer that holds these wheels, from the store if it was made before.

    The wheels' files are in the store already. The layer depends on their digests, the interpreter's minor version and
    the layout alone. Errors: `IntegrityError` for a bad wheel, `BuildError` where two wheels write one path with
    different content.
    """
    key = layer_key(sorted(wheel.sha256.hex for wheel in wheels), str(python), layout, VERSION, GPU_VERSION)
    known = _from_document(store.recall("wheel-layers", key))
    if known is not None and store.has(known.layer.digest, known.layer.size):
        return replace(known, layer=replace(known.layer, comment=comment))
    made = _make(wheels, python, store, comment)
    store.remember("wheel-layers", key, _to_document(made))
    return made


def merge_paths(layers: Iterable[WheelLayer]) -> None:
    """Check that no two layers write one path with different content. Errors: `BuildError` naming both owners."""
    merged: dict[str, tuple[str, str]] = {}
    for layer in layers:
        for path in merged.keys() & layer.paths.keys():
            _check_same(path, merged[path], layer.paths[path])
        merged.update(layer.paths)
    _check_parents({path: owner for path, (_fingerprint, owner) in merged.items()})


def _make(wheels: Sequence[Wheel], python: PythonVersion, store: Store, comment: str) -> WheelLayer:
    with contextlib.ExitStack() as stack:
        files: dict[str, tuple[Installed, Archive]] = {}
        claims: dict[Digest, set[str]] = {}
        for wheel in sorted(wheels):
            path = stack.enter_context(store.reading(wheel.sha256, wheel.file))
            archive = stack.enter_context(open_wheel(path, wheel.file))
            planned = plan(archive, python)
            for file in planned:
                _claim(files, file, archive)
            claims[wheel.sha256] = {file.path for file in planned}
        with store.writing() as (stream, keep):
            again = _again(files)
            observer = LibraryObserver(package=_package(wheels, files), again=again)
            gpu = GpuObserver(site=site_packages(python), again=again)
            writer = LayerWriter(stream, Observers(observer, gpu))
            _write_all(writer, files)
            layer = writer.finish(comment)
            keep(layer.digest)
    remember_libraries(store, layer.digest, LayerLibraries(files=tuple(observer.found)))
    paths = {path: (file.fingerprint, archive.label) for path, (file, archive) in files.items()}
    # A file that two wheels share is written once and is of both: what a wheel carries does not depend on the others.
    carried = {
        wheel: tuple(sorted(code for path, code in gpu.found.items() if path in claimed))
        for wheel, claimed in claims.items()
    }
    return WheelLayer(layer, paths, {wheel: code for wheel, code in carried.items() if code})


def _package(wheels: Iterable[Wheel], files: Mapping[str, tuple[Installed, Archive]]) -> Callable[[str], str]:
    """Return what says which package a path is of."""
    names = {wheel.file: f"{wheel.name} {wheel.version}" for wheel in wheels}
    return lambda path: names[files[path][1].label]


def _again(files: Mapping[str, tuple[Installed, Archive]]) -> Callable[[str], Iterable[bytes]]:
    """Return what streams a path's content once more."""

    def again(path: str) -> Iterable[bytes]:
        file, archive = files[path]
        return archive.content(file.member) if file.member else (file.data,)

    return again


def open_wheel(path: Path, file: str) -> Archive:
    """Open a wheel kept in the store under the file name it was published with."""
    return Archive(path, file)


def _claim(files: dict[str, tuple[Installed, Archive]], file: Installed, archive: Archive) -> None:
    other = files.setdefault(file.path, (file, archive))
    if other[0] is not file:
        ours, theirs = (file.fingerprint, archive.label), (other[0].fingerprint, other[1].label)
        _check_same(file.path, theirs, ours)


def _check_same(path: str, one: tuple[str, str], other: tuple[str, str]) -> None:
    if one[0] != other[0]:
        raise _conflict(path, one[1], other[1])


def _conflict(path: str, one: str, other: str) -> BuildError:
    if one == other:
        return BuildError(f"{one} writes /{path} twice", hint="that wheel is malformed: choose another version of it")
    why = f"/{path}\n{one} and {other} both write it, with different content"
    return BuildError("two packages write one file", why, _OVERLAP_HINT)


def _check_parents(owners: Mapping[str, str]) -> None:
    """Check that no file stands where another needs a directory."""
    for file in sorted(tar.parents(owners) & owners.keys()):
        below = min(path for path in owners if path.startswith(f"{file}/"))
        why = f"/{file}\n{owners[file]} writes it as a file, and {owners[below]} as a directory"
        raise BuildError("a file stands where a directory is needed", why, _OVERLAP_HINT)


def _write_all(writer: LayerWriter, files: Mapping[str, tuple[Installed, Archive]]) -> None:
    """Write directories and files in the order of their paths' bytes, which puts parents before children."""
    _check_parents({path: archive.label for path, (_file, archive) in files.items()})
    directories = tar.parents(files)
    for path in sorted((*directories, *files), key=str.encode):
        if path in directories:
            writer.add(tar.Entry(path=path, kind="directory", mode=0o755))
        else:
            _write(writer, *files[path])


def _write(writer: LayerWriter, file: Installed, archive: Archive) -> None:
    entry = tar.Entry(path=file.path, mode=0o755 if file.executable else 0o644, size=file.size)
    member = file.member
    if member is None:
        writer.add(entry, file.data)
        return
    try:
        if member.deflated:
            found = writer.add_deflated(entry, Deflated(archive.stream(member), member.crc, member.size))
        else:
            found = writer.add_chunks(entry, archive.stream(member))
    except IntegrityError as error:
        raise IntegrityError(f"{archive.label} is damaged", str(error)) from error
    if found.hex != file.sha256.hex():
        raise IntegrityError(f"{archive.label} is not a usable wheel", f"{member.name} is not what RECORD says")


def _to_document(made: WheelLayer) -> dict[str, Any]:
    return {
        **layer_document(made.layer),
        "paths": {path: list(value) for path, value in made.paths.items()},
        "gpu_code": {wheel.hex: [one.to_dict() for one in code] for wheel, code in made.gpu_code.items()},
    }


def _from_document(document: Any) -> WheelLayer | None:
    """Return what a remembered document says, or None if there is none or it is not of this shape."""
    layer = layer_of(document)
    try:
        paths = {path: (value[0], value[1]) for path, value in document["paths"].items()}
        gpu_code = {Digest(wheel): gpu_code_from(code) for wheel, code in document["gpu_code"].items()}
    except (KeyError, TypeError, AttributeError, IndexError, ValueError):
        return None
    return WheelLayer(layer, paths, gpu_code) if layer else None
