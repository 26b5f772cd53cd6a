"""`build_base_layers`: the layers of a Debian base, from blobs that are already in the store.

1. the standard packages, the same layer in every base of a suite and date;
2. the packages that the user added, if any;
3. the state: what maintainer scripts would have done, the linker's cache, dpkg's database.

Of maintainer scripts' effects, those that programs of a step rely on are reproduced: `defaults`, `alternatives`,
`certificates`, `linker` and `database` say which. Not reproduced are users that a script adds, Python byte code,
Java's key store, and the caches of desktop libraries (fontconfig, gdk-pixbuf, GSettings, MIME).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from repro_env.edges.files import os_errors
from repro_env.edges.pool import thread_pool
from repro_env.image import tar
from repro_env.image.debian.alternatives import install_alternatives
from repro_env.image.debian.certificates import install_certificates
from repro_env.image.debian.database import write_database
from repro_env.image.debian.deb import Deb, read_deb
from repro_env.image.debian.defaults import install_defaults, link_run_directories
from repro_env.image.debian.libraries import libraries_of
from repro_env.image.debian.linker import write_linker_cache
from repro_env.image.debian.order import unpack_order
from repro_env.image.debian.spool import Span, Spools
from repro_env.image.debian.tree import EXTRA, STANDARD, STATE, Node, Tree, layer_nodes
from repro_env.image.layer import Layer, LayerWriter
from repro_env.image.layer_memory import layer_key, recall_layer, remember_layer
from repro_env.image.libraries import VERSION, remember_libraries
from repro_env.image.store import Store
from repro_env.lock.model import LAYOUT, DebianPackage, DebianRoot

_KIND = "debian-layer"
_WORKERS = 8
_NAMED = 8
_SMALL = 1 << 20
"""Bytes up to which a file is written in one piece."""


def build_base_layers(root: DebianRoot, store: Store) -> tuple[Layer, ...]:
    """Return a base's layers, from below; what was made before is found again and costs nothing.

    Every `.deb` of the root must be in the store. The bytes depend on the packages and on `LAYOUT` alone. Setuid and
    setgid bits of files are dropped; `tree.dropped` says which files stay out. Errors: `IntegrityError` for a package
    that is not what was pinned or is malformed, `BuildError` for two that hold one path, `StoreError`.
    """
    plan = _plan(root.packages)
    found = _recall_all(store, plan)
    if found is None:
        with store.lock(f"{_KIND}-{plan[STATE]}"):
            found = _recall_all(store, plan) or _build(root.packages, plan, store)
    return found


def _plan(packages: Sequence[DebianPackage]) -> dict[int, str]:
    """Return the layers a base has, from below, each with the key it is remembered by."""
    standard = [package.sha256.hex for package in packages if not package.extra]
    every = [(package.sha256.hex, package.extra) for package in packages]
    plan = {STANDARD: _key("standard", sorted(standard))}
    if len(standard) < len(every):
        plan[EXTRA] = _key("extra", sorted(every))
    plan[STATE] = _key("state", sorted(every))
    return plan


def _key(kind: str, packages: Iterable[object]) -> str:
    return layer_key(LAYOUT, VERSION, kind, *packages)


def _build(packages: Sequence[DebianPackage], plan: Mapping[int, str], store: Store) -> tuple[Layer, ...]:
    workers = min(os.cpu_count() or 1, _WORKERS)
    with os_errors(f"write to the store at {store.root}"), Spools(store.temporary, workers) as spools:
        debs = _read(packages, store, spools, workers)
        tree = Tree()
        layers = []
        for place, key in plan.items():
            tree.layer = place
            _fill(tree, place, debs)
            layers.append(recall_layer(store, _KIND, key) or _write(tree, place, debs, key, store))
        return tuple(layers)


def _read(packages: Sequence[DebianPackage], store: Store, spools: Spools, workers: int) -> list[Deb]:
    """Read the packages at once, the largest first, and return them by name. No byte depends on how many at once."""
    largest_first = sorted(packages, key=lambda package: (-package.size, package.name))

    def read(package: DebianPackage) -> Deb:
        with store.reading(package.sha256, f"{package.name} {package.version}") as path:
            return read_deb(package, path, spools)

    with thread_pool(workers, "deb") as pool:
        return sorted(pool.map(read, largest_first), key=lambda deb: deb.name)


def _fill(tree: Tree, place: int, debs: Sequence[Deb]) -> None:
    if place == STATE:
        install_defaults(tree)
        install_alternatives(tree, debs)
        install_certificates(tree)
        write_linker_cache(tree, debs)
        write_database(tree, debs)
        return
    # The order of the standard packages must not depend on what was added to them.
    for deb in unpack_order(deb for deb in debs if deb.extra == (place == EXTRA)):
        tree.unpack(deb)
    if place == STANDARD:
        link_run_directories(tree)


def _write(tree: Tree, place: int, debs: Sequence[Deb], key: str, store: Store) -> Layer:
    everything = tree.shown()
    nodes = layer_nodes((node for node in everything if node.layer == place), everything)
    with store.writing() as (stream, keep):
        writer = LayerWriter(stream)
        _add(writer, nodes)
        layer = writer.finish(_comment(place, debs))
        keep(layer.digest)
    remember_libraries(store, layer.digest, libraries_of(nodes, debs))
    remember_layer(store, _KIND, key, layer)
    return layer


def _add(writer: LayerWriter, nodes: Iterable[Node]) -> None:
    """Write the nodes; of files that share one content the first holds it and the others are hard links to it."""
    first: dict[tuple[int, int], Node] = {}
    for node in nodes:
        content = node.content
        if isinstance(content, Span):
            other = first.setdefault((id(content.spool), content.offset), node)
            if other is not node:
                writer.add(_entry(node, kind="hardlink", link=other.path))
            elif content.size <= _SMALL:
                writer.add(_entry(node, size=content.size), content.read())
            else:
                writer.add_chunks(_entry(node, size=content.size), content.chunks())
        else:
            data = content or b""
            writer.add(_entry(node, size=len(data)), data)


def _entry(node: Node, *, size: int = 0, kind: str = "", link: str = "") -> tar.Entry:
    return tar.Entry(
        path=node.path,
        kind=kind or node.kind,
        mode=node.mode,
        size=size,
        link=link or node.link,
        owner=node.owner,
        group=node.group,
    )


def _comment(place: int, debs: Sequence[Deb]) -> str:
    if place == STATE:
        return f"Debian: the state of {len(debs)} packages"
    if place == STANDARD:
        version = next((deb.version for deb in debs if deb.name == "base-files"), "")
        return f"Debian {version}: {sum(not deb.extra for deb in debs)} packages"
    extra = [str(deb) for deb in debs if deb.extra]
    more = f" and {len(extra) - _NAMED} more" if len(extra) > _NAMED else ""
    return f"Debian: {', '.join(extra[:_NAMED])}{more}"


def _recall_all(store: Store, plan: Mapping[int, str]) -> tuple[Layer, ...] | None:
    found = [layer for key in plan.values() if (layer := recall_layer(store, _KIND, key)) is not None]
    return tuple(found) if len(found) == len(plan) else None
