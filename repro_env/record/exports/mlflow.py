"""A run as MLflow knows runs: what its REST API takes to have it.

Source: https://mlflow.org/docs/latest/rest-api.html; tags, https://mlflow.org/docs/latest/ml/tracking/ "system tags".
"""

from __future__ import annotations

from repro_env.record.exports.common import Json, measures, said
from repro_env.record.model import RunRecord
from repro_env.record.words import ended

_STATUSES = {"started": "RUNNING", "succeeded": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_LONGEST_PARAMETER = 6000  # characters, of MLflow's own stores
_LONGEST_TAG = 8000


def to_mlflow(record: RunRecord) -> Json:
    """Return the run as `runs/create`, `runs/log-batch`, `runs/log-inputs` and `runs/update` take it, in one document.

    Times are in milliseconds. Metrics are what the run used; what it computed is the step's own to log.
    """
    started = _milliseconds(record.started.timestamp())
    ended = _milliseconds(record.finished.timestamp()) if record.finished else None
    return said(
        {
            "run_name": record.id,
            "status": _STATUSES[record.status],
            "start_time": started,
            "end_time": ended,
            "tags": _tags(record),
            "params": {name: value[:_LONGEST_PARAMETER] for name, value in _parameters(record).items()},
            "metrics": [
                {"key": f"repro.{name}", "value": value, "timestamp": ended or started, "step": 0}
                for name, value in measures(record).items()
            ],
            "datasets": [
                {
                    "name": used.name,
                    "digest": used.digest.short,  # MLflow holds at most 36 characters of a digest
                    "source_type": "repro",
                    "source": used.uri or f"run {used.run}" if used.uri or used.run else str(used.digest),
                }
                for used in record.inputs
            ],
        }
    )


def _parameters(record: RunRecord) -> dict[str, str]:
    arguments = {"arguments": " ".join(record.arguments)} if record.arguments else {}
    return {**arguments, **record.variables}


def _tags(record: RunRecord) -> dict[str, str]:
    git = record.git
    values = {
        "mlflow.source.name": f"{record.project}/{record.step}",
        "mlflow.source.type": "PROJECT",
        "mlflow.source.git.commit": git.commit if git else "",
        "mlflow.source.git.branch": git.branch if git else "",
        "mlflow.source.git.repoURL": git.remote if git else "",
        "mlflow.source.git.dirty": str(git.dirty).lower() if git else "",
        "mlflow.docker.image.id": str(record.image or ""),
        "repro.run": record.id,
        "repro.step": record.step,
        "repro.outcome": ended(record),
        "repro.lock": str(record.lock or ""),
        "repro.definition": str(record.definition or ""),
        "repro.runtime": record.runtime,
        "repro.reproduces": record.reproduces,
        **{f"repro.input.{used.name}": str(used.digest) for used in record.inputs},
        **{f"repro.output.{made.name}": str(made.digest) for made in record.outputs},
    }
    return {name: value[:_LONGEST_TAG] for name, value in values.items() if value}


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
