from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny

from repro_env.errors import IntegrityError, StoreError
from repro_env.image import tar
from repro_env.image.layer import Layer
from repro_env.image.overlay import MOUNT_DIRECTORIES
from repro_env.image.store import Store
from repro_env.image.unpack import root_filesystem, unpack_layer
from repro_env.values import Digest


def member(
    name: str, kind: bytes = tarfile.REGTYPE, *, content: bytes = b"", target: str = "", mode: int = 0o644
) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode, entry.size = kind, target, mode, len(content)
    return entry, content


def foreign_layer(store: Store, members: Sequence[tuple[tarfile.TarInfo, bytes]]) -> Layer:
    """Write a layer as another program would, with whatever names it likes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry, content in members:
            archive.addfile(entry, io.BytesIO(content))
    return keep(store, stream.getvalue())


def keep(store: Store, archive: bytes, *, diff_id: Digest | None = None, blob: bytes | None = None) -> Layer:
    blob = gzip.compress(archive, 1) if blob is None else blob
    return Layer(digest=store.add(blob), diff_id=diff_id or Digest.of(archive), size=len(blob), unpacked=len(archive))


def listing(root: Path) -> dict[str, str]:
    """Return what a directory holds: a mode for each directory, a content for each file, an arrow for each link."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_dir():
            found[name] = oct(stat.S_IMODE(path.stat().st_mode))
        else:
            found[name] = path.read_text()
    return found


def tree_of(store: Store, *entries: tuple[tar.Entry, bytes]) -> Layer:
    return tiny.make_layer(store, entries)


def image_part(root: Path) -> dict[str, str]:
    """Return the root filesystem's listing without the places that every one has."""
    added = {"dev", "proc", "run", "sys", "tmp", "repro", "etc"}
    return {name: what for name, what in listing(root).items() if name.split("/")[0] not in added}


def test_a_layer_is_unpacked_with_modes_links_and_long_names(store: Store) -> None:
    long = "/".join(["directory-with-a-long-name"] * 9) + "/Übergröße.txt"
    layer = tree_of(
        store,
        tiny.directory("bin", 0o755),
        tiny.text("bin/run", "#!", 0o755),
        tiny.text("bin/plain", "x"),
        tiny.link("bin/alias", "/bin/run"),
        tiny.link("bin/twin", "bin/run", "hardlink"),
        tiny.directory("locked", 0o555),
        tiny.text("locked/file", "y", 0o444),
        tiny.text(long, "z"),
    )
    tree = unpack_layer(store, layer)
    assert tree == store.root / "trees" / layer.diff_id.hex
    assert listing(tree)["bin/alias"] == "-> /bin/run"
    assert listing(tree)["locked"] == "0o555"
    assert (tree / long).read_text() == "z"
    assert stat.S_IMODE((tree / "bin/run").stat().st_mode) == 0o755
    assert (tree / "bin/run").stat().st_ino == (tree / "bin/twin").stat().st_ino


def test_it_is_done_once(store: Store) -> None:
    layer = tree_of(store, tiny.text("file", "x"))
    before = unpack_layer(store, layer).stat()
    os.unlink(store.blob(layer.digest))
    assert unpack_layer(store, layer).stat() == before


def test_the_umask_changes_nothing(store: Store) -> None:
    layer = tree_of(store, tiny.directory("d", 0o755), tiny.text("d/f", "x", 0o644), tiny.text("implied/f", "x"))
    os.umask(0o077)
    root = root_filesystem(store, [layer])
    modes = {
        path: oct(stat.S_IMODE((root / path).stat().st_mode))
        for path in ("", "d", "d/f", "implied", "tmp", "etc/hosts")
    }
    assert modes == {
        "": "0o755",
        "d": "0o755",
        "d/f": "0o644",
        "implied": "0o755",
        "tmp": "0o755",
        "etc/hosts": "0o644",
    }


