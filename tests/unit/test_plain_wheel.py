"""A wheel's plain form: the same content gives the same bytes, and nothing of a build's surroundings stays."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wheelmaker import WheelRecipe, make_wheel

from repro_env.errors import BuildError, IntegrityError
from repro_env.image.plain_wheel import differing_files, write_plain
from repro_env.image.store import Store
from repro_env.image.wheel_layer import wheel_layer
from repro_env.lock.model import BuiltWheel, Wheel
from repro_env.values import Digest, PythonVersion

FILES = {"pkg/__init__.py": b"", "pkg/größe.py": b"x = 1\n", "pkg/run.sh": b"#!/bin/sh\n", "a.py": b"1" * 5000}
RECIPE = WheelRecipe(name="pkg", files=FILES, executable=frozenset({"pkg/run.sh"}))


def plain(path: Path) -> tuple[bytes, BuiltWheel]:
    target = io.BytesIO()
    built = write_plain(path, path.name, target)
    return target.getvalue(), built


def rewritten(path: Path, order: Sequence[int], level: int, time: tuple[int, int, int, int, int, int]) -> Path:
    """Write a wheel again, as another machine would have."""
    with zipfile.ZipFile(path) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    target = path.with_name("other") / path.name
    target.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for index in order:
            info, content = members[index % len(members)]
            if info.filename in archive.namelist():
                continue
            other = zipfile.ZipInfo(info.filename, time)
            other.compress_type = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
            other.external_attr = (0o100775 if info.external_attr >> 16 & 0o100 else 0o100600) << 16
            archive.writestr(other, content)
    return target


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(7)), st.integers(0, 9), st.integers(1980, 2050))
def test_order_times_compression_and_umask_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, order: Sequence[int], level: int, year: int
) -> None:
    wheel = make_wheel(tmp_path_factory.mktemp("wheel"), RECIPE)
    other = rewritten(wheel, order, level, (year, 2, 3, 4, 5, 6))
    assert plain(other) == plain(wheel)


def test_the_bytes_are_the_same_as_ever(tmp_path: Path) -> None:
    content, built = plain(make_wheel(tmp_path, RECIPE))
    assert built.sha256 == Digest.of(content)
    assert built.size == len(content)
    assert built.sha256.hex == "ec6c1bd8f70ed9ae1eea7931610ac434bce5744c661fb4990b5d43d01541f34c"


def test_what_is_written_is_a_wheel_with_a_true_record(tmp_path: Path) -> None:
    content, built = plain(make_wheel(tmp_path, RECIPE))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        assert names == sorted(names, key=lambda name: (name.startswith("pkg-1.0.dist-info/"), name == names[-1], name))
        assert names[-1] == "pkg-1.0.dist-info/RECORD"
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {info.external_attr >> 16 for info in archive.infolist()} == {0o100644, 0o100755}
        rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(archive.read(names[-1]).decode()))}
        for name in names[:-1]:
            data = archive.read(name)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert rows[name] == [f"sha256={digest}", str(len(data))]
        assert dict(built.contents) == {name: Digest.of(archive.read(name)) for name in names}


def test_it_becomes_a_layer(tmp_path: Path, store: Store) -> None:
    content, built = plain(make_wheel(tmp_path, RECIPE))
    store.add(content)
    wheel = Wheel(name="pkg", version="1.0", file=built.file, url="", sha256=built.sha256, size=built.size)
    made = wheel_layer([wheel], PythonVersion(11), store, layout=1, comment="pkg")
    assert "opt/env/lib/python3.11/site-packages/pkg/größe.py" in made.paths


def test_byte_code_and_signatures_are_left_out(tmp_path: Path) -> None:
    more = {"pkg/__pycache__/a.cpython-311.pyc": b"x", "pkg/old.pyc": b"x"}
    info = {"RECORD.jws": b"{}"}
    noisy = replace(RECIPE, files={**FILES, **more}, extra_info=info)
    (tmp_path / "noisy").mkdir()
    assert plain(make_wheel(tmp_path / "noisy", noisy)) == plain(make_wheel(tmp_path, RECIPE))


def test_what_is_no_wheel_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pkg-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pkg/__init__.py", b"")
    with pytest.raises(BuildError, match="which is no wheel"):
        plain(path)
    path.write_bytes(b"PK nothing")
    with pytest.raises(IntegrityError):
        plain(path)
    wrong = path.rename(tmp_path / "pkg.whl")
    with pytest.raises((BuildError, IntegrityError)):
        plain(wrong)


def built_of(contents: Mapping[str, str]) -> BuiltWheel:
    pairs = tuple(sorted((name, Digest.of(text.encode())) for name, text in contents.items()))
    return BuiltWheel(file="a-1-py3-none-any.whl", sha256=Digest.of(b""), size=1, contents=pairs)


def test_differences_are_told_by_file() -> None:
    before = built_of({"a.py": "1", "b.so": "1", "gone.py": "1", "a-1.dist-info/RECORD": "1"})
    after = built_of({"a.py": "1", "b.so": "2", "new.py": "1", "a-1.dist-info/RECORD": "2"})
    assert list(differing_files(before, after)) == ["b.so has other content", "gone.py is missing", "new.py is new"]
