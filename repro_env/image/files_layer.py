"""A layer of a few files and links whose contents are at hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from repro_env.image import tar
from repro_env.image.layer import Layer, LayerWriter
from repro_env.image.store import Store


def files_layer(
    store: Store,
    contents: Mapping[str, bytes],
    comment: str,
    *,
    links: Mapping[str, str] = MappingProxyType({}),
    directories: Collection[str] = (),
) -> Layer:
    """Return the layer, which is in the store then, of files with these contents and of symlinks to these targets.

    They are named by their paths in the image, without the leading slash. `directories` are made besides those that
    files and links stand in. Modes are 0644 and 0755. Errors: `StoreError`.
    """
    folders = {*directories, *tar.parents([*contents, *links, *directories])}
    with store.writing() as (stream, keep):
        writer = LayerWriter(stream)
        for path in sorted((*folders, *links, *contents), key=str.encode):
            if path in folders:
                writer.add(tar.Entry(path=path, kind="directory", mode=0o755))
            elif path in links:
                writer.add(tar.Entry(path=path, kind="symlink", mode=0o777, link=links[path]))
            else:
                writer.add(tar.Entry(path=path, size=len(contents[path])), contents[path])
        layer = writer.finish(comment)
        keep(layer.digest)
    return layer
