"""The record as others read it: in-toto's own reader takes it, and what is wrong in one is told by its key path."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest
import records
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement

from repro_env.record.model import GitState, RunRecord
from repro_env.record.read_statement import from_statement
from repro_env.record.runs import document
from repro_env.record.statement import to_statement
from repro_env.values import Digest

STARTED = replace(
    records.WHOLE, status="started", finished=None, exit_status=None, outputs=(), log=None, resources=None, kept=""
)  # fmt: skip
EVERY = pytest.mark.parametrize("record", [records.WHOLE, STARTED, records.SPARSE], ids=["full", "started", "sparse"])


@EVERY
def test_a_record_comes_back_from_its_document(record: RunRecord) -> None:
    assert from_statement(json.loads(document(record))) == record


def test_the_full_record_is_full() -> None:
    # What the tests of this file, the golden files and the reference page prove of it they prove of every field.
    telling = {part.name for part in telling_fields(records.WHOLE)}
    assert set(all_fields(records.WHOLE)) - telling == {"signal"}, "a run that succeeded has none"


def telling_fields(value: Any) -> Iterator[dataclasses.Field[Any]]:
    """Yield the fields below a record that say something somewhere."""
    for part in dataclasses.fields(value):
        for item in items(getattr(value, part.name)):
            if item != part.default:
                yield part
            if dataclasses.is_dataclass(item) and not isinstance(item, Digest):
                yield from telling_fields(item)


def all_fields(value: Any) -> Iterator[str]:
    """Yield the names of all fields of a record and of its parts."""
    for part in dataclasses.fields(value):
        yield part.name
        for item in items(getattr(value, part.name)):
            if dataclasses.is_dataclass(item) and not isinstance(item, Digest):
                yield from all_fields(item)


def items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple) else (value,)


@EVERY
def test_in_totos_own_reader_takes_it(record: RunRecord) -> None:
    message = json_format.ParseDict(to_statement(record), statement_pb2.Statement())  # unknown fields are errors
    Statement.copy_from_pb(message).validate()
    predicate = json_format.ParseDict(json_format.MessageToDict(message.predicate), Provenance())
    parts = [*predicate.build_definition.resolved_dependencies, *predicate.run_details.byproducts]
    for part in parts:
        ResourceDescriptor.copy_from_pb(part).validate()
        assert part.uri or part.digest, f"{part.name}: the specification wants uri, digest or content"
    assert predicate.run_details.metadata.invocation_id == record.id
    assert predicate.run_details.metadata.started_on.ToDatetime(UTC) == record.started


def test_a_run_without_outputs_vouches_for_no_file() -> None:
    [subject] = to_statement(STARTED)["subject"]
    assert (subject["name"], subject["annotations"]) == (STARTED.id, {"role": "run"})
    digests = {part["digest"].get("sha256") for part in definition(STARTED)["resolvedDependencies"]}
    assert subject["digest"]["sha256"] not in digests


def test_upstream_runs_are_dependencies_once_each() -> None:
    made = records.WHOLE.inputs[1]
    assert made.record is not None
    twice = replace(records.WHOLE, inputs=(*records.WHOLE.inputs, replace(made, name="a.c")))
    runs = [part for part in definition(twice)["resolvedDependencies"] if part["annotations"]["role"] == "run"]
    assert [(part["name"], part["digest"]) for part in runs] == [(made.run, {"sha256": made.record.hex})]


@pytest.mark.parametrize(
    ("remote", "uri"),
    [
        ("https://example.org/a.git", "git+https://example.org/a.git@c0"),
        ("ssh://git@example.org/a.git", "git+ssh://git@example.org/a.git@c0"),
        ("git@example.org:team/a.git", "git+ssh://git@example.org/team/a.git@c0"),
        ("git@example.org:/srv/a.git", "git+ssh://git@example.org/srv/a.git@c0"),
        ("/srv/git/a.git", "git+file:///srv/git/a.git@c0"),
        ("../a.git", None),
        ("", None),
    ],
)
def test_where_the_commit_is(remote: str, uri: str | None) -> None:
    record = replace(records.SPARSE, git=GitState(commit="c0", dirty=False, remote=remote))
    [code] = definition(record)["resolvedDependencies"]
    assert code.get("uri") == uri
    assert from_statement(to_statement(record)) == record


def definition(record: RunRecord) -> Any:
    return to_statement(record)["predicate"]["buildDefinition"]


# What is wrong


def changed(path: str, value: object) -> Any:
    """Return the full document with another value at a key path; `...` takes the key away."""
    *way, last = [int(word) if word.isdecimal() else word for word in path.split("/")]
    whole: Any = copy.deepcopy(to_statement(records.WHOLE))
    here = whole
    for key in way:
        here = here[key]
    if value is ...:
        del here[last]
    else:
        here[last] = value
    return whole


DEFINITION, DETAILS = "predicate/buildDefinition", "predicate/runDetails"
OUTCOME = f"{DETAILS}/byproducts/0/annotations"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("_type", ..., "_type is missing"),
        ("_type", "https://in-toto.io/Statement/v0.1", "_type: expected one of https://in-toto.io/Statement/v1"),
        ("predicateType", "https://spdx.dev/Document", "predicateType: expected one of https://slsa.dev/provenance/v1"),
        ("predicate", [], "predicate: expected an object, found a list"),
        (f"{DEFINITION}/buildType", "https://example.org/x", r"predicate.buildDefinition.buildType: .*no record of a"),
        (
            f"{DEFINITION}/buildType",
            "https://pypi.org/project/repro-env/#run/v2",
            r"predicate.buildDefinition.buildType: version 2 is newer than this program knows \(1\)",
        ),
        (
            f"{DEFINITION}/externalParameters/command",
            "true",
            "predicate.buildDefinition.externalParameters.command: expected a list, found 'true'",
        ),
        (f"{DEFINITION}/externalParameters/command", ["a", 1], "command: expected a string, found 1"),
        (f"{DEFINITION}/externalParameters/variables", {"A": 1}, "externalParameters.variables: expected a string"),
        (f"{DEFINITION}/internalParameters/host", [], "internalParameters.host: expected an object, found a list"),
        (f"{DEFINITION}/internalParameters/host/cpus", True, "host.cpus: expected a number from 0 up, found True"),
        (f"{OUTCOME}/resources/wallSeconds", 10**400, "wallSeconds: expected a number from 0 up, found 1000"),
        (f"{OUTCOME}/resources/cpuSeconds", math.inf, "cpuSeconds: expected a number from 0 up, found inf"),
        (f"{DETAILS}/metadata/startedOn", "0001-01-01T00:00:00+14:00", "metadata.startedOn: expected a time, found"),
        (f"{DEFINITION}/internalParameters/machine/gpus", [1], r"machine.gpus\[0\]: expected an object, found 1"),
        (f"{DEFINITION}/internalParameters/definition", "md5:0", "definition: expected sha256:HEX"),
        (f"{DEFINITION}/resolvedDependencies", {}, "resolvedDependencies: expected a list"),
        (f"{DEFINITION}/resolvedDependencies/0/digest", {}, r"resolvedDependencies\[0\].digest.gitCommit is missing"),
        (f"{DEFINITION}/resolvedDependencies/2/digest/sha256", "0", r"\[2\].digest: not a SHA-256 digest: '0'"),
        (f"{DEFINITION}/resolvedDependencies/2/digest", {"sha1": "0"}, r"\[2\].digest: sha256 is missing"),
        (f"{DETAILS}/builder/version", None, "predicate.runDetails.builder.version: expected an object, found null"),
        (f"{DETAILS}/metadata/invocationId", ..., "predicate.runDetails.metadata.invocationId is missing"),
        (f"{DETAILS}/metadata/startedOn", "yesterday", "metadata.startedOn: Invalid isoformat string"),
        (f"{DETAILS}/metadata/startedOn", "2026-11-23T04:33:54", "metadata.startedOn: expected a time with its zone"),
        (f"{DETAILS}/byproducts", [], "byproducts: none of them has the role outcome"),
        (f"{OUTCOME}/status", "done", r"byproducts\[0\].annotations.status: expected one of started, succeeded"),
        (f"{OUTCOME}/resources/wallSeconds", -1, "resources.wallSeconds: expected a number from 0 up, found -1"),
        (f"{OUTCOME}/resources/cpuSeconds", float("nan"), "resources.cpuSeconds: expected a number from 0 up"),
        (f"{OUTCOME}/findings/0/allowed", "no", r"findings\[0\].allowed: expected true or false, found 'no'"),
        ("subject/0/annotations/output", ..., r"subject\[0\].annotations.output is missing"),
        ("subject/0/annotations/files", "1", r"subject\[0\].annotations.files: expected a number from 0 up"),
    ],
)
def test_what_is_wrong_is_named_by_its_key_path(path: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_statement(changed(path, value))


@pytest.mark.parametrize("document", [[], None, "x", 1])
def test_a_document_that_is_none_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="expected an object, found"):
        from_statement(document)


def test_what_others_added_is_passed_over() -> None:
    whole = to_statement(records.WHOLE)
    whole["predicate"]["vendor_note"] = 1
    whole["subject"].append({"name": "page", "digest": {"sha512": "00"}})
    whole["predicate"]["buildDefinition"]["resolvedDependencies"].insert(
        0, {"uri": "x", "annotations": {"role": "new"}}
    )
    assert from_statement(whole) == records.WHOLE
