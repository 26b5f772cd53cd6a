"""A run's crate, held against the Process Run Crate profile by the community's own validator."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from records import FULL
from uv import find_uv_bin

from repro_env.record.exports.ro_crate import to_ro_crate

SCRIPT = Path(__file__).parent.parent / "support" / "check_crate.py"
VALIDATOR = ("roc-validator==0.13.0", "rocrate==0.16.0")


@pytest.mark.network
def test_the_crate_follows_the_profile(tmp_path: Path) -> None:
    made = tmp_path / FULL.outputs[0].path
    made.parent.mkdir(parents=True)
    made.write_bytes(b"table")
    document = to_ro_crate(FULL)
    assert validate(tmp_path, document) == []
    for entity in document["@graph"]:
        entity.pop("license", None)
    assert any("license" in line for line in validate(tmp_path, document)), "the validator sees what is missing"


def validate(directory: Path, document: object) -> list[str]:
    (directory / "ro-crate-metadata.json").write_text(json.dumps(document))
    packages = [word for package in VALIDATOR for word in ("--with", package)]
    words: list[str | Path] = [find_uv_bin(), "run", "--isolated", "--no-project", *packages, "python", SCRIPT]
    ended = subprocess.run([*words, directory, "REQUIRED"], capture_output=True, text=True, check=False)
    assert ended.returncode in {0, 1}, ended.stderr
    lines = [line for line in ended.stdout.splitlines() if line.startswith("REQUIRED")]
    assert bool(lines) == bool(ended.returncode), ended.stdout + ended.stderr
    return lines
