"""What the maintainer scripts of the standard packages do on a first installation, done here from the files they use.

Nothing is invented: each line says which package's script does the same.
"""

from __future__ import annotations

from repro_env.image.debian.tree import Tree

_COPIES = {
    "usr/share/base-passwd/passwd.master": "etc/passwd",  # base-passwd
    "usr/share/base-passwd/group.master": "etc/group",
    "usr/share/base-files/profile": "etc/profile",  # base-files
    "usr/share/base-files/motd": "etc/motd",
    "usr/share/base-files/dot.profile": "root/.profile",
    "usr/share/base-files/dot.bashrc": "root/.bashrc",
    "usr/share/libc-bin/nsswitch.conf": "etc/nsswitch.conf",  # libc-bin
    "usr/share/readline/inputrc": "etc/inputrc",  # readline-common
}

_MAIL = 8
_STICKY = 0o1777

# base-files makes those that it does not ship; the first six are where runtimes mount.
_DIRECTORIES = {
    **dict.fromkeys(("dev", "proc", "sys", "run", "mnt", "media", "srv", "opt", "home", "etc/opt", "var/opt"), 0o755),
    **dict.fromkeys(
        (f"usr/local/{name}" for name in ("bin", "etc", "games", "include", "lib", "sbin", "share", "src")), 0o755
    ),
    **dict.fromkeys(("tmp", "var/tmp", "run/lock"), _STICKY),
    "root": 0o700,
}

_LINKS = {
    "usr/local/man": "share/man",  # base-files
    "var/spool/mail": "../mail",
    "etc/dpkg/origins/default": "debian",
    "etc/localtime": "/usr/share/zoneinfo/Etc/UTC",  # tzdata
}

_TEXTS = {
    "etc/timezone": b"Etc/UTC\n",  # tzdata
    "etc/hosts": b"127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost ip6-loopback\n"  # netbase
    b"ff02::1\t\tip6-allnodes\nff02::2\t\tip6-allrouters\n",
    "etc/networks": b"default\t\t0.0.0.0\nloopback\t127.0.0.0\nlink-local\t169.254.0.0\n",
    "etc/hostname": b"",  # where runtimes mount the container's own
    "etc/resolv.conf": b"",
}


def install_defaults(tree: Tree) -> None:
    """Copy default configuration into place, and make the directories, links and small files that scripts make."""
    for path, mode in _DIRECTORIES.items():
        tree.directory(path, mode=mode)
    tree.directory("var/mail", mode=0o2775, group=_MAIL)
    for source, target in _COPIES.items():
        node = tree.find(source)
        if node is not None and tree.at(target) is None:
            tree.file(target, node.read())
    for path, target in _LINKS.items():
        if tree.at(path) is None:
            tree.symlink(path, target)
    for path, text in _TEXTS.items():
        if tree.at(path) is None:
            tree.file(path, text)
    _install_shells(tree)


def link_run_directories(tree: Tree) -> None:
    """Turn `/var/run` and `/var/lock`, which base-files ships as directories, into links, as its script does."""
    for path, target in {"var/run": "/run", "var/lock": "/run/lock"}.items():
        node = tree.at(path)
        if node is not None and node.kind == "directory" and next(tree.below(path), None) is None:
            tree.symlink(path, target)


def _install_shells(tree: Tree) -> None:
    """Write `/etc/shells` as debianutils' `update-shells` does: its own list, then what packages declare."""
    own = tree.find("usr/share/debianutils/shells")
    if own is None:
        return
    lines = own.read().decode().splitlines()
    for node in tree.below("usr/share/debianutils/shells.d"):
        for shell in node.read().decode().split():
            place = shell if shell.startswith("/usr/") else f"/usr{shell}"
            lines += [line for line in (shell, place) if line not in lines]
    tree.file("etc/shells", "".join(f"{line}\n" for line in lines).encode())
