"""Runs as other tools know them, told to these as they happen, signed and verified: whole processes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from projects import OnDisk, two_steps

from repro_env.record.runs import list_runs

VENV = ("exec", "--runtime", "venv")
EXPORT = """
[export.openlineage]
file = "build/lineage.jsonl"
[export.mlflow]
tracking-uri = "http://127.0.0.1:9"
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("keys")
    private, public = place / "key.pem", place / "key.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    return private, public


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, keys: tuple[Path, Path]) -> OnDisk:
    """Return a project with a run that was signed, and told to a file and to a server that is not there."""
    project = two_steps(tmp_path_factory.mktemp("told"))
    text = (project.root / "repro.toml").read_text()
    project.write("repro.toml", text + EXPORT)
    project = OnDisk(project.root, {"REPRO_SIGNING_KEY": str(keys[0])})
    answer = project.repro(*VENV, "clean")
    assert answer.status == 0, answer
    assert "mlflow was not told of run" in answer.stderr
    return project


def test_a_file_was_told_and_a_server_that_is_down_will_be(signed: OnDisk) -> None:
    lines = (signed.root / "build" / "lineage.jsonl").read_text().splitlines()
    assert [json.loads(line)["eventType"] for line in lines] == ["START", "COMPLETE"]
    assert {path.name.rpartition("-")[2] for path in (signed.root / ".repro" / "outbox").glob("*.json")} == {
        "end.mlflow.json"
    }


def test_a_lock_that_is_damaged_is_told(signed: OnDisk) -> None:
    kept = signed.root / ".repro" / "runs" / list_runs(signed.root).records[0].id / "repro.lock"
    before = kept.read_bytes()
    try:
        kept.write_bytes(before.replace(b'"churn"', b'"\xff"'))
        answer = signed.repro("show", "--format", "cyclonedx")
        assert (answer.status, answer.stdout) == (4, "")
        assert answer.stderr.startswith("error: repro.lock of run RUN-clean ")
    finally:
        kept.write_bytes(before)


@pytest.mark.parametrize("form", ["slsa", "ro-crate", "cyclonedx", "mlflow", "wandb"])
def test_each_format_is_one_document(signed: OnDisk, form: str) -> None:
    answer = signed.repro("show", "--format", form)
    assert answer.status == 0, answer
    assert "RUN-clean" in answer.stdout
    assert json.loads(answer.stdout)


def test_lineage_is_an_event_a_line(signed: OnDisk) -> None:
    lines = signed.repro("show", "--format", "openlineage").stdout.splitlines()
    assert [json.loads(line)["eventType"] for line in lines] == ["START", "COMPLETE"]
    page = signed.repro("show", "clean", "--format", "html").stdout
    assert page.startswith("<!doctype html>")


def test_the_record_verifies_until_it_or_a_file_of_it_changes(signed: OnDisk, keys: tuple[Path, Path]) -> None:
    answer = signed.repro("show", "--verify", "--key", str(keys[1]))
    assert answer.status == 0, answer
    assert "signed with" in answer.stdout
    unsure = signed.repro("show", "--verify")
    assert unsure.status == 0
    assert "its signature was not looked at" in unsure.stdout
    assert signed.repro("show", "--key", str(keys[1])).status == 2, "which would look as if it had been"
    directory = signed.root / ".repro" / "runs" / list_runs(signed.root).records[0].id
    log = directory / "output.log"
    before = log.read_bytes()
    try:
        log.write_bytes(before + b"more")
        changed = signed.repro("show", "--verify", "--key", str(keys[1]))
        assert changed.status == 7, changed
        assert "output.log is not the file that was recorded" in changed.stderr
    finally:
        log.write_bytes(before)


def test_a_key_that_is_none_fails_no_run(signed: OnDisk, tmp_path: Path) -> None:
    project = OnDisk(signed.root, {"REPRO_SIGNING_KEY": str(tmp_path / "absent")})
    answer = project.repro(*VENV, "clean")
    assert answer.status == 0
    assert "the record is not signed" in answer.stderr


def test_what_waits_is_sent_when_asked(signed: OnDisk) -> None:
    refused = signed.repro("runs", "--send")
    assert refused.status == 6, refused
    assert "mlflow: " in refused.stderr
    assert "sent 0 of " in refused.stdout
    text = (signed.root / "repro.toml").read_text()
    try:
        signed.write("repro.toml", text.replace('file = "build/lineage.jsonl"', 'file = "lineage-later.jsonl"'))
        waiting = signed.root / ".repro" / "outbox" / "0.openlineage.json"
        waiting.write_text('{"eventType": "START"}')
        for path in waiting.parent.glob("*.mlflow.json"):
            path.unlink()
        assert json.loads(signed.repro("runs", "--send", "--json").stdout) == {"version": 1, "sent": 1, "waiting": 0}
        assert (signed.root / "lineage-later.jsonl").read_text() == '{"eventType": "START"}\n'
        assert signed.repro("runs", "--send").stdout == "nothing is waiting to be sent\n"
    finally:
        signed.write("repro.toml", text)
