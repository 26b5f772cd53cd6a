"""A project of one step whose packages and base are those of the real indexes, built by the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_PROJECT = """\
[project]
name = "seeing"

[base.slim]
debian = "{suite}"
packages = {packages}

[step.look]
base = "slim"
python = "{python}"
dependencies = {dependencies}
command = ["python", "-c", "{command}"]
code = ["repro.toml"]
"""


class OneStep:
    """A project of one step whose images go to the store that tests share."""

    def __init__(self, root: Path, store: Path) -> None:
        self.root = root
        self.env = {**os.environ, "REPRO_STORE": str(store), "NO_COLOR": "1"}

    def write(
        self,
        *dependencies: str,
        suite: str = "bookworm",
        python: str = "3.11",
        packages: Sequence[str] = (),
        command: str = "pass",
    ) -> None:
        text = _PROJECT.format(
            suite=suite,
            python=python,
            packages=json.dumps(list(packages)),
            dependencies=json.dumps(list(dependencies)),
            command=command,
        )
        (self.root / "repro.toml").write_text(text)

    def repro(
        self, *words: str, status: int = 0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "repro_env", *words],
            cwd=self.root,
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done

    def built(self, *words: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Build and return what is missing in the one step's image."""
        document = json.loads(self.repro("build", "--json", *words, env=env).stdout)
        (missing,) = document["missing"]
        return dict(missing)
