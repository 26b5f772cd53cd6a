from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import machine
import pytest

from repro_env.edges.files import remove_tree

REMOVE = """
import pathlib, sys
from repro_env.edges.files import remove_tree
remove_tree(pathlib.Path(sys.argv[1]))
"""


def without_roots_rights(*words: str) -> list[str]:
    """Return a command line that may read and write no more than file modes let it."""
    if os.geteuid() != 0:
        return [*words]
    machine.require("setpriv")
    rights = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}", *words]


@pytest.mark.parametrize("mode", [0o500, 0o300, 0o000])
def test_directories_that_are_closed_are_removed(tmp_path: Path, mode: int) -> None:
    tree, elsewhere = tmp_path / "tree", tmp_path / "elsewhere"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/b/file").write_text("x")
    elsewhere.mkdir()
    elsewhere.chmod(0o500)
    (tree / "a/link").symlink_to(elsewhere)
    for place in ("a/b", "a", ""):
        (tree / place).chmod(mode)
    subprocess.run(without_roots_rights(sys.executable, "-c", REMOVE, str(tree)), check=True)
    assert not tree.exists()
    assert elsewhere.stat().st_mode & 0o777 == 0o500, "what a link leads to stays as it is"


def test_a_file_a_link_and_nothing_are_removed(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    (tmp_path / "file").write_text("x")
    for name in ("link", "file", "absent"):
        remove_tree(tmp_path / name)
    assert os.listdir(tmp_path) == ["directory"]
