"""A run as OpenLineage events: one when it starts, one when it ends.

A data set's name is the step's and the output's, `clean.table`, wherever it is used, so that a catalogue joins the runs
of one project. Source: https://openlineage.io/spec/2-0-2/OpenLineage.json and the facets beside it.
"""

from __future__ import annotations

from typing import Any

from repro_env.record.exports.common import PRODUCER, Json, run_uuid, said, time_text
from repro_env.record.model import RecordedInput, RecordedOutput, RunRecord
from repro_env.record.words import ended

SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"

_FACETS = "https://openlineage.io/spec/facets"
_ENDS = {"succeeded": "COMPLETE", "failed": "FAIL", "interrupted": "ABORT"}


def to_events(record: RunRecord) -> list[Json]:
    """Return the run's events in the order they happened: of a run that is still going, the first one alone."""
    start = _event(record, "START", time_text(record.started))
    if record.finished is None and record.status == "started":
        return [start]
    end = _event(record, _ENDS.get(record.status, "OTHER"), time_text(record.finished or record.started))
    return [start, {**end, "outputs": [_output(record, output) for output in record.outputs]}]


def _event(record: RunRecord, kind: str, time: str) -> Json:
    return {
        "eventType": kind,
        "eventTime": time,
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
        "run": {"runId": run_uuid(record.project, record.id), "facets": _run_facets(record, kind)},
        "job": {"namespace": _namespace(record), "name": record.step, "facets": _job_facets(record)},
        "inputs": [_input(record, used) for used in record.inputs],
        "outputs": [],
    }


def _facet(name: str, version: str, /, **values: Any) -> Json:
    return {"_producer": PRODUCER, "_schemaURL": f"{_FACETS}/{version}/{name}.json#/$defs/{name}", **said(values)}


def _run_facets(record: RunRecord, kind: str) -> Json:
    facets = {
        "environmentVariables": _facet(
            "EnvironmentVariablesRunFacet", "1-0-0", environmentVariables=_variables(record)
        ),
        "executionParameters": _facet("ExecutionParametersRunFacet", "1-0-0", parameters=_parameters(record)),
    }
    if record.program:
        facets["processing_engine"] = _facet("ProcessingEngineRunFacet", "1-1-1", version=record.program, name="repro")
    if kind in {"FAIL", "ABORT"}:
        message = ended(record)
        facets["errorMessage"] = _facet("ErrorMessageRunFacet", "1-0-1", message=message, programmingLanguage="Python")
    return {name: facet for name, facet in facets.items() if len(facet) > 2}  # noqa: PLR2004 - says more than who it is


def _variables(record: RunRecord) -> list[Json]:
    return [{"name": name, "value": value} for name, value in sorted(record.variables.items())]


def _parameters(record: RunRecord) -> list[Json]:
    """Return what decides the run and no other facet has: OpenLineage has none for an image or a lock."""
    known = {
        "repro.run": record.id,
        "repro.arguments": " ".join(record.arguments),
        "repro.lock": record.lock,
        "repro.definition": record.definition,
        "repro.image": record.image,
        "repro.runtime": record.runtime,
        "repro.reproduces": record.reproduces,
    }
    return [{"key": key, "value": str(value)} for key, value in known.items() if value]


def _job_facets(record: RunRecord) -> Json:
    facets = {
        "jobType": _facet("JobTypeJobFacet", "2-0-4", processingType="BATCH", integration="REPRO", jobType="STEP")
    }
    git = record.git
    if git and git.remote:
        facets["sourceCodeLocation"] = _facet(
            "SourceCodeLocationJobFacet",
            "1-1-0",
            type="git",
            url=git.remote,
            repoUrl=git.remote,
            path=git.prefix,
            version=git.commit,
            branch=git.branch,
        )
    return facets


def _namespace(record: RunRecord) -> str:
    return f"repro://{record.project}"


def _input(record: RunRecord, used: RecordedInput) -> Json:
    """Return a data set that the run read. One that came from elsewhere is called as its source calls it."""
    scheme, _, rest = used.uri.partition("://")
    place, _, path = rest.partition("/")
    elsewhere = bool(scheme and rest)
    return {
        "namespace": f"{scheme}://{place}" if elsewhere else _namespace(record),
        "name": (path or "/") if elsewhere else used.name,
        "facets": _version(used),
        "inputFacets": {"inputStatistics": _statistics("InputStatisticsInputDatasetFacet", "1-0-0", used)},
    }


def _output(record: RunRecord, made: RecordedOutput) -> Json:
    return {
        "namespace": _namespace(record),
        "name": f"{record.step}.{made.name}",
        "facets": _version(made),
        "outputFacets": {"outputStatistics": _statistics("OutputStatisticsOutputDatasetFacet", "1-0-2", made)},
    }


def _version(content: RecordedInput | RecordedOutput) -> Json:
    return {
        "version": _facet("DatasetVersionDatasetFacet", "1-0-1", datasetVersion=str(content.digest)),
        "datasetType": _facet("DatasetTypeDatasetFacet", "1-0-1", datasetType="FILE", subType=content.kind.upper()),
    }


def _statistics(name: str, version: str, content: RecordedInput | RecordedOutput) -> Json:
    return {**_facet(name, version), "size": content.size, "fileCount": content.files}
