"""Any archive gives a layer whose every path stays below `/opt/python`, or a clear refusal; nothing else."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from pythonmaker import MINOR, pack, release

from repro_env.errors import IntegrityError
from repro_env.image.layer import Layer
from repro_env.image.python_archive import python_layer
from repro_env.image.store import Store
from repro_env.image.unpack import unpack_layer
from repro_env.lock.model import Interpreter

PROGRAM = f"python/bin/python{MINOR}"
WHOLE = pack([(PROGRAM, b"program", 0o755, ""), ("python/lib/a", b"x" * 3000, 0o644, "")])

parts = st.sampled_from(["python", "bin", "lib", "a", "b", "..", ".", "", "é", f"python{MINOR}", "etc", "x" * 150])
names = st.lists(parts, max_size=5).map("/".join)
kinds = st.sampled_from(
    [tarfile.REGTYPE] * 4
    + [
        tarfile.DIRTYPE,
        tarfile.SYMTYPE,
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
        b"V",
        b"L",
    ]
)


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """Draw an archive that holds an interpreter, and more."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        entries = [(PROGRAM, tarfile.REGTYPE, "", b"program")]
        prefixed = names | names.map(lambda name: f"python/{name}")
        entries += draw(st.lists(st.tuples(prefixed, kinds, names, st.binary(max_size=600)), max_size=6))
        for name, kind, link, content in draw(st.permutations(entries)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.mode = kind, link, draw(st.integers(0, 0o7777)) | 0o100
            entry.size = len(content) if kind in (tarfile.REGTYPE, b"L") else 0
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def check(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        store = Store(Path(name))
        with contextlib.suppress(IntegrityError):
            layer = made(store, content)
            tree = unpack_layer(store, layer)
            assert set(os.listdir(tree)) == {"opt"}
            assert os.listdir(tree / "opt") == ["python"]
            root = os.path.realpath(tree / "opt" / "python")
            for directory, folders, files in os.walk(root):
                for entry in (*folders, *files):
                    path = os.path.join(directory, entry)
                    target = (
                        os.path.normpath(os.path.join(directory, os.readlink(path))) if os.path.islink(path) else path
                    )
                    assert os.path.commonpath([root, target]) == root
        assert list(store.temporary.iterdir()) == []


def made(store: Store, content: bytes) -> Layer:
    url = release(()).url
    return python_layer(Interpreter(version=f"{MINOR}.1", url=url, sha256=store.add(content), size=len(content)), store)


@settings(deadline=None, max_examples=150)
@given(archives())
def test_no_archive_leads_out_or_crashes(content: bytes) -> None:
    check(content)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=8), st.integers(0, len(WHOLE)))
def test_no_damage_crashes(place: int, put: bytes, kept: int) -> None:
    check((WHOLE[:place] + put + WHOLE[place + len(put) :])[: max(kept, place)])
