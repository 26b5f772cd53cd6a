"""Names in layers are UTF-8, and are unpacked as that under a locale that knows no more than ASCII."""

from __future__ import annotations

import os
import subprocess
import sys
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


@pytest.mark.skipif(not tiny.BUSYBOX.exists(), reason="there is no static busybox here")
def test_unpacking_under_the_posix_locale(store: Store) -> None:
    entries = [tiny.directory("größe"), tiny.text("größe/ő", "x"), tiny.link("größe/zu", "ő")]
    image = tiny.tiny_image(store, tiny.make_layer(store, entries))
    ascii_only = {**os.environ, "LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    subprocess.run([sys.executable, "-c", SCRIPT, str(store.root), str(image)], env=ascii_only, check=True, timeout=60)
    assert len(read_image(store, image).layers) == 2
    (root,) = Path(store.root / "rootfs").iterdir()
    assert (root / "größe" / "ő").read_text() == "x"
    assert os.readlink(root / "größe" / "zu") == "ő"
