"""What is read of real libraries is what binutils' readelf reads: those of wheels, and all of a Debian base."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from onestep import OneStep

from repro_env.image.elf import MAGIC, Elf, ElfSink, MalformedElfError
from repro_env.image.libraries import Library
from repro_env.image.library_scan import libraries_of_layer
from repro_env.image.oci import Image, read_image
from repro_env.image.store import Store
from repro_env.image.unpack import root_filesystem
from repro_env.lock.parse import parse_lock
from repro_env.values import Platform

pytestmark = pytest.mark.network

WHEELS = ("numpy==2.2.6", "pyarrow==21.0.0", "opencv-python-headless==4.12.0.88", "scikit-learn==1.7.2")
PIECE = 1 << 18


def readelf(path: Path) -> tuple[object, ...]:
    words = ["readelf", "--dynamic", "--version-info", "--wide", str(path)]
    text = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout
    needs: dict[str, list[str]] = {}
    versions: list[str] = []
    for line in text.splitlines():
        if file := re.search(r" Version: 1  File: (\S+)  Cnt: ", line):
            versions = needs.setdefault(file[1], [])
        elif (name := re.search(r" Name: (\S+)  Flags: (.*?)  Version: \d+", line)) and "WEAK" not in name[2]:
            versions.append(name[1])
    defined = re.findall(r" Flags: (.*?)  Index: \d+  Cnt: \d+  Name: (\S+)", text)
    return (
        *(tuple(re.findall(rf"\({tag}\) .*\[(.*)\]", text)) for tag in ("NEEDED", "SONAME", "RPATH", "RUNPATH")),
        {library: tuple(asked) for library, asked in needs.items() if asked},
        tuple(name for flags, name in defined if "BASE" not in flags),
    )


def ours(elf: Elf) -> tuple[object, ...]:
    said = tuple((text,) if text else () for text in (elf.soname, elf.rpath, elf.runpath))
    return (elf.needed, *said, dict(elf.needs), elf.defines)


def streamed(data: bytes) -> tuple[Elf | MalformedElfError | None, int]:
    results: list[Elf | MalformedElfError | None] = []
    passes = 0

    def pieces() -> Iterator[bytes]:
        return (data[at : at + PIECE] for at in range(0, len(data), PIECE))

    def again() -> Iterator[bytes]:
        nonlocal passes
        passes += 1
        return pieces()

    sink = ElfSink(len(data), again, results.append)
    for piece in pieces():
        sink.feed(piece)
    sink.close()
    return results[0], passes


@pytest.mark.parametrize("requirement", WHEELS)
def test_the_libraries_of_a_wheel(requirement: str, download_wheel: Callable[[str], Path], tmp_path: Path) -> None:
    count = 0
    with zipfile.ZipFile(download_wheel(requirement)) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            if not data.startswith(MAGIC):
                continue
            elf, passes = streamed(data)
            assert isinstance(elf, Elf), name
            assert passes == 0, f"{name} took a second pass"
            (tmp_path / "library").write_bytes(data)
            assert ours(elf) == readelf(tmp_path / "library"), name
            count += 1
    assert count > 5


def test_all_of_a_debian_base(tmp_path: Path, test_cache: Path) -> None:
    (tmp_path / "project").mkdir()
    project = OneStep(tmp_path / "project", test_cache / "store")
    project.write()
    project.repro("lock")
    project.repro("build")
    lock = parse_lock((project.root / "repro.lock").read_text(), file="repro.lock")
    recorded = lock.steps["look"].environments[Platform("amd64")].image
    assert recorded is not None
    store = Store(test_cache / "store")
    image = read_image(store, recorded)
    root = root_filesystem(store, image.layers)
    files = {file.path: file.elf for file in _files(store, image)}
    assert len(files) > 400
    for path, elf in files.items():
        assert elf is not None, path
        assert ours(elf) == readelf(root / path), path


def _files(store: Store, image: Image) -> Iterator[Library]:
    assert shutil.which("readelf")
    for layer in image.layers:
        known = libraries_of_layer(store, layer)
        assert known is not None
        yield from known.files
