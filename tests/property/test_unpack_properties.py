"""Whatever a layer holds, it is unpacked inside its directory or refused; and what is unpacked is what is in it."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.errors import IntegrityError
from repro_env.image.layer import Layer
from repro_env.image.store import Store
from repro_env.image.unpack import root_filesystem, unpack_layer
from repro_env.values import Digest

PARTS = st.sampled_from(["a", "b", "c", "..", ".", "", ".wh.a", ".wh..wh..opq", ".wh..", ".wh...", "é"])
NAMES = st.builds(
    "{}{}".format, st.sampled_from(["", "/", "./"]), st.lists(PARTS, min_size=1, max_size=4).map("/".join)
)
TARGETS = st.one_of(NAMES, st.sampled_from(["/", "..", "../../sentinel", "/tmp"]))
KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
MODES = st.integers(0, 0o7777).map(lambda mode: mode | 0o700)


@st.composite
def layers(draw: st.DrawFn) -> bytes:
    """Return a tar of entries that may contradict each other and lead anywhere."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for _ in range(draw(st.integers(0, 8))):
            entry = tarfile.TarInfo(draw(NAMES))
            entry.type, entry.linkname, entry.mode = draw(KINDS), draw(TARGETS), draw(MODES)
            content = draw(st.binary(max_size=600)) if entry.isreg() else b""
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def keep(store: Store, archive: bytes) -> Layer:
    blob = gzip.compress(archive, 1)
    return Layer(digest=store.add(blob), diff_id=Digest.of(archive), size=len(blob), unpacked=len(archive))


def state(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return every path below a directory with its mode and content."""
    found = {}
    for path, directories, names in os.walk(root):
        for name in (*directories, *names):
            place = Path(path, name)
            content = place.read_bytes() if place.is_file() and not place.is_symlink() else b""
            found[str(place)] = (place.lstat().st_mode, content)
    return found


@settings(deadline=None, max_examples=200)
@given(st.lists(layers(), min_size=1, max_size=3))
def test_nothing_outside_its_own_directory_is_ever_touched(archives: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "sentinel").mkdir()
        (root / "sentinel" / "a").write_text("untouched")
        store = Store(root / "store")
        kept = [keep(store, archive) for archive in archives]
        (store.root / "rootfs").mkdir()
        (store.root / "trees").mkdir()
        before = state(root)
        try:
            made = [unpack_layer(store, layer) for layer in kept]
            made.append(root_filesystem(store, kept))
        except IntegrityError:
            made = []
        # What is unpacked, who is at it, and what it looked like when it was done.
        inside = tuple(str(store.root / name) for name in ("trees", "rootfs", "locks", "derived/seals"))
        after = {path: what for path, what in state(root).items() if not path.startswith(inside)}
        assert after == {path: what for path, what in before.items() if not path.startswith(inside)}
        for directory in made:
            assert directory.is_dir()


CLEAN = st.recursive(
    st.binary(max_size=1500), lambda below: st.dictionaries(st.sampled_from("abcdé"), below, max_size=4), max_leaves=12
).filter(lambda tree: isinstance(tree, dict))


def add(archive: tarfile.TarFile, path: str, node: bytes | dict[str, object]) -> None:
    entry = tarfile.TarInfo(path)
    if isinstance(node, bytes):
        entry.size, entry.mode = len(node), 0o644
        archive.addfile(entry, io.BytesIO(node))
        return
    if path:
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(entry)
    for name, below in node.items():
        add(archive, f"{path}/{name}".lstrip("/"), below)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=100)
@given(CLEAN)
def test_an_ordinary_layer_is_unpacked_as_another_reader_does(tree: dict[str, object]) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        add(archive, "", tree)
    with tempfile.TemporaryDirectory() as place:
        other = Path(place, "other")
        with tarfile.open(fileobj=io.BytesIO(stream.getvalue())) as archive:
            if hasattr(tarfile, "data_filter"):  # from 3.11.4 on
                archive.extraction_filter = tarfile.data_filter
            archive.extractall(other)
        other.mkdir(exist_ok=True)
        store = Store(Path(place, "store"))
        layer = keep(store, stream.getvalue())
        mine = unpack_layer(store, layer)
        assert {path.removeprefix(str(mine)): what for path, what in state(mine).items()} == {
            path.removeprefix(str(other)): what for path, what in state(other).items()
        }
