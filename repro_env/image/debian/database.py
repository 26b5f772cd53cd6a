"""dpkg's database, so that `dpkg -l` and `-S`, and scanners such as trivy and syft, see what is installed.

Source: dpkg's documentation of its internals, and deb-control(5). Files that `tree.dropped` leaves out are listed
still, as dpkg itself does for paths excluded by its configuration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from repro_env.image.debian.deb import Deb
from repro_env.image.debian.tree import Tree

_FOLDER = "var/lib/dpkg"
_KEPT = ("conffiles", "md5sums", "shlibs", "symbols", "triggers")
_SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")


def write_database(tree: Tree, debs: Sequence[Deb]) -> None:
    """Write `/var/lib/dpkg` with every package as installed."""
    ordered = sorted(debs, key=lambda deb: deb.name)
    for folder in ("alternatives", "info", "parts", "triggers", "updates"):
        tree.directory(f"{_FOLDER}/{folder}")
    tree.file(f"{_FOLDER}/status", "".join(f"{_stanza(tree, deb)}\n" for deb in ordered).encode())
    for name in ("available", "diversions", "statoverride"):
        tree.file(f"{_FOLDER}/{name}", b"")
    tree.file(f"{_FOLDER}/info/format", b"1\n")
    for deb in ordered:
        _write_info(tree, deb)


def _write_info(tree: Tree, deb: Deb) -> None:
    same = deb.fields.get("multi-arch") == "same"
    stem = f"{_FOLDER}/info/{deb.name}:{deb.architecture}" if same else f"{_FOLDER}/info/{deb.name}"
    listing = "/.\n" + "".join(f"/{member.path}\n" for member in deb.members)
    tree.file(f"{stem}.list", listing.encode())
    for name in _KEPT:
        if name in deb.control:
            tree.file(f"{stem}.{name}", deb.control[name])
    for name in _SCRIPTS:
        if name in deb.control:
            tree.file(f"{stem}.{name}", deb.control[name], mode=0o755)


def _stanza(tree: Tree, deb: Deb) -> str:
    """Return a package's paragraph of the status file: what its control file says, as installed."""
    lines = deb.control["control"].decode().strip("\n").split("\n")
    lines.insert(1, "Status: install ok installed")
    conffiles = list(_conffiles(tree, deb))
    place = next((at for at, line in enumerate(lines) if line.startswith("Description:")), len(lines))
    return "\n".join([*lines[:place], *(["Conffiles:", *conffiles] if conffiles else []), *lines[place:]]) + "\n"


def _conffiles(tree: Tree, deb: Deb) -> Iterator[str]:
    for line in deb.control.get("conffiles", b"").decode(errors="replace").splitlines():
        path = line.split()[-1] if line.split() else ""
        node = tree.find(path.lstrip("/")) if path else None
        if node is not None and node.kind == "file":
            yield f" {path} {hashlib.md5(node.read(), usedforsecurity=False).hexdigest()}"