def test_bits_that_would_count_on_this_machine_are_dropped(store: Store) -> None:
    layer = tree_of(store, tiny.text("su", "x", 0o6755), tiny.directory("tmp", 0o1777), tiny.directory("g", 0o2755))
    tree = unpack_layer(store, layer)
    modes = [stat.S_IMODE((tree / name).stat().st_mode) for name in ("su", "tmp", "g")]
    assert modes == [0o755, 0o1777, 0o755]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([member("/etc/passwd")], "stands outside"),
        ([member("../escape")], "stands outside"),
        ([member("a/../../escape")], "stands outside"),
        ([member("a/..", tarfile.DIRTYPE)], "stands outside"),
        ([member(".wh...")], "stands outside"),
        ([member(".wh..")], "stands outside"),
        ([member("a/.wh.../x")], "stands outside"),
        (
            [member("link", tarfile.SYMTYPE, target="/tmp"), member("link/file")],
            "written through link, which is a link",
        ),
        ([member("link", tarfile.SYMTYPE, target=".."), member("link/a/b")], "written through link, which is a link"),
        ([member("file"), member("file/below")], "written through file, which is a file"),
        ([member("hard", tarfile.LNKTYPE, target="/etc/passwd")], "stands outside"),
        ([member("hard", tarfile.LNKTYPE, target="../../x")], "stands outside"),
        ([member("hard", tarfile.LNKTYPE, target="absent")], "no file before it"),
        ([member("hard", tarfile.LNKTYPE, target="hard")], "no file before it"),
        ([member("d", tarfile.DIRTYPE), member("hard", tarfile.LNKTYPE, target="d")], "no file before it"),
        ([member("d/f"), member("d")], "both as a directory"),
        (
            [member("s", tarfile.SYMTYPE, target="/tmp"), member("t", tarfile.LNKTYPE, target="s"), member("t/f")],
            "written through t, which is a link",
        ),
    ],
)
def test_an_entry_that_leads_out_is_refused_and_nothing_is_left(
    store: Store, members: Sequence[tuple[tarfile.TarInfo, bytes]], message: str
) -> None:
    layer = foreign_layer(store, members)
    with pytest.raises(IntegrityError, match=message):
        unpack_layer(store, layer)
    assert not (store.root / "trees" / layer.diff_id.hex).exists()
    assert list(store.temporary.iterdir()) == []


def test_a_sparse_file_is_refused(store: Store, tmp_path: Path) -> None:
    entry, _content = member("huge")
    entry.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "huge",
        "GNU.sparse.realsize": str(1 << 50),
    }
    content = b"1\n0\n0\n".ljust(512, b"\0")
    entry.size = len(content)
    with pytest.raises(IntegrityError, match="sparse"):
        unpack_layer(store, foreign_layer(store, [(entry, content)]))


def test_devices_and_pipes_are_left_out(store: Store) -> None:
    members = [
        member("dev/null", tarfile.CHRTYPE),
        member("dev/sda", tarfile.BLKTYPE),
        member("pipe", tarfile.FIFOTYPE),
    ]
    assert set(listing(unpack_layer(store, foreign_layer(store, members)))) == {"dev"}


def test_names_as_other_programs_write_them(store: Store) -> None:
    members = [
        member("./", tarfile.DIRTYPE),
        member("./usr//lib/", tarfile.DIRTYPE, mode=0o755),
        member("./usr/lib/a", content=b"x"),
    ]
    assert listing(unpack_layer(store, foreign_layer(store, members))) == {
        "usr": "0o755",
        "usr/lib": "0o755",
        "usr/lib/a": "x",
    }


def test_of_two_entries_of_one_name_the_last_counts(store: Store) -> None:
    members = [
        member("a", content=b"1"),
        member("a", content=b"2"),
        member("b", tarfile.SYMTYPE, target="a"),
        member("b", content=b"3"),
    ]
    assert listing(unpack_layer(store, foreign_layer(store, members))) == {"a": "2", "b": "3"}


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"no gzip at all",
        gzip.compress(b"x" * 3000)[:-20],
        gzip.compress(b"x" * 3000),
        gzip.compress(bytes(100))[:-4] + b"1234",
    ],
    ids=["empty", "not gzip", "truncated", "not tar", "wrong size"],
)
def test_a_damaged_layer_is_named(store: Store, blob: bytes) -> None:
    layer = keep(store, b"", diff_id=Digest.of(b"the tar that should be there"), blob=blob)
    with pytest.raises(IntegrityError, match=f"layer {layer.digest.short} is damaged"):
        unpack_layer(store, layer)
    assert list(store.temporary.iterdir()) == []


def test_a_layer_with_another_content_is_found_by_its_diff_id(store: Store) -> None:
    layer = tree_of(store, tiny.text("file", "x"))
    other = Layer(digest=layer.digest, diff_id=Digest.of(b"other"), size=layer.size, unpacked=layer.unpacked)
    with pytest.raises(IntegrityError, match="damaged"):
        unpack_layer(store, other)


def test_a_missing_layer_is_a_store_error(store: Store) -> None:
    layer = Layer(digest=Digest.of(b"a"), diff_id=Digest.of(b"b"), size=1, unpacked=1)
    with pytest.raises(StoreError, match="cannot unpack"):
        unpack_layer(store, layer)


