"""The part of a lock that is about packages which are built: of people's own sources, and of pinned ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from repro_env.lock import words
from repro_env.lock.fields import Fields, InvalidLockError
from repro_env.lock.gpu_code import GpuCode, read_gpu_code
from repro_env.lock.model import BuiltWheel, LocalPackage, SourcePackage, Wheel
from repro_env.values import Digest

_Listed = Callable[[Fields, str], tuple[Wheel, ...]]
"""Takes a list of references to wheels from a table."""


def read_local(fields: Fields, listed: _Listed) -> tuple[LocalPackage, ...]:
    """Take the `local` packages of an environment's table."""
    return tuple(sorted(_local(name, inner, listed) for name, inner in _packages(fields, "local")))


def read_sources(
    fields: Fields, listed: _Listed, gpu_code: dict[Digest, tuple[GpuCode, ...]]
) -> tuple[SourcePackage, ...]:
    """Take the packages of an environment's table that are built from `source` distributions.

    What is known of the GPU code of the wheels that they gave goes into `gpu_code`.
    """
    return tuple(sorted(_source(name, inner, listed, gpu_code) for name, inner in _packages(fields, "source")))


def _packages(fields: Fields, key: str) -> Iterator[tuple[str, Fields]]:
    for name, inner in fields.tables(key):
        try:
            words.normalised(name)
        except ValueError as error:
            raise InvalidLockError(inner.path, str(error)) from error
        yield name, inner


def _local(name: str, fields: Fields, listed: _Listed) -> LocalPackage:
    package = LocalPackage(
        name=name,
        path=fields.parsed("path", words.local_path),
        metadata=fields.parsed("metadata", Digest.parse),
        version=fields.parsed("version", words.word) if fields.has("version") else "",
        requires=listed(fields, "requires"),
    )
    fields.done()
    return package


def _source(name: str, fields: Fields, listed: _Listed, gpu_code: dict[Digest, tuple[GpuCode, ...]]) -> SourcePackage:
    package = SourcePackage(
        name=name,
        version=fields.parsed("version", words.word),
        file=fields.parsed("file", words.source_file),
        url=fields.text("url"),
        sha256=fields.parsed("sha256", Digest),
        size=fields.number("size"),
        requires=listed(fields, "requires"),
        wheel=_built(fields.table("wheel"), gpu_code) if fields.has("wheel") else None,
    )
    fields.done()
    return package


def _built(fields: Fields, gpu_code: dict[Digest, tuple[GpuCode, ...]]) -> BuiltWheel:
    contents = [_content(text, fields, index) for index, text in enumerate(fields.texts("contents"))]
    wheel = BuiltWheel(
        file=fields.parsed("file", words.wheel_file),
        sha256=fields.parsed("sha256", Digest),
        size=fields.number("size"),
        contents=tuple(sorted(contents)),
    )
    read_gpu_code(fields, wheel.sha256, gpu_code)
    fields.done()
    return wheel


def _content(text: str, fields: Fields, index: int) -> tuple[str, Digest]:
    """Return path and digest of `sha256:HEX PATH`."""
    digest, _, path = text.partition(" ")
    try:
        return path, Digest.parse(digest)
    except ValueError as error:
        raise InvalidLockError((*fields.path, "contents", index), str(error)) from error
