"""Building packages of pinned sources: what the build is told, and what it is given."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from repro_env.build.source_packages import SourceBuilds, _backend
from repro_env.edges.report import Silent
from repro_env.errors import IntegrityError
from repro_env.image.oci import Image
from repro_env.image.store import Store
from repro_env.lock.model import SourcePackage
from repro_env.values import Platform


@pytest.mark.parametrize(
    ("text", "backend", "path"),
    [
        ("", "setuptools.build_meta:__legacy__", ""),
        ("not toml", "setuptools.build_meta:__legacy__", ""),
        ("build-system = 3", "setuptools.build_meta:__legacy__", ""),
        ('[build-system]\nbuild-backend = "b"\nbackend-path = [".", "src"]', "b", ".:src"),
        ("[build-system]\nbackend-path = 5", "setuptools.build_meta:__legacy__", ""),
    ],
)
def test_which_backend_is_asked(text: str, backend: str, path: str) -> None:
    told = _backend(text)
    assert (told["REPRO_BUILD_BACKEND"], told["REPRO_BUILD_PATH"]) == (backend, path)


def test_damaged_sources_are_not_built(store: Store, tmp_path: Path) -> None:
    """No checksum of an archive need be looked at for its files to be read; the store's own is."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        info = tarfile.TarInfo("a-1/x.py")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"x = 1"))
    sha256 = store.add(packed.getvalue())
    store.blob(sha256).write_bytes(packed.getvalue().replace(b"x = 1", b"x = 2"))
    package = SourcePackage(
        name="a", version="1", file="a-1.tar.gz", url="", sha256=sha256, size=len(packed.getvalue())
    )

    def sandbox(*_words: Any, **_more: Any) -> Any:
        raise AssertionError("nothing is built")

    builds = SourceBuilds(store, 1, Silent(), sandbox)
    with pytest.raises(IntegrityError, match=r"the store's copy of a-1\.tar\.gz is damaged"):
        builds._run(package, Image(platform=Platform("amd64"), layers=()), tmp_path)
    assert not store.has(sha256)
