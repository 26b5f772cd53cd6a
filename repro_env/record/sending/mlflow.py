"""Runs to an MLflow tracking server through its REST API, without MLflow's own package.

Source: https://mlflow.org/docs/latest/rest-api.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from repro_env.errors import FetchError
from repro_env.record.exports.common import Json
from repro_env.record.sending.base import NotThereError, Sender, exchange

_BATCH = 100  # of tags and parameters in one request, MLflow's limit


class MlflowServer:
    """An experiment of the tracking server at `uri`."""

    def __init__(self, uri: str, experiment: str, sender: Sender) -> None:
        self._root = f"{uri.rstrip('/')}/api/2.0/mlflow"
        self._experiment = experiment
        self._sender = sender

    def send(self, document: Json) -> None:
        """Make the run that `exports.mlflow.to_mlflow` rendered, or complete it where it is there.

        Errors: `FetchError`.
        """
        experiment = self._experiment_id()
        run = self._known(experiment, document["tags"]["repro.run"]) or self._create(experiment, document)
        for batch in _batches(document):
            self._post("runs/log-batch", {"run_id": run, **batch})
        datasets = [{"dataset": dataset} for dataset in document.get("datasets", ())]
        if datasets:
            self._post("runs/log-inputs", {"run_id": run, "datasets": datasets})
        ended: Json = {key: document[key] for key in ("status", "end_time") if key in document}
        self._post("runs/update", {"run_id": run, **ended})

    def _experiment_id(self) -> str:
        try:
            found = self._get(f"experiments/get-by-name?experiment_name={quote(self._experiment, safe='')}")
            return str(_inner(found, "experiment", "experiment_id"))
        except NotThereError:
            made = self._post("experiments/create", {"name": self._experiment})
            return str(_inner(made, "experiment_id"))

    def _known(self, experiment: str, run: str) -> str:
        """Return MLflow's id of a run that was begun before, or nothing."""
        wanted = {"experiment_ids": [experiment], "filter": f"tags.`repro.run` = '{run}'", "max_results": 1}
        found = self._post("runs/search", wanted).get("runs") or []
        return str(_inner(found[0], "info", "run_id")) if found else ""

    def _create(self, experiment: str, document: Json) -> str:
        made = self._post(
            "runs/create",
            {
                "experiment_id": experiment,
                "run_name": document["run_name"],
                "start_time": document["start_time"],
                "tags": _pairs({"repro.run": document["tags"]["repro.run"]}),
            },
        )
        return str(_inner(made, "run", "info", "run_id"))

    def _get(self, path: str) -> Json:
        return exchange(self._sender, "GET", f"{self._root}/{path}")

    def _post(self, path: str, document: Json) -> Json:
        return exchange(self._sender, "POST", f"{self._root}/{path}", document)


def _batches(document: Json) -> Iterator[Json]:
    """Yield what is to be logged, in requests that the server takes."""
    tags, parameters = _pairs(document["tags"]), _pairs(document.get("params", {}))
    yield {"metrics": document.get("metrics", [])}
    for start in range(0, max(len(tags), len(parameters)), _BATCH):
        yield {"tags": tags[start : start + _BATCH], "params": parameters[start : start + _BATCH]}


def _pairs(values: Mapping[str, str]) -> list[Json]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _inner(document: Any, *keys: str) -> Any:
    for key in keys:
        if not isinstance(document, dict) or key not in document:
            raise FetchError("the MLflow server answered something else", f"{'.'.join(keys)} is missing")
        document = document[key]
    return document
