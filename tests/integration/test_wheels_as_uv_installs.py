"""The installed tree of real wheels equals what uv installs: paths, bytes, executable bits.

Byte code and what an installer writes about itself are left aside; of RECORD the set of files and hashes is compared,
of an entry point's script its interpreter, target and mode.
"""

from __future__ import annotations

import csv
import io
import os
import posixpath
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from layers import Found, files_of, layer_of
from uv import find_uv_bin

from repro_env.image.store import Store
from repro_env.values import PythonVersion

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the wheels are pinned for Python 3.11"),
]

PREFIX = "opt/env/"
SITE = "lib/python3.11/site-packages/"
_RECORD = re.escape(SITE) + r"[^/]+\.dist-info/RECORD"
OF_THE_INSTALLER = {"INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json", "RECORD"}

WHEELS = [
    "numpy==1.26.4",  # compiled, bundled libraries, many entry points
    "pandas==2.2.3",
    "matplotlib==3.10.0",  # fonts, images, a namespace package
    "pillow==11.1.0",
    "lxml==5.3.0",
    "cryptography==44.0.0",
    "cffi==1.17.1",
    "pyyaml==6.0.2",  # a file name in capitals
    "sqlalchemy==2.0.36",
    "protobuf==5.29.3",
    "greenlet==3.1.1",  # headers
    "debugpy==1.8.11",  # sources, libraries for several systems
    "black==24.10.0",  # compiled with mypyc, several entry points
    "click==8.1.8",
    "rich==13.9.4",
    "attrs==24.3.0",
    "six==1.17.0",
    "sniffio==1.3.1",  # an archive made on another system: no modes
    "certifi==2024.12.14",
    "tzdata==2024.2",
    "babel==2.16.0",
    "pygments==2.19.1",
    "docutils==0.21.2",
    "pelican==4.10.2",  # names that are not ASCII
    "setuptools==75.8.0",  # names with spaces, wheels within
    "pip==24.3.1",
    "wheel==0.45.1",
    "virtualenv==20.28.1",
    "googleapis-common-protos==1.66.0",  # google.*
    "google-auth==2.37.0",
    "google-cloud-core==2.4.1",  # with a -nspkg.pth
    "zope.interface==7.2",
    "zope.event==5.0",
    "jupyterlab-widgets==3.0.13",  # data files with names of 160 characters
    "notebook==7.3.2",
    "ipykernel==6.29.5",
    "jmespath==1.0.1",  # a #!python script
    "awscli==1.36.40",  # scripts of the shell and of Windows, 6000 files
    "ruff==0.8.6",  # a large program as a script
    "ninja==1.11.1.3",
    "clang-format==19.1.6",
]


@dataclass(frozen=True, slots=True)
class Installation:
    """What an installer made of a wheel: its files below the prefix, and how it spells its interpreter."""

    files: Mapping[str, Found]
    interpreter: str

    def own(self) -> dict[str, Found]:
        """Return the files that are the wheel's, with the interpreter's place left out of scripts."""
        return {path: self.neutral(path, found) for path, found in self.files.items() if not is_aside(path)}

    def neutral(self, path: str, found: Found) -> Found:
        """Return a script with `#!python` where it names the interpreter; an entry point's as its target alone."""
        first = f"#!{self.interpreter}\n".encode()
        if not path.startswith("bin/") or not found.content.startswith(first):
            return found
        rest = found.content[len(first) :]
        target = entry_point(rest)
        return Found(found.kind, found.mode, b"#!python\n" + (target or rest))

    def record(self) -> set[tuple[str, str, str]]:
        """Return RECORD's rows that are of the wheel's own files; scripts without what depends on the interpreter."""
        (text,) = (found.content for path, found in self.files.items() if re.fullmatch(_RECORD, path))
        rows = csv.reader(io.StringIO(text.decode(), newline=""))
        places = ((posixpath.normpath(SITE + name), hashed, size) for name, hashed, size in rows)
        return {
            (path, "", "") if self.names_interpreter(path) else (path, hashed, size)
            for path, hashed, size in places
            if not is_aside(path)
        }

    def names_interpreter(self, path: str) -> bool:
        return path.startswith("bin/") and self.interpreter.encode() in self.files[path].content[:300]


