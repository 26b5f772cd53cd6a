"""A file system that is full or read-only: said with a hint, nothing spoiled, and completed later."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import serve
from pipeline import Pipeline, faults_of, make_pipeline

MEBIBYTE = 1 << 20


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    with serve(tmp_path) as server:
        yield make_pipeline(tmp_path, server.url)


@contextlib.contextmanager
def mounted(place: Path, *, size: int) -> Iterator[Path]:
    """Mount a file system of so many bytes, in memory."""
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def grow(place: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)


def locked(pipeline: Pipeline) -> bytes:
    return (pipeline.root / "repro.lock").read_bytes()


# The sizes end a build while it downloads, while it makes layers, and while it writes the last documents.
@pytest.mark.parametrize("size", [MEBIBYTE // 4, 3 * MEBIBYTE, 7 * MEBIBYTE, 11 * MEBIBYTE, 15 * MEBIBYTE])
def test_a_full_store_is_told_and_completed_later(pipeline: Pipeline, tmp_path: Path, size: int) -> None:
    fresh = locked(pipeline)
    assert pipeline.with_store(tmp_path / "reference").repro("build").status == 0
    wanted = locked(pipeline)
    pipeline.disk.write("repro.lock", fresh.decode())
    with mounted(tmp_path / "small", size=size) as place:
        working = pipeline.with_store(place / "store")
        answer = working.repro("build")
        assert answer.status == 11, answer
        assert answer.stderr.count("error: cannot ") == 1
        assert "No space left on device" in answer.stderr
        assert "hint: free some space, or point REPRO_STORE at a larger disk" in answer.stderr
        assert "Traceback" not in answer.stderr
        assert locked(pipeline) == fresh
        assert_valid_blobs(place / "store")

        answer = working.repro("exec", "--runtime", "venv", "clean")
        assert answer.status in {0, 121}, answer  # in exec, 119 and below belong to the step

        grow(place, 64 * MEBIBYTE)
        answer = working.repro("build")
        assert answer.status == 0, answer
        assert locked(pipeline) == wanted
        assert faults_of(place / "store") == []
        assert list((place / "store" / "temporary").iterdir()) == []


def assert_valid_blobs(store: Path) -> None:
    if (store / "index.json").exists():  # else the store could not even be made
        assert faults_of(store) == []


def test_a_full_project_is_told_and_completed_later(pipeline: Pipeline, tmp_path: Path) -> None:
    with mounted(tmp_path / "small", size=MEBIBYTE // 2) as place:
        project = place / "robust"
        shutil.copytree(pipeline.root, project)
        working = Pipeline(type(pipeline.disk)(project, pipeline.disk.env))
        lock = locked(working)
        filler = place / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(512))
        answer = working.repro("build")
        assert answer.status == 11, answer
        assert "repro.lock" in answer.stderr
        assert locked(working) == lock
        answer = working.repro("exec", "--runtime", "venv", "clean")
        assert answer.status == 121, answer
        assert "Traceback" not in answer.stderr
        filler.unlink()
        assert working.repro("exec", "--runtime", "venv", "clean").status == 0
        assert working.repro("build").status == 0
        assert working.repro("status").status == 0


def test_a_store_on_a_read_only_file_system(pipeline: Pipeline, tmp_path: Path) -> None:
    assert pipeline.repro("build").status == 0
    wanted = locked(pipeline)
    with mounted(tmp_path / "small", size=64 * MEBIBYTE) as place:
        shutil.copytree(pipeline.store, place / "store", symlinks=True)
        write_protect(place)
        working = pipeline.with_store(place / "store")
        pipeline.disk.write("clean.sh", "echo changed\n")
        answer = working.repro("build")
        assert answer.status == 11, answer
        assert "Read-only file system" in answer.stderr
        assert "hint: that file system is read-only: point REPRO_STORE, or run, somewhere writable" in answer.stderr
        assert locked(pipeline) == wanted
        new = pipeline.with_store(place / "another")
        answer = new.repro("build")
        assert answer.status == 11, answer
        assert "hint: that file system is read-only" in answer.stderr


def write_protect(place: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
