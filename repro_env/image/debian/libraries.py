"""The libraries of a Debian layer, read from the packages' contents while these are at hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from repro_env.image.debian.deb import Deb
from repro_env.image.debian.tree import Node
from repro_env.image.elf import MalformedElfError, read_elf
from repro_env.image.libraries import LayerLibraries, Library, is_configuration, is_link_of_interest


def libraries_of(nodes: Sequence[Node], debs: Iterable[Deb]) -> LayerLibraries:
    """Return the libraries, links and linker's configuration among a layer's nodes."""
    packages = {deb.name: str(deb) for deb in debs}
    files = [node for node in nodes if node.kind == "file"]
    found = (_library(node, packages.get(node.package, "")) for node in files)
    return LayerLibraries(
        files=tuple(library for library in found if library is not None),
        links={node.path: node.link for node in nodes if node.kind == "symlink" and is_link_of_interest(node.path)},
        configuration={
            node.path: node.read().decode(errors="replace") for node in files if is_configuration(node.path)
        },
    )


def _library(node: Node, package: str) -> Library | None:
    try:
        elf = read_elf(node.ranges, node.size)
    except MalformedElfError:
        return Library(path=node.path, package=package, elf=None)
    return None if elf is None else Library(path=node.path, package=package, elf=elf)