def is_aside(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    return path.endswith(".pyc") or (folder.endswith(".dist-info") and name in OF_THE_INSTALLER)


def entry_point(script: bytes) -> bytes | None:
    """Return `module:attribute` if the script is one that an installer wrote for an entry point."""
    imported = re.search(rb"^from (\S+) import \w+$", script, re.MULTILINE)
    called = re.search(rb"^    sys\.exit\(([\w.]+)\(\)\)$", script, re.MULTILINE)
    return imported[1] + b":" + called[1] if imported and called and b'__name__ == "__main__"' in script else None


def tree(root: Path) -> dict[str, Found]:
    """Return the files below a directory, in the shape of a layer's."""
    found = {}
    for directory, _folders, names in os.walk(root):
        for name in names:
            path = Path(directory, name)
            if not path.is_symlink():
                mode = 0o755 if path.stat().st_mode & 0o111 else 0o644
                found[path.relative_to(root).as_posix()] = Found("file", mode, path.read_bytes())
    return found


@pytest.fixture(scope="module")
def by_uv(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Installation]:
    """A function that installs a wheel with uv into a virtual environment that is empty before and after."""
    root = tmp_path_factory.mktemp("v")
    environment = root / "e"
    settings = {**os.environ, "UV_CACHE_DIR": str(root / "cache"), "UV_LINK_MODE": "copy", "UV_NO_CONFIG": "1"}

    def uv(*words: str | Path) -> None:
        subprocess.run([find_uv_bin(), *map(str, words), "--quiet"], env=settings, check=True, timeout=120)

    uv("venv", "--python", sys.executable, environment)
    before = {".lock", *tree(environment)}
    python = environment / "bin/python"

    def install(wheel: Path) -> Installation:
        uv("pip", "install", "--no-deps", "--offline", "--python", python, wheel)
        files = {path: found for path, found in tree(environment).items() if path not in before}
        uv("pip", "uninstall", "--python", python, wheel.name.split("-")[0])
        return Installation(files, str(python))

    return install


def by_us(store: Store, wheel: Path) -> Installation:
    found = files_of(store, layer_of(store, wheel, python=PythonVersion(11)).layer)
    assert all(path.startswith(PREFIX) for path in found)
    return Installation({path.removeprefix(PREFIX): entry for path, entry in found.items()}, "/opt/env/bin/python")


def check_equal(ours: Installation, theirs: Installation) -> None:
    mine, expected = ours.own(), theirs.own()
    expected.pop("bin/pip3.11", None)  # installers make it up for pip alone; its wheel names pip and pip3
    assert mine.keys() == expected.keys()
    assert [path for path in mine if mine[path] != expected[path]] == []
    assert ours.record() == {row for row in theirs.record() if row[0] != "bin/pip3.11"}


@pytest.mark.parametrize("requirement", WHEELS)
def test_a_layer_holds_what_uv_installs(
    requirement: str, download_wheel: Callable[[str], Path], by_uv: Callable[[Path], Installation], store: Store
) -> None:
    wheel = download_wheel(requirement)
    check_equal(by_us(store, wheel), by_uv(wheel))


def test_a_wheel_of_stored_members_too(
    download_wheel: Callable[[str], Path], by_uv: Callable[[Path], Installation], store: Store, tmp_path: Path
) -> None:
    original = download_wheel("notebook==7.3.2")
    repacked = tmp_path / original.name
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(repacked, "w", zipfile.ZIP_STORED) as target:
        for member in source.infolist():
            target.writestr(member, source.read(member), compress_type=zipfile.ZIP_STORED)
    check_equal(by_us(store, repacked), by_uv(repacked))


def test_what_wheels_made_by_hand_can_hold(by_uv: Callable[[Path], Installation], store: Store, tmp_path: Path) -> None:
    """Every scheme, script and mode in one wheel; real ones have only a few each."""
    from layers import INFO, raw_wheel  # noqa: PLC0415 - only here

    data = "probe-1.0.data"
    members = {
        "probe/__init__.py": b"",
        "probe/with space, comma 'n\" quote.txt": b"1",
        "probe/größe/名前.py": b"2",
        "probe/" + "long/" * 40 + "x" * 120: b"3",
        "probe/program": b"\x7fELF",
        "probe-nspkg.pth": b"import sys\n",
        f"{data}/purelib/pure.py": b"4",
        f"{data}/platlib/plat.py": b"5",
        f"{data}/headers/probe.h": b"6",
        f"{data}/data/share/probe/d": b"7",
        f"{data}/data/etc/probe/executable": b"8",
        f"{data}/scripts/a": b"#!python\nprint(1)\n",
        f"{data}/scripts/b": b"#!pythonw\nprint(1)\n",
        f"{data}/scripts/c": b"#!python -E\r\nprint(1)\r\n",
        f"{data}/scripts/d": b"#!/bin/sh\necho\n",
        f"{data}/scripts/e": b"\x7fELF" + bytes(70_000),
        f"{data}/scripts/f": b"",
        f"{data}/scripts/g": b"#!python",
        f"{INFO}/RECORD.jws": b"signature",
        f"{INFO}/licenses/LICENSE": b"9",
        f"{INFO}/entry_points.txt": b"[console_scripts]\nh = a.b : c.d [extra]\n[gui_scripts]\ni.j-k = a:b\n",
    }
    programs = ("probe/program", f"{data}/data/etc/probe/executable", f"{data}/scripts/e")
    wheel = raw_wheel(tmp_path, members, modes={**dict.fromkeys(programs, 0o100755), "probe-nspkg.pth": 0})
    check_equal(by_us(store, wheel), by_uv(wheel))
