"""A run as each format has it, byte for byte, and held against the formats' own schemas."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import locks
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from openlineage.client import generated
from openlineage.client.generated import (
    dataset_type_dataset,
    dataset_version_dataset,
    environment_variables_run,
    error_message_run,
    execution_parameters_run,
    input_statistics_input_dataset,
    job_type_job,
    output_statistics_output_dataset,
    processing_engine_run,
    source_code_location_job,
)
from openlineage.client.generated.base import RunEvent
from records import FULL

from repro_env.record.exports.cyclonedx import to_cyclonedx
from repro_env.record.exports.mlflow import to_mlflow
from repro_env.record.exports.openlineage import to_events
from repro_env.record.exports.ro_crate import to_ro_crate
from repro_env.record.exports.wandb import to_wandb
from repro_env.record.model import RunRecord

Golden = Callable[[str, str], None]

FAILED = replace(FULL, status="failed", exit_status=None, signal=9, outputs=())
BARE = RunRecord(
    id="20261123T043354Z-clean-3f2a",
    project="penguins",
    step="clean",
    status="started",
    started=FULL.started,
    command=("true",),
    runtime="venv",
)
RUNS = {"full": FULL, "failed": FAILED, "bare": BARE}

FACETS = {
    kind.__name__: kind
    for kind in (
        dataset_type_dataset.DatasetTypeDatasetFacet,
        dataset_version_dataset.DatasetVersionDatasetFacet,
        environment_variables_run.EnvironmentVariablesRunFacet,
        error_message_run.ErrorMessageRunFacet,
        execution_parameters_run.ExecutionParametersRunFacet,
        input_statistics_input_dataset.InputStatisticsInputDatasetFacet,
        job_type_job.JobTypeJobFacet,
        output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
        processing_engine_run.ProcessingEngineRunFacet,
        source_code_location_job.SourceCodeLocationJobFacet,
    )
}


def text(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", RUNS)
def test_every_format(name: str, golden: Golden) -> None:
    record = RUNS[name]
    golden(f"exports/{name}.openlineage.json", text(to_events(record)))
    golden(f"exports/{name}.mlflow.json", text(to_mlflow(record)))
    golden(f"exports/{name}.wandb.json", text(to_wandb(record)))
    golden(f"exports/{name}.ro-crate.json", text(to_ro_crate(record)))
    golden(f"exports/{name}.cyclonedx.json", text(to_cyclonedx(record, None)))


@pytest.mark.parametrize("name", RUNS)
def test_the_bill_of_materials_follows_the_schema(name: str) -> None:
    lock = locks.churn()
    record = replace(RUNS[name], project=lock.project, host=FULL.host)
    document = to_cyclonedx(record, lock)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text(document)) is None
    wheels = {wheel.name for wheel in next(iter(lock.steps["clean"].environments.values())).installed}
    assert wheels <= {component["name"] for component in document["components"]}
    references = [component["bom-ref"] for component in document["components"]]
    assert len(set(references)) == len(references)


def facets(event: Any) -> Any:
    """Yield every facet of an event."""
    yield from event["run"]["facets"].values()
    yield from event["job"]["facets"].values()
    for dataset in [*event["inputs"], *event["outputs"]]:
        for key in ("facets", "inputFacets", "outputFacets"):
            yield from dataset.get(key, {}).values()


@pytest.mark.parametrize("name", RUNS)
def test_the_facets_are_those_that_openlineages_client_knows(name: str) -> None:
    found = [facet for event in to_events(RUNS[name]) for facet in facets(event)]
    assert found
    for facet in found:
        kind = FACETS[facet["_schemaURL"].rpartition("/")[2]]
        assert kind._get_schema() == facet["_schemaURL"]
        values = {key: value for key, value in facet.items() if not key.startswith("_")}
        kind(**values)  # an unknown or missing field is a TypeError


def test_the_events_are_of_the_schema_that_the_client_writes() -> None:
    assert generated
    start, end = to_events(FULL)
    assert {start["schemaURL"], end["schemaURL"]} == {RunEvent._get_schema()}
    assert [start["eventType"], end["eventType"]] == ["START", "COMPLETE"]
    assert start["run"]["runId"] == end["run"]["runId"]
    assert [event["eventType"] for event in to_events(BARE)] == ["START"]
    assert to_events(FAILED)[1]["eventType"] == "FAIL"


def test_a_name_that_is_no_utf8_is_somebodys_too() -> None:
    runs = [to_events(replace(FULL, project=name))[0]["run"]["runId"] for name in ("\udcff", "\udcfe", "\udcff")]
    assert len(set(runs)) == 2


def test_an_input_is_called_as_the_output_of_the_run_that_made_it() -> None:
    used = replace(FULL.inputs[0], name="clean.table", run=FULL.id, uri="")
    reader = to_events(replace(FULL, step="train", inputs=(used,)))[0]["inputs"][0]
    made = to_events(FULL)[1]["outputs"][0]
    assert (reader["namespace"], reader["name"]) == (made["namespace"], made["name"])
