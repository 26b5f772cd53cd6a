"""Data measured side by side with DVC, sha256sum and a bare stat: `make bench` writes docs/benchmarks-data.md.

    python benchmarks/data.py [--files N] [--many N] [--large GIB] [--dvc PROGRAM] [--output FILE]

DVC comes from PyPI at an exact version, into an environment of its own in the cache of the tests.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from measure import Row, Timing, once, timed

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
REPRO, UV = BIN / "repro", BIN / "uv"
DVC = "dvc==3.67.0"
RUNS = 5
_IN_DIRECTORY = 1000
_PROJECT = """
[project]
name = "bench"
[base.slim]
debian = "bookworm"
[data.tree]
path = "tree"
[step.empty]
base = "slim"
python = "3.11"
inputs = ["tree"]
command = ["true"]
"""


@dataclass(frozen=True, slots=True)
class Tree:
    """Files below `tree` in a project, which is also a repository of DVC's."""

    root: Path
    what: str
    changed: Path  # the file that is changed
    dvc: Path | None

    @property
    def env(self) -> dict[str, str]:
        return {"REPRO_STORE": str(self.root / "store"), "DVC_NO_ANALYTICS": "1"}

    def change(self) -> None:
        """Change one file, keeping its size."""
        self.changed.write_bytes(os.urandom(self.changed.stat().st_size))


def make_tree(root: Path, count: int, size: int, dvc: Path | None) -> Tree:
    """Make `count` files of `size` bytes, a thousand a directory, in a locked project."""
    for index in range(count):
        directory = root / "tree" / f"{index // _IN_DIRECTORY:04}"
        if index % _IN_DIRECTORY == 0:
            directory.mkdir(parents=True)
        with (directory / f"{index:07}.bin").open("wb") as stream:
            for _piece in range(max(size >> 24, 1)):
                stream.write(os.urandom(min(size, 1 << 24)))
    (root / "repro.toml").write_text(_PROJECT)
    words = f"{count:,} files of {_size(size)}" if count > 1 else f"one file of {_size(size)}"
    tree = Tree(root, words, root / "tree" / "0000" / "0000000.bin", dvc)
    once(("git", "init", "-q"), cwd=root)
    once((REPRO, "lock"), cwd=root, env=tree.env)
    if dvc:
        once((dvc, "init", "-q"), cwd=root, env=tree.env)
    return tree


def _size(size: int) -> str:
    return f"{size >> 30} GiB" if size >> 30 else f"{size >> 10} KiB"


def rows(tree: Tree, wanted: str) -> Iterator[Row]:
    """First hash, nothing changed, one file changed; against sha256sum, a bare stat, and DVC."""
    shell = f"find tree -type f -print0 | xargs -0 -n 500 -P {os.cpu_count()} sha256sum"
    first = timed((REPRO, "data", "verify"), runs=RUNS, cwd=tree.root, env=tree.env)
    floor = timed(("sh", "-c", shell), runs=RUNS, cwd=tree.root)
    yield Row(
        f"{tree.what}: every file read", first, "`sha256sum` through xargs on all cores", floor, "within 1.3 times"
    )
    if tree.dvc:
        added = _dvc_added(tree)
        yield Row(f"{tree.what}: every file read", first, "`dvc add`", added, "")
    status = (REPRO, "data", "status")
    unchanged = timed(status, runs=RUNS, cwd=tree.root, env=tree.env)
    stat = timed(("find", "tree", "-type", "f", "-printf", "%s %T@ %i\\n"), runs=RUNS, cwd=tree.root)
    yield Row(f"{tree.what}: nothing changed", unchanged, "a bare stat of every file, `find -printf`", stat, wanted)
    if tree.dvc:
        theirs = timed((tree.dvc, "status", "-q"), runs=3, cwd=tree.root, env=tree.env)
        yield Row(f"{tree.what}: nothing changed", unchanged, "`dvc status`", theirs, "6 times faster")
    one = timed((REPRO, "lock"), runs=RUNS, cwd=tree.root, env=tree.env, before=tree.change)
    if tree.dvc:
        again = timed((tree.dvc, "add", "-q", "tree"), runs=2, cwd=tree.root, env=tree.env, before=tree.change)
        yield Row(f"{tree.what}: one file changed, pinned anew", one, "`dvc add`", again, "")
    else:
        yield Row(f"{tree.what}: one file changed, pinned anew", one)


def _dvc_added(tree: Tree) -> Timing:
    assert tree.dvc is not None

    def forget() -> None:
        for place in ("tree.dvc", ".dvc/cache", ".dvc/tmp"):
            subprocess.run(("rm", "-rf", place), cwd=tree.root, check=True)
        subprocess.run("rm -rf ~/.cache/dvc /var/tmp/dvc", shell=True, check=True)

    return timed((tree.dvc, "add", "-q", "tree"), runs=1, cwd=tree.root, env=tree.env, before=forget)


def dvc_program() -> Path:
    """Return DVC's program, installed once."""
    cache = Path(os.environ.get("REPRO_TEST_CACHE") or Path("~/.cache/repro-tests").expanduser()) / "dvc"
    if not (cache / "bin" / "dvc").exists():
        once((UV, "venv", "-q", "--python", sys.executable, cache))
        once((UV, "pip", "install", "-q", "--python", cache / "bin" / "python", DVC))
    return cache / "bin" / "dvc"


def report(found: list[Row]) -> str:
    """Return the page."""
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    how = "Whole processes, side by side in one run, with a warm page cache: read the ratios, not the seconds."
    lines = [
        "# Benchmarks of data",
        "",
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}: {machine}. {how}",
        "",
    ]
    lines += ["| what | repro | against | there | ratio | wanted |", "| --- | ---: | --- | ---: | --- | --- |"]
    for row in found:
        theirs = f"{row.theirs.median:.2f} s" if row.theirs else ""
        lines.append(
            f"| {row.what} | {row.ours.median:.2f} s | {row.against} | {theirs} | {row.ratio} | {row.wanted} |"
        )
    return "\n".join([*lines, "", f"DVC is {DVC.replace('==', ' ')}, with its defaults.", ""])


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000, help="files of 4 KiB")
    parser.add_argument("--many", type=int, default=1_000_000, help="files of 1 KiB; 0 leaves them out")
    parser.add_argument("--large", type=int, default=4, help="GiB of the one large file; 0 leaves it out")
    parser.add_argument("--output", type=Path, default=HERE.parent / "docs" / "benchmarks-data.md")
    chosen = parser.parse_args()
    dvc = dvc_program()
    found: list[Row] = []
    shapes: Iterator[tuple[int, int, str]] = itertools.chain(
        [(chosen.files, 4 << 10, "< 0.6 s")],
        [(chosen.many, 1 << 10, "< 5 s")] if chosen.many else [],
        [(1, chosen.large << 30, "")] if chosen.large else [],
    )
    for count, size, wanted in shapes:
        with tempfile.TemporaryDirectory(prefix="repro-bench-") as name:
            _measure(found.append, make_tree(Path(name), count, size, dvc), wanted)
    chosen.output.write_text(report(found))


def _measure(keep: Callable[[Row], object], tree: Tree, wanted: str) -> None:
    for row in rows(tree, wanted):
        keep(row)
        print(f"{row.what}: {row.ours.median:.2f} s  {row.ratio} {row.against}", flush=True)


if __name__ == "__main__":
    main()
