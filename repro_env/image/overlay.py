"""Unpacked layers on top of each other, by hard links, with what a runtime mounts over.

Source of the whiteouts: OCI image specification 1.1, "layer.md", sections "Whiteouts" and "Applying Changesets".
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from repro_env.edges import files

MOUNT_DIRECTORIES = ("dev", "proc", "run", "sys", "tmp", "repro/code", "repro/input", "repro/output")
"""Directories that every root filesystem has, because a runtime mounts over them and cannot make them itself."""

MOUNT_FILES: Mapping[str, str] = {
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
    "etc/resolv.conf": "",
}
"""Files that every root filesystem has for the same reason, with their content where an image has none."""

WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
MODE = 0o1777
"""What is kept of a mode. Set-user-ID and set-group-ID bits are not: a sandbox ignores them, but the tree stands on
this machine, where a hostile image's bit would count."""

_NO_HARD_LINK = frozenset((errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP))


def lay_over(source: Path, target: Path) -> None:
    """Put one layer's tree over what the target directory holds from the layers below."""
    shared = _lay_directory_over(str(source), str(target), fresh=False)
    for directory, mode in reversed(shared):
        os.chmod(directory, mode)


def _lay_directory_over(source: str, target: str, *, fresh: bool) -> list[tuple[str, int]]:
    """Do one directory and those below it; `fresh` says that the target was made for it and holds nothing.

    Returns the directories with the modes they are to have once everything is in them.
    """
    with os.scandir(source) as scanned:
        entries = list(scanned)
    modes = [(target, os.stat(source).st_mode & MODE)]
    if not fresh:
        os.chmod(target, 0o755)  # noqa: S103 - to write into it; its own mode follows
        _apply_whiteouts(entries, target)
    for entry in entries:
        name = entry.name
        place = f"{target}/{name}"
        if entry.is_dir(follow_symlinks=False):
            made = fresh or not os.path.isdir(place) or os.path.islink(place)
            if made:
                if not fresh:
                    files.remove_tree(Path(place))
                os.mkdir(place)
            modes += _lay_directory_over(entry.path, place, fresh=made)
        elif not name.startswith(WHITEOUT):
            _link_over(entry.path, place, fresh=fresh)
    return modes


def _apply_whiteouts(entries: Sequence[os.DirEntry[str]], target: str) -> None:
    for entry in entries:
        if entry.name == _OPAQUE:
            for below in os.listdir(target):
                files.remove_tree(Path(target, below))
        elif entry.name.startswith(WHITEOUT):
            files.remove_tree(Path(target, entry.name.removeprefix(WHITEOUT)))


def _link_over(source: str, place: str, *, fresh: bool) -> None:
    try:
        os.link(source, place, follow_symlinks=False)
    except FileExistsError:
        if fresh:
            raise
        files.remove_tree(Path(place))
        os.link(source, place, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_HARD_LINK:
            raise
        if not fresh:
            files.remove_tree(Path(place))
        shutil.copy2(source, place, follow_symlinks=False)


def add_mount_points(root: Path) -> None:
    """Make what a runtime mounts over, real and not a link, in place of whatever an image has there."""
    for name in MOUNT_DIRECTORIES:
        _make_real_directory(root, name)
    for name, content in MOUNT_FILES.items():
        _make_real_directory(root, os.path.dirname(name))
        place = root / name
        if place.is_symlink() or not place.is_file():
            files.remove_tree(place)
            place.write_text(content, encoding="ascii")
            place.chmod(0o644)


def _make_real_directory(root: Path, name: str) -> None:
    """Make a directory whose path holds no link."""
    place = root
    for part in name.split("/"):
        place /= part
        if place.is_symlink() or not place.is_dir():
            files.remove_tree(place)
            place.mkdir()
            place.chmod(0o755)
