"""Finding the source of a kind: this program's own by name, others' among the installed packages' entry points."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from repro_env.data.sources.base import GROUP, Context, Source
from repro_env.errors import ConfigError

BUILT_IN = {
    "az": "repro_env.data.sources.az:make",
    "delta": "repro_env.data.sources.delta:make",
    "dvc": "repro_env.data.sources.dvc:make",
    "file": "repro_env.data.sources.local:make_file",
    "git": "repro_env.data.sources.git:make",
    "gs": "repro_env.data.sources.gs:make",
    "hf": "repro_env.data.sources.hugging_face:make",
    "http": "repro_env.data.sources.web:make",
    "https": "repro_env.data.sources.web:make",
    "iceberg": "repro_env.data.sources.iceberg:make",
    "path": "repro_env.data.sources.local:make",
    "s3": "repro_env.data.sources.s3:make",
    "sql": "repro_env.data.sources.sql:make",
}
"""The sources of this program, which are in its own entry points, too. An editable installation has the entry points of
the day it was made, and looking through those of all packages takes longer than importing one module."""


if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


def find_source(kind: str, context: Context) -> Source:
    """Return the source of a kind. Errors: `ConfigError` where no package has one of that name, or it cannot be had."""
    return _make(kind)(context)


def known_kinds() -> tuple[str, ...]:
    """Return the kinds that there are sources for, sorted."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - only for a mistake

    return tuple(sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))}))


def _make(kind: str) -> Callable[[Context], Source]:
    if kind in BUILT_IN:
        module, _, name = BUILT_IN[kind].partition(":")
        make: Callable[[Context], Source] = getattr(importlib.import_module(module), name)
        return make
    from importlib.metadata import entry_points  # noqa: PLC0415 - what only others' sources need

    points = entry_points(group=GROUP, name=kind)
    if not points:
        raise _unknown(kind)
    return _load(next(iter(points)))


def _load(point: EntryPoint) -> Callable[[Context], Source]:
    try:
        make: Callable[[Context], Source] = point.load()
    except (ImportError, AttributeError) as error:
        package = point.dist.name if point.dist else point.module
        why = f"{package} provides it as {point.value}: {error}"
        raise ConfigError(f"the data source {point.name} cannot be loaded", why, f"reinstall {package}") from error
    return make


def _unknown(kind: str) -> ConfigError:
    known = known_kinds()
    near = get_close_matches(kind, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"install a package that has an entry point {kind!r} in {GROUP}"
    return ConfigError(f"there is no data source {kind!r}", f"known are {', '.join(known)}", hint)
