"""Runs as Weights & Biases' offline runs, which `wandb sync` uploads: written by the wandb package itself.

It works in a process of its own, as this module's main program. What it raises is no small list, it may wait for a
service that does not come up, and it leaves hooks behind in the process that it is in.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

from repro_env.edges import process
from repro_env.edges.files import os_errors
from repro_env.errors import ToolError
from repro_env.record.exports.common import Json, json_text

_SECONDS = 60.0


class WandbDirectory:
    """A directory with offline runs of one project."""

    def __init__(self, directory: Path, project: str) -> None:
        self._directory = directory
        self._project = project

    def send(self, document: Json) -> None:
        """Write the run that `exports.wandb.to_wandb` rendered. Errors: `ToolError`, `StoreError`."""
        if importlib.util.find_spec("wandb") is None:
            hint = "install it: pip install 'repro-env[wandb]'"
            raise ToolError("the package wandb is not installed", hint=hint)
        with os_errors(f"write to {self._directory}"):
            self._directory.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-m", __name__, str(self._directory), self._project]
        env = {"WANDB_ERROR_REPORTING": "false", **os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = process.run(words, timeout=_SECONDS, env=env, stdin=json_text(document), check=False)
        if done.status != 0:
            said = done.stderr.strip().rpartition("\n")[2] or f"it ended with exit status {done.status}"
            raise ToolError("the package wandb could not write the run", said)


def _write(directory: str, project: str, document: Json) -> None:
    import wandb  # noqa: PLC0415 - an extra

    run = wandb.init(
        mode="offline",
        dir=directory,
        project=project,
        **{key: document[key] for key in ("id", "name", "group", "job_type", "tags", "config")},
        # What it would note of this process, of the machine or the output, is repro's and not the step's.
        # The machine's name is nobody's business.
        settings=wandb.Settings(silent=True, console="off", host="repro", x_disable_stats=True, x_disable_meta=True),
    )
    run.summary.update(document["summary"])
    run.finish(exit_code=0 if document["summary"]["outcome"] == "succeeded" else 1)


if __name__ == "__main__":
    _write(sys.argv[1], sys.argv[2], json.load(sys.stdin))
