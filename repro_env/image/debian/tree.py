"""The root filesystem that packages make together: which of them gives what is at each path.

Source: Debian Policy, sections 6.5 to 6.7 and 7.6 ("Replaces"), and dpkg's behaviour where Policy is silent: a
directory keeps the owner and mode of the first package that has it, and a directory of a package is put through a
link that is already there.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence

from repro_env.errors import BuildError, IntegrityError
from repro_env.frozen import dataclass
from repro_env.image.debian.deb import Deb, Member
from repro_env.image.debian.spool import Span

MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32")
"""Directories that are links into /usr. Source: Debian's usrmerge, the layout of every suite since bookworm."""

STANDARD, EXTRA, STATE = range(3)
"""The layers of a base, from below."""

_LINKS = 40
"""How many links are followed before they are taken to be a circle, as Linux does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What stands at a path: `kind` is file, directory or symlink; `package` its origin, empty for what none ships."""

    path: str
    kind: str
    mode: int
    owner: int = 0
    group: int = 0
    link: str = ""
    content: Span | bytes | None = None
    package: str = ""
    layer: int = STANDARD

    def read(self, limit: int = -1, start: int = 0) -> bytes:
        """Return a file's content, or at most `limit` bytes of it from `start`; nothing for other kinds."""
        if isinstance(self.content, Span):
            return self.content.read(limit, start)
        data = self.content or b""
        return data[start:] if limit < 0 else data[start : start + limit]

    @property
    def size(self) -> int:
        """A file's size in bytes."""
        return self.content.size if isinstance(self.content, Span) else len(self.content or b"")

    def ranges(self, wanted: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return these ranges of a file's content, each given by its start and size."""
        return [self.read(size, start) for start, size in wanted]


class Tree:
    """A root filesystem under construction. Paths are below the root, without a leading slash."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.layer = STANDARD
        self._packages: dict[str, Deb] = {}
        self.nodes.update({name: _merged_link(name, STANDARD) for name in MERGED})

    def unpack(self, deb: Deb) -> None:
        """Put a package in place. Errors: `BuildError` naming both packages where two hold one path."""
        self._packages[deb.name] = deb
        for member in deb.members:
            if not dropped(member):
                self._place(deb, member)

    def directory(self, path: str, *, mode: int = 0o755, group: int = 0) -> None:
        """Make a directory if nothing is there yet."""
        place = self.resolve_parents(path)
        if place not in self.nodes:
            self._set(Node(path=place, kind="directory", mode=mode, group=group, layer=self.layer))

    def file(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """Write a file, in place of what is there."""
        self._set(Node(path=self.resolve_parents(path), kind="file", mode=mode, content=content, layer=self.layer))

    def symlink(self, path: str, target: str) -> None:
        """Make a symlink, in place of what is there."""
        self._set(Node(path=self.resolve_parents(path), kind="symlink", mode=0o777, link=target, layer=self.layer))

    def at(self, path: str) -> Node | None:
        """Return what stands at a path, a symlink as itself."""
        return self.nodes.get(self.resolve_parents(path))

    def find(self, path: str) -> Node | None:
        """Return what a path leads to, links followed, or None if to nothing or in a circle."""
        place = path
        for _turn in range(_LINKS):
            node = self.at(place)
            if node is None or node.kind != "symlink":
                return node
            place = node.link if node.link.startswith("/") else f"{posixpath.dirname(node.path)}/{node.link}"
        return None

    def resolve_parents(self, path: str) -> str:
        """Return a path with every symlink but the last part followed.

        Errors: `IntegrityError` for a circle of links.
        """
        done = ""
        rest = [part for part in path.split("/") if part]
        turns = 0
        while rest:
            part = rest.pop(0)
            if part in {".", ".."}:
                done = done if part == "." else done.rpartition("/")[0]
                continue
            place = f"{done}/{part}" if done else part
            node = self.nodes.get(place)
            if rest and node is not None and node.kind == "symlink":
                turns += 1
                if turns > _LINKS:
                    raise IntegrityError(f"/{path} leads through a circle of links")
                done = "" if node.link.startswith("/") else done
                rest[:0] = [step for step in node.link.split("/") if step]
            else:
                done = place
        return done

    def shown(self) -> list[Node]:
        """Return everything, without the links of the merged /usr whose target no package has given anything to."""
        return [
            node for node in self.nodes.values() if node.package or node.path not in MERGED or node.link in self.nodes
        ]

    def below(self, path: str) -> Iterator[Node]:
        """Yield what stands directly in a directory, sorted by name."""
        root = self.find(path)
        if root is not None and root.kind == "directory":
            prefix = root.path + "/"
            names = (place for place in self.nodes if place.startswith(prefix) and "/" not in place[len(prefix) :])
            yield from (self.nodes[place] for place in sorted(names))

    def _place(self, deb: Deb, member: Member) -> None:
        place = self.resolve_parents(member.path)
        if member.kind == "symlink" and self.resolve_parents(_joined(place, member.link)) == place:
            return  # /usr/bin/x -> /bin/x, the same place once /usr is merged
        node = Node(
            path=place,
            kind=member.kind,
            mode=member.mode,
            owner=member.owner,
            group=member.group,
            link=member.link,
            content=member.content,
            package=deb.name,
            layer=self.layer,
        )
        there = self.nodes.get(place)
        implied = there is not None and there.kind == node.kind == "directory" and not there.package
        if there is None or implied or not self._kept(deb, there, node):
            self._set(node)

    def _kept(self, deb: Deb, there: Node, node: Node) -> bool:
        """Whether what is there stays. Errors: `BuildError` if neither may give way."""
        if node.kind == "directory" and self._is_directory(there):
            return True
        if node.kind == there.kind == "symlink" and not there.package and node.link.strip("/") == there.link:
            return True  # base-files of newer suites ships the links of the merged /usr itself
        other = self._packages.get(there.package)
        if other is not None and there.kind != "directory" and node.kind != "directory":
            if _replaces(deb, other):
                return False
            if _replaces(other, deb):
                return True
        raise BuildError(
            f"{there.package or 'the base'} and {deb.name} both hold /{node.path}",
            f"{other or 'the base'} has a {there.kind} there, {deb} a {node.kind}; neither says it replaces the other",
            "leave one of them out of the base's packages",
        )

    def _is_directory(self, node: Node) -> bool:
        if node.kind == "symlink":
            target = self.find(node.path)
            return target is None or target.kind == "directory"
        return node.kind == "directory"

    def _set(self, node: Node) -> None:
        parent, _, name = node.path.rpartition("/")
        above = self.nodes.get(parent)
        if above is not None and above.kind != "directory":
            raise IntegrityError(f"/{node.path} is below /{parent}, which {above.package} has as a {above.kind}")
        if parent and above is None:
            self._set(Node(path=parent, kind="directory", mode=0o755, layer=self.layer))
        if parent == "usr" and name in MERGED and node.path not in self.nodes:
            self.nodes[name] = _merged_link(name, self.layer)
        self.nodes[node.path] = node


def dropped(member: Member) -> bool:
    """Whether a member stays out of the image.

    What only a person at a desk reads is left out, as Debian's own slim images do: manual pages, info pages,
    translations (`locale.alias` apart, which the C library reads), lintian's overrides, and of `/usr/share/doc` all
    but the licences.
    """
    parts = member.path.split("/")
    if parts[:2] != ["usr", "share"] or len(parts) == 2:  # noqa: PLR2004 - /usr/share itself
        return False
    if parts[2] == "doc":
        return not (parts[-1] == "copyright" or (member.kind == "symlink" and len(parts) == 4))  # noqa: PLR2004 - doc/NAME
    if parts[2] == "locale":
        return parts[3:] != ["locale.alias"]
    return parts[2] in {"man", "info", "lintian", "linda", "groff"}


def _merged_link(name: str, layer: int) -> Node:
    return Node(path=name, kind="symlink", mode=0o777, link=f"usr/{name}", layer=layer)


def _replaces(deb: Deb, other: Deb) -> bool:
    return any(
        relation.name == other.name and relation.accepts(other.version)
        for group in deb.relations("replaces")
        for relation in group
    )


def _joined(path: str, target: str) -> str:
    """Return where a symlink at `path` leads, as text."""
    return posixpath.normpath(posixpath.join("/", posixpath.dirname(path), target)).lstrip("/")


def layer_nodes(nodes: Iterable[Node], below: Iterable[Node]) -> list[Node]:
    """Return the nodes of a layer with the directories they stand in, sorted so that parents come before children.

    `below` is everything beneath and in the layer, to take the directories from: an entry of a directory must be the
    same in every layer.
    """
    everything = {node.path: node for node in below}
    wanted = {node.path: node for node in nodes}
    for path in list(wanted):
        parent = path.rpartition("/")[0]
        while parent and parent not in wanted:
            wanted[parent] = everything[parent]
            parent = parent.rpartition("/")[0]
    return [wanted[path] for path in sorted(wanted, key=str.encode)]