def test_layers_stand_on_top_of_each_other(store: Store) -> None:
    lower = tree_of(
        store,
        tiny.directory("a", 0o700),
        tiny.text("a/kept", "1"),
        tiny.text("a/changed", "1"),
        tiny.text("file-to-directory", "1"),
        tiny.text("directory-to-file/x", "1"),
        tiny.text("directory-to-link/x", "1"),
        tiny.link("link-to-directory", "a"),
    )
    upper = tree_of(
        store,
        tiny.directory("a", 0o755),
        tiny.text("a/changed", "2"),
        tiny.text("a/new", "2"),
        tiny.text("file-to-directory/x", "2"),
        tiny.text("directory-to-file", "2"),
        tiny.link("directory-to-link", "a"),
        tiny.text("link-to-directory/x", "2"),
    )
    assert image_part(root_filesystem(store, [lower, upper])) == {
        "a": "0o755",
        "a/kept": "1",
        "a/changed": "2",
        "a/new": "2",
        "file-to-directory": "0o755",
        "file-to-directory/x": "2",
        "directory-to-file": "2",
        "directory-to-link": "-> a",
        "link-to-directory": "0o755",
        "link-to-directory/x": "2",
    }
    assert listing(unpack_layer(store, lower))["a/changed"] == "1", "a lower tree is never written to"


def test_whiteouts_hide_what_is_below_and_nothing_beside(store: Store) -> None:
    lower = tree_of(
        store, tiny.text("a/gone", "1"), tiny.text("a/stays", "1"), tiny.text("b/gone/x", "1"), tiny.text("c/x", "1")
    )
    upper = tree_of(
        store,
        tiny.text("a/.wh.gone", ""),
        tiny.text("a/.wh.never-was", ""),
        tiny.text("b/.wh.gone", ""),
        tiny.text("c/.wh..wh..opq", ""),
        tiny.text("c/y", "2"),
        tiny.text("new/.wh.x", ""),
        tiny.text("new/x", "2"),
    )
    assert image_part(root_filesystem(store, [lower, upper])) == {
        "a": "0o755",
        "a/stays": "1",
        "b": "0o755",
        "c": "0o755",
        "c/y": "2",
        "new": "0o755",
        "new/x": "2",
    }


def test_a_root_filesystem_shares_its_files_with_the_trees(store: Store) -> None:
    layer = tree_of(store, tiny.text("a/file", "x"))
    root = root_filesystem(store, [layer])
    assert (root / "a/file").stat().st_ino == (unpack_layer(store, layer) / "a/file").stat().st_ino
    assert root_filesystem(store, [layer]) == root


def test_where_hard_links_are_not_possible_files_are_copied(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = tree_of(store, tiny.text("a/file", "x", 0o755))

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    root = root_filesystem(store, [layer])
    assert (root / "a/file").read_text() == "x"
    assert stat.S_IMODE((root / "a/file").stat().st_mode) == 0o755


def test_every_root_filesystem_can_be_mounted_over(store: Store) -> None:
    hostile = tree_of(
        store,
        tiny.link("repro", "/tmp"),
        tiny.link("tmp", "/somewhere"),
        tiny.text("proc", "a file"),
        tiny.link("etc", "/outside"),
    )
    root = root_filesystem(store, [hostile])
    for name in (*MOUNT_DIRECTORIES, "etc"):
        assert (root / name).is_dir()
        assert not any(path.is_symlink() for path in (root / name, *(root / name).parents))
    assert "localhost" in (root / "etc/hosts").read_text()
    assert (root / "etc/resolv.conf").read_text() == ""


def test_the_images_own_hosts_file_is_kept(store: Store) -> None:
    layer = tree_of(store, tiny.text("etc/hosts", "10.0.0.1 db\n"), tiny.link("etc/resolv.conf", "/run/x"))
    root = root_filesystem(store, [layer])
    assert (root / "etc/hosts").read_text() == "10.0.0.1 db\n"
    assert not (root / "etc/resolv.conf").is_symlink()


def test_several_may_unpack_at_once(store: Store) -> None:
    layers = [tree_of(store, tiny.text(f"d{number}/f", str(number))) for number in range(8)]
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(root_filesystem(store, layers))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert list(store.temporary.iterdir()) == []


def test_a_full_disk_leaves_nothing_half_made(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = tree_of(store, tiny.text("a", "x"), tiny.text("b", "x"))

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfileobj", refuse)
        with pytest.raises(StoreError) as caught:
            root_filesystem(store, [layer])
    assert "No space left" in caught.value.why
    assert list(store.temporary.iterdir()) == []
    assert (root_filesystem(store, [layer]) / "b").read_text() == "x"
