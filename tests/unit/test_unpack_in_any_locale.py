"""Names in layers and in people's code are UTF-8, and are written as that under a locale that knows only ASCII."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import tiny

from repro_env.image.oci import read_image
from repro_env.image.store import Store

SCRIPT = """
import pathlib, sys
from repro_env.image.oci import read_image
from repro_env.image.store import Store
from repro_env.image.unpack import root_filesystem
from repro_env.values import Digest
store = Store(pathlib.Path(sys.argv[1]))
root_filesystem(store, read_image(store, Digest.parse(sys.argv[2])).layers)
"""


CODE = r"""
import pathlib, sys
from repro_env.build.code import CodeFile, copy_code
project, target = map(pathlib.Path, sys.argv[1:])
files = [CodeFile(name, next(project.iterdir())) for name in ("gr\u00f6\u00dfe/\u0151.py",)]
copy_code([*files, CodeFile("zu", project, link="gr\u00f6\u00dfe")], target)
"""

SDIST = """
import pathlib, sys
from repro_env.image.sdist import unpack_sdist
unpack_sdist(pathlib.Path(sys.argv[1]), "a-1.tar.gz", pathlib.Path(sys.argv[2]))
"""


def run(script: str, *words: object) -> None:
    ascii_only = {**os.environ, "LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    subprocess.run([sys.executable, "-c", script, *map(str, words)], env=ascii_only, check=True, timeout=60)


def test_copying_code_under_the_posix_locale(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "ő.py").write_text("x")
    run(CODE, tmp_path / "project", tmp_path / "copy")
    assert (tmp_path / "copy" / "größe" / "ő.py").read_text() == "x"
    assert os.readlink(tmp_path / "copy" / "zu") == "größe"


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_unpacking_sources_under_the_posix_locale(tmp_path: Path, form: int) -> None:
    with tarfile.open(tmp_path / "sdist", "w:gz", format=form, encoding="utf-8") as archive:
        info = tarfile.TarInfo("a-1/größe/ő.py")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    run(SDIST, tmp_path / "sdist", tmp_path / "out")
    assert (tmp_path / "out" / "größe" / "ő.py").read_text() == "x"


@pytest.mark.skipif(not tiny.BUSYBOX.exists(), reason="there is no static busybox here")
def test_unpacking_under_the_posix_locale(store: Store) -> None:
    entries = [tiny.directory("größe"), tiny.text("größe/ő", "x"), tiny.link("größe/zu", "ő")]
    image = tiny.tiny_image(store, tiny.make_layer(store, entries))
    run(SCRIPT, store.root, image)
    assert len(read_image(store, image).layers) == 2
    (root,) = Path(store.root / "rootfs").iterdir()
    assert (root / "größe" / "ő").read_text() == "x"
    assert os.readlink(root / "größe" / "zu") == "ő"
