from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from repro_env.errors import StoreError
from repro_env.run.keep import keep


@pytest.mark.parametrize("in_kernel", [True, False])
def test_a_copy_is_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_kernel: bool) -> None:
    def refuse(*_words: object) -> NoReturn:
        raise OSError(18, "Invalid cross-device link")

    if not in_kernel:
        monkeypatch.setattr(os, "copy_file_range", refuse)
    source = tmp_path / "made"
    (source / "sub").mkdir(parents=True)
    (source / "sub/program").write_bytes(b"content")
    (source / "sub/program").chmod(0o755)
    (source / "link").symlink_to("sub/program")
    keep(source, tmp_path / "run/output/made")
    (source / "sub/program").write_bytes(b"changed")
    kept = tmp_path / "run/output/made"
    assert (kept / "sub/program").read_bytes() == b"content"
    assert os.access(kept / "sub/program", os.X_OK)
    assert os.readlink(kept / "link") == "sub/program"
    keep(source / "sub/program", tmp_path / "run/output/file")
    assert (tmp_path / "run/output/file").read_bytes() == b"changed"


def test_what_cannot_be_copied_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot keep"):
        keep(tmp_path / "absent", tmp_path / "copy")
