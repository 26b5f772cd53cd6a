"""A run as Weights & Biases knows runs: what `wandb.init` and the run's summary take.

Source: https://docs.wandb.ai/ref/python/init.
"""

from __future__ import annotations

from repro_env.record.exports.common import Json, measures, said
from repro_env.record.model import RecordedInput, RecordedOutput, RunRecord
from repro_env.record.words import ended


def to_wandb(record: RunRecord) -> Json:
    """Return the run's name, group, tags, configuration and summary."""
    git = record.git
    config = {
        "step": record.step,
        "command": list(record.command),
        "arguments": list(record.arguments),
        "variables": dict(record.variables),
        "lock": _text(record.lock),
        "definition": _text(record.definition),
        "image": _text(record.image),
        "runtime": record.runtime,
        "git": said({"commit": git.commit, "branch": git.branch, "remote": git.remote, "dirty": git.dirty})
        if git
        else {},
        "inputs": {used.name: _content(used) for used in record.inputs},
        "reproduces": record.reproduces,
    }
    summary = {
        "outcome": ended(record),
        "exit_status": record.exit_status,
        "outputs": {made.name: _content(made) for made in record.outputs},
        **measures(record),
    }
    return said(
        {
            "id": record.id,
            "name": record.id,
            "group": record.step,
            "job_type": record.step,
            "tags": ["repro", record.status],
            "config": said(config),
            "summary": said(summary),
        }
    )


def _content(content: RecordedInput | RecordedOutput) -> Json:
    return {"digest": str(content.digest), "files": content.files, "size": content.size}


def _text(value: object) -> str:
    return "" if value is None else str(value)
