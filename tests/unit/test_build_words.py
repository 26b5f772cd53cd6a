"""What `repro build` prints of the images it made."""

from __future__ import annotations

import sys
from pathlib import Path

from repro_env.build.code import Code
from repro_env.build.native import Built
from repro_env.cli.build_command import _table
from repro_env.image.store import Store
from repro_env.values import Digest, Platform

_IMAGE = Digest.of(b"image")
_BUILT = Built(
    step="train",
    platform=Platform.parse("linux/amd64"),
    environment=Digest.of(b"environment"),
    packaged=Digest.of(b"environment"),
    image=_IMAGE,
    reference="churn/train",
    size=1 << 20,
    layers=7,
    reused=False,
    code=Code(files=()),
    gpu_code=(),
)


def test_a_digest_is_whole_where_there_is_room(tmp_path: Path) -> None:
    line, last = _table([_BUILT], Store(tmp_path), 1.25, sys.maxsize).splitlines()
    assert line == f"train  {_IMAGE}  1.0 MiB in 7 layers, code 0 B in 0 files, environment built"
    assert last == f"1 image in {tmp_path} after 1.2 s"
    assert _table([_BUILT], Store(tmp_path), 1.25, len(line)).splitlines()[0] == line
    short, _last = _table([_BUILT], Store(tmp_path), 1.25, len(line) - 1).splitlines()
    assert short == line.replace(str(_IMAGE), f"sha256:{_IMAGE.short}...")
