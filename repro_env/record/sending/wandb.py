"""Runs as Weights & Biases' offline runs, which `wandb sync` uploads: written by the wandb package itself."""

from __future__ import annotations

import os
from pathlib import Path

from repro_env.edges.files import os_errors
from repro_env.errors import ToolError
from repro_env.record.exports.common import Json


class WandbDirectory:
    """A directory with offline runs of one project."""

    def __init__(self, directory: Path, project: str) -> None:
        self._directory = directory
        self._project = project

    def send(self, document: Json) -> None:
        """Write the run that `exports.wandb.to_wandb` rendered. Errors: `ToolError`, `StoreError`."""
        try:
            import wandb  # noqa: PLC0415 - an extra, and slow to import
        except ImportError as error:
            hint = "install it: pip install 'repro-env[wandb]'"
            raise ToolError("the package wandb is not installed", hint=hint) from error
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        with os_errors(f"write to {self._directory}"):
            self._directory.mkdir(parents=True, exist_ok=True)
            run = wandb.init(
                mode="offline",
                dir=self._directory,
                project=self._project,
                **{key: document[key] for key in ("id", "name", "group", "job_type", "tags", "config")},
                # What it would note of this process, of the machine or the output, is repro's and not the step's.
                # The machine's name is nobody's business.
                settings=wandb.Settings(
                    silent=True, console="off", host="repro", x_disable_stats=True, x_disable_meta=True
                ),
            )
            run.summary.update(document["summary"])
            failed = document["summary"]["outcome"] != "succeeded"
            run.finish(exit_code=1 if failed else 0)
