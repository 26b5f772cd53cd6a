"""A stand-in for python-build-standalone: an `install_only` archive made of the Python that runs the tests.

It is laid out as the real ones are and runs wherever glibc is: `python/bin/python3.N`, `python/lib/python3.N`. What
modules of it need of the machine beyond that, for instance OpenSSL, it does not bring.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import platform
import re
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from repro_env.edges.python_releases import PUBLISHERS
from repro_env.values import Digest

RELEASE = "20990101"
MINOR = f"3.{sys.version_info.minor}"
VERSION = platform.python_version()
MACHINE = os.uname().machine

_LEFT_OUT = {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idle_test", "idlelib", "lib2to3"}

Member = tuple[str, bytes | None, int, str]  # name, content of a file, mode, target of a link


@dataclass(frozen=True, slots=True)
class Release:
    """An archive as it is published: its file name, its address at the publisher, and its content."""

    file: str
    url: str
    content: bytes

    @property
    def sha256(self) -> Digest:
        """The content's digest."""
        return Digest.of(self.content)

    def publish(self, root: Path, *, sums: bool = False) -> None:
        """Lay the archive out below `root`, a mirror's directory, perhaps with its SHA-256 beside it."""
        place = root / RELEASE / self.file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(self.content)
        if sums:
            place.with_name("SHA256SUMS").write_text(f"{'0' * 64}  other.tar.gz\n{self.sha256.hex}  {self.file}\n")

    def listed(self, *, sha256: str | None = None) -> str:
        """Return the list of builds that uv reads, with this one in it."""
        minor, patch = map(int, VERSION.split(".")[1:])
        entry = {
            "name": "cpython",
            "arch": {"family": MACHINE, "variant": None},
            "os": "linux",
            "libc": "gnu",
            "major": 3,
            "minor": minor,
            "patch": patch,
            "prerelease": "",
            "url": self.url,
            "sha256": self.sha256.hex if sha256 is None else sha256 or None,
            "variant": None,
            "build": RELEASE,
        }
        return json.dumps({f"cpython-{VERSION}-linux-{MACHINE}-gnu": entry})


def release(members: Iterable[Member]) -> Release:
    """Return an archive of these members under the name of a build of the Python that runs the tests."""
    file = f"cpython-{VERSION}+{RELEASE}-{MACHINE}-unknown-linux-gnu-install_only_stripped.tar.gz"
    return Release(file, f"{PUBLISHERS[0]}{RELEASE}/{quote(file)}", pack(members))


def pack(members: Iterable[Member]) -> bytes:
    """Return a gzip'd tar of these members, with times and owners as any build machine has them."""
    stream = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1) as zipped,
        tarfile.open(fileobj=zipped, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member in members:
            archive.addfile(member_header(*member), io.BytesIO(member[1] or b""))
    return stream.getvalue()


def member_header(name: str, content: bytes | None, mode: int, link: str) -> tarfile.TarInfo:
    """Return the tar header of a member."""
    entry = tarfile.TarInfo(name)
    entry.mode, entry.mtime, entry.uid, entry.uname = mode, 1_700_000_000, 1000, "builder"
    entry.type = tarfile.SYMTYPE if link else tarfile.REGTYPE if content is not None else tarfile.DIRTYPE
    entry.linkname, entry.size = link, len(content or b"")
    return entry


def running_python() -> Iterator[Member]:
    """Yield the members of an archive of the Python that runs the tests, and some of what a build has too much."""
    base = Path(sys.base_prefix)
    stdlib = f"python/lib/python{MINOR}"
    yield f"python/bin/python{MINOR}", _moved(_program().read_bytes()), 0o755, ""
    yield "python/bin/python3", None, 0o777, f"python{MINOR}"
    yield f"python/bin/pip{MINOR}", b"#!/bin/sh\n", 0o755, ""
    yield f"{stdlib}/site-packages/pip/__init__.py", b"", 0o644, ""
    yield f"{stdlib}/test/test_nothing.py", b"", 0o644, ""
    yield f"{stdlib}/__pycache__/os.cpython-3{MINOR[2:]}.pyc", b"stale", 0o644, ""
    library = str(sysconfig.get_config_var("INSTSONAME") or "")
    if ".so" in library and (base / "lib" / library).exists():
        yield f"python/lib/{library}", _moved((base / "lib" / library).read_bytes()), 0o755, ""
    yield from _tree(Path(sysconfig.get_path("stdlib")), stdlib)


def _program() -> Path:
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def _tree(source: Path, target: str) -> Iterator[Member]:
    for directory, names, files in os.walk(source):
        names[:] = [name for name in names if name not in _LEFT_OUT and not name.startswith("config-")]
        for name in files:
            path = Path(directory, name)
            place = f"{target}/{path.relative_to(source).as_posix()}"
            content = path.read_bytes()
            yield place, _moved(content) if ".so" in name else content, path.stat().st_mode & 0o777, ""


def _moved(elf: bytes) -> bytes:
    """Let a program that was linked for this machine's prefix find its library beside itself."""
    here = f"{sys.base_prefix}/lib".encode()
    beside = b"$ORIGIN/../lib"
    if len(here) < len(beside):
        return elf
    return re.sub(re.escape(here) + rb"(?=[:\0])", beside.ljust(len(here), b"\0").replace(b"\0", b"/"), elf)
