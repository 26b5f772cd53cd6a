"""Run records signed, and held against their signatures."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from records import END, FULL, TABLE

from repro_env.errors import IntegrityError, UsageError
from repro_env.record.model import RecordedLog, RunRecord
from repro_env.record.runs import RECORD, recording
from repro_env.record.signing import ENVELOPE, PAYLOAD_TYPE, check_record, sign_record
from repro_env.values import Digest

RUN = replace(FULL, status="started", finished=None, outputs=(), git=None, lock=None, log=None)


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, RunRecord]:
    """Return the directory of a run that has ended, and its record."""
    directory = tmp_path / "run"
    with recording(directory, RUN, now=lambda: END) as opened:
        record = opened.conclude(status="succeeded", finished=END, exit_status=0)
    return directory, record


@pytest.fixture
def make_key(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Return what makes a private and a public key with openssl."""

    def make(name: str, *algorithm: str) -> tuple[Path, Path]:
        private, public = tmp_path / f"{name}.pem", tmp_path / f"{name}.pub"
        subprocess.run(["openssl", "genpkey", *algorithm, "-out", private], check=True, capture_output=True)
        words: list[str | Path] = ["openssl", "pkey", "-in", private, "-passin", f"pass:{PASSWORD}"]
        words += ["-pubout", "-out", public]
        subprocess.run(words, check=True, capture_output=True)
        return private, public

    return make


PASSWORD = "open sesame"
ED25519 = ("-algorithm", "ed25519")
ECDSA = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
RSA = ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")


@pytest.mark.parametrize("algorithm", [ED25519, ECDSA, RSA], ids=["ed25519", "ecdsa", "rsa"])
def test_a_record_is_signed_and_verified(
    algorithm: tuple[str, ...], run: tuple[Path, RunRecord], make_key: Callable[..., tuple[Path, Path]]
) -> None:
    private, public = make_key("mine", *algorithm)
    sign_record(run[0], private)
    checked = check_record(*run, [public])
    assert len(checked.signers) == 1
    assert checked.problems == ()
    envelope = json.loads((run[0] / ENVELOPE).read_text())
    assert envelope["payloadType"] == PAYLOAD_TYPE
    assert base64.b64decode(envelope["payload"]) == (run[0] / RECORD).read_bytes()


def test_another_key_did_not_sign_it(run: tuple[Path, RunRecord], make_key: Callable[..., tuple[Path, Path]]) -> None:
    mine, _mine = make_key("mine", *ED25519)
    _other, other = make_key("other", *ED25519)
    sign_record(run[0], mine)
    checked = check_record(*run, [other])
    assert checked.signers == ()
    assert checked.problems == ("none of the keys given signed it",)
    assert check_record(*run, [_mine, other]).problems == ()


def test_a_record_that_was_changed_after_it_was_signed(
    run: tuple[Path, RunRecord], make_key: Callable[..., tuple[Path, Path]]
) -> None:
    private, public = make_key("mine", *ED25519)
    sign_record(run[0], private)
    record = run[0] / RECORD
    record.write_bytes(record.read_bytes().replace(b"clean.py", b"dirty.py"))
    assert check_record(*run, [public]).problems == ("the record is not the one that was signed",)


def test_an_envelope_that_was_changed(run: tuple[Path, RunRecord], make_key: Callable[..., tuple[Path, Path]]) -> None:
    private, public = make_key("mine", *ED25519)
    sign_record(run[0], private)
    envelope = json.loads((run[0] / ENVELOPE).read_text())
    envelope["payload"] = base64.b64encode(b"{}").decode()
    (run[0] / ENVELOPE).write_text(json.dumps(envelope))
    assert check_record(*run, [public]).signers == ()
    for text in ("", "[]", "{}", '{"payload": 1, "payloadType": "x", "signatures": []}'):
        (run[0] / ENVELOPE).write_text(text)
        with pytest.raises(IntegrityError, match="not a DSSE envelope"):
            check_record(*run, [public])


def test_a_record_without_a_signature(run: tuple[Path, RunRecord], make_key: Callable[..., tuple[Path, Path]]) -> None:
    _private, public = make_key("mine", *ED25519)
    assert check_record(*run, [public]).problems == ("the record is not signed",)
    assert check_record(*run, []).problems == ()


def test_the_files_beside_the_record_are_those_that_it_names(run: tuple[Path, RunRecord]) -> None:
    directory, record = run
    log, lock = b"hello\n", b"version = 1\n"
    named = replace(record, log=RecordedLog(digest=Digest.of(log), size=len(log)), lock=Digest.of(lock))
    assert check_record(directory, named, []).problems == ("repro.lock is missing", "output.log is missing")
    (directory / "output.log").write_bytes(log)
    (directory / "repro.lock").write_bytes(lock + b"#")
    assert check_record(directory, named, []).problems == ("repro.lock is not the file that was recorded",)


def test_the_manifest_of_a_directory_is_the_one_that_the_record_names(run: tuple[Path, RunRecord]) -> None:
    directory, record = run
    made = replace(TABLE, kind="directory", digest=Digest.of(b"manifest\n"))
    named = replace(record, outputs=(made, TABLE))
    assert check_record(directory, named, []).problems == ("manifests/table.manifest is missing",)
    (directory / "manifests").mkdir()
    (directory / "manifests/table.manifest").write_text("manifest\n")
    assert check_record(directory, named, []).problems == ()
    (directory / "manifests/table.manifest").write_text("another\n")
    assert check_record(directory, named, []).problems == (
        "manifests/table.manifest is not the file that was recorded",
    )


def test_what_is_no_key_is_refused(run: tuple[Path, RunRecord], tmp_path: Path) -> None:
    nonsense = tmp_path / "key"
    nonsense.write_text("not a key")
    with pytest.raises(UsageError, match="not a private key"):
        sign_record(run[0], nonsense)
    (run[0] / ENVELOPE).write_text("{}")
    with pytest.raises(UsageError, match="not a public key"):
        check_record(*run, [nonsense])


def test_a_key_with_a_password(run: tuple[Path, RunRecord], make_key: Callable[..., tuple[Path, Path]]) -> None:
    private, public = make_key("mine", *ED25519, "-aes256", "-pass", f"pass:{PASSWORD}")
    _ = public
    with pytest.raises(UsageError):
        sign_record(run[0], private)
    with pytest.raises(UsageError):
        sign_record(run[0], private, "wrong")
    sign_record(run[0], private, PASSWORD)
    assert (run[0] / ENVELOPE).exists()
