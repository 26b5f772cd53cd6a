"""Any record survives being written as a statement and read, and no damage makes the reader fail in another way."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.record import model
from repro_env.record.read_statement import from_statement
from repro_env.record.runs import document
from repro_env.record.statement import to_statement
from repro_env.values import Digest

# A byte that is no UTF-8 comes from the command line as a surrogate (PEP 383).
texts = st.text(st.characters(exclude_categories=()), max_size=8)
words = st.lists(texts, max_size=3).map(tuple)
digests = st.binary(max_size=3).map(Digest.of)
sizes = st.integers(0, 2**63)
seconds = st.floats(0, allow_nan=False, allow_infinity=False)
times = st.datetimes(timezones=st.just(UTC))
maybe = st.none()
optional_texts = st.none() | texts.filter(bool)
names = texts.filter(bool)
content: Any = {
    "name": names,
    "kind": st.sampled_from(["file", "directory"]),
    "digest": digests,
    "files": sizes,
    "size": sizes,
}
inputs = st.builds(
    model.RecordedInput,
    **content,
    run=optional_texts,
    record=maybe | digests,
    pin=texts.filter(bool),
    uri=texts,
    changed=st.booleans(),
)
outputs = st.builds(model.RecordedOutput, **content, path=names, compare=texts)
gits = st.builds(
    model.GitState,
    commit=texts,
    dirty=st.booleans(),
    tree=texts,
    branch=texts,
    remote=texts,
    prefix=texts,
    diff=maybe | digests,
    omitted=words,
)
findings = st.builds(
    model.RecordedFinding, name=texts, status=texts, needed=texts, found=texts, allowed=st.booleans()
)  # fmt: skip
gpus = st.builds(
    model.RecordedGpu,
    index=sizes,
    name=texts,
    uuid=texts,
    memory=maybe | sizes,
    compute_capability=texts,
    mig=texts,
)
records = st.builds(
    model.RunRecord,
    id=st.from_regex(r"[a-z0-9-]{0,8}", fullmatch=True),
    project=texts,
    step=texts,
    status=st.sampled_from(model.STATUSES),
    started=times,
    command=words,
    runtime=texts,
    finished=maybe | times,
    exit_status=maybe | st.integers(0, 255),
    signal=maybe | st.integers(1, 64),
    environment=words,
    lock=maybe | digests,
    definition=maybe | digests,
    image=maybe | digests,
    environment_image=maybe | digests,
    inputs=st.lists(inputs, max_size=3).map(tuple),
    outputs=st.lists(outputs, max_size=3).map(tuple),
    host=maybe
    | st.builds(
        model.HostFacts, system=texts, kernel=texts, architecture=texts, processor=texts, cpus=sizes, memory=sizes
    ),
    git=maybe | gits,
    waived=words,
    program=texts,
    arguments=words,
    variables=st.dictionaries(texts, texts, max_size=3),
    secrets=words,
    findings=st.lists(findings, max_size=2).map(tuple),
    machine=maybe | st.builds(model.Machine, driver=texts, cuda=texts, gpus=st.lists(gpus, max_size=2).map(tuple)),
    resources=maybe
    | st.builds(
        model.Resources,
        wall_seconds=maybe | seconds,
        cpu_seconds=maybe | seconds,
        peak_memory=maybe | sizes,
        gpu_memory=maybe | sizes,
        gpu_utilisation=maybe | seconds,
    ),
    log=maybe | st.builds(model.RecordedLog, digest=digests, size=sizes),
    kept=texts,
    reproduces=texts,
    deterministic=st.booleans(),
)


@settings(deadline=None, max_examples=100)
@given(records)
def test_any_record_comes_back(record: model.RunRecord) -> None:
    text = document(record)
    again = from_statement(json.loads(text))
    assert again == record
    assert document(again) == text


@settings(deadline=None, max_examples=100)
@given(records, st.data())
def test_a_damaged_document_is_refused_in_one_way(record: model.RunRecord, data: st.DataObject) -> None:
    whole = to_statement(record)
    here: Any = whole
    while isinstance(here, dict | list) and here:
        key = data.draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
        if not isinstance(here[key], dict | list) or data.draw(st.booleans()):
            here[key] = data.draw(st.sampled_from([None, 0, -1.5, "", "x", [], {}, [0], True]))
            break
        here = here[key]
    with contextlib.suppress(ValueError):
        assert isinstance(from_statement(whole), model.RunRecord)
