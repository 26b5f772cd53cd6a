from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from datatree import make_data, of

from repro_env.data.measure import measure
from repro_env.data.select import Selection
from repro_env.data.watch import was_written
from repro_env.edges.report import Silent


def rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def forge(path: Path) -> None:
    """Write something else of the same size and set the time of the last write back."""
    status = path.stat()
    path.write_bytes(b"#" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_by_a_copy(path: Path) -> None:
    status = path.stat()
    path.with_name("copy").write_bytes(path.read_bytes())
    os.utime(path.with_name("copy"), ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(path.with_name("copy"), path)


def replace_by_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text("something else"),
        rewrite,
        forge,
        replace_by_a_copy,
        lambda path: path.chmod(0o755),
        lambda path: path.unlink(),
        lambda path: path.rename(path.with_name("renamed")),
        lambda path: path.with_name("new").write_text("new"),
        replace_by_a_pipe,
        lambda path: (path.unlink(), path.symlink_to("a-b")),
    ],
    ids=["content", "same content again", "forged", "replaced", "executable", "gone", "renamed", "new", "pipe", "link"],
)
def test_what_counts_as_written_to(change: Callable[[Path], object], tmp_path: Path) -> None:
    root = make_data(tmp_path / "raw")
    before = of(root)
    assert not was_written(root, before)
    os.utime(root / "a.txt", (1_600_000_000, 1_600_000_000))
    before = of(root)
    change(root / "a.txt")
    assert was_written(root, before)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.read_bytes(),
        lambda path: path.chmod(0o600),
        lambda path: os.link(path, path.parent.parent / "link"),
        lambda path: (path.parent / "empty").mkdir(exist_ok=True),
    ],
    ids=["read", "permissions", "hard link", "empty directory"],
)
def test_what_does_not(change: Callable[[Path], object], tmp_path: Path) -> None:
    root = make_data(tmp_path / "raw")
    before = of(root)
    change(root / "a.txt")
    assert not was_written(root, before)


def test_what_is_not_selected_does_not_count(tmp_path: Path) -> None:
    root = make_data(tmp_path / "raw")
    before = measure(root, reporter=Silent(), selection=Selection(exclude=("a.txt", "logs")))
    (root / "logs").mkdir()
    (root / "logs" / "today").write_text("x")
    (root / "a.txt").write_text("other")
    assert not was_written(root, before)
    (root / "a-b").write_text("other")
    assert was_written(root, before)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n")
    before = of(path)
    assert not was_written(path, before)
    forge(path)
    assert was_written(path, before)
    path.unlink()
    assert was_written(path, before)
    path.mkdir()
    assert was_written(path, before)
