"""Data in S3, as moto's server speaks it: versions, prefixes as they once were, what is refused."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from buckets import KEYS, client, s3_server
from pulling import Machine

from repro_env.data.sources.base import RemoteFile
from repro_env.data.sources.s3 import S3
from repro_env.edges.http import NotFoundError
from repro_env.errors import ConfigError, FetchError, IntegrityError, VerificationError
from repro_env.values import Digest

pytestmark = [
    pytest.mark.xdist_group("moto"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return client(endpoint)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(root=tmp_path / "here")


def bucket(s3: Any, name: str, *, versioned: bool, **content: bytes) -> str:
    s3.create_bucket(Bucket=name)
    if versioned:
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for key, body in content.items():
        s3.put_object(Bucket=name, Key=f"raw/{key}.csv", Body=body)
    return name


def test_a_prefix_becomes_a_directory_pinned_by_content(s3: Any, machine: Machine) -> None:
    name = bucket(s3, "plain", versioned=False, a=b"one", b=b"two")
    s3.put_object(Bucket=name, Key="raw/", Body=b"")
    s3.put_object(Bucket=name, Key="raw/sub dir/日誌.csv", Body=os.urandom(20_000_000))
    locked = machine.lock(uri=f"s3://{name}/raw")
    assert (locked.kind, locked.files, locked.pin, locked.revision) == ("directory", 3, "sha256", "")
    machine.pull(locked)
    assert (machine.place(locked) / "a.csv").read_bytes() == b"one"
    assert machine.measure(locked).digest == locked.digest
    there = machine.elsewhere()
    there.have(locked)
    assert there.measure(locked).digest == locked.digest


def test_globs_choose_among_the_keys(s3: Any, machine: Machine) -> None:
    name = bucket(s3, "globs", versioned=False, a=b"one", b=b"two")
    locked = machine.lock(uri=f"s3://{name}/", include=("raw/*.csv",), exclude=("raw/b.csv",))
    assert locked.files == 1
    machine.pull(locked)
    assert (machine.place(locked) / "raw" / "a.csv").read_bytes() == b"one"


def test_one_object_is_pinned_at_its_version(s3: Any, machine: Machine) -> None:
    name = bucket(s3, "one", versioned=True, a=b"first")
    locked = machine.lock(uri=f"s3://{name}/raw/a.csv")
    assert (locked.kind, locked.digest, locked.path) == ("file", Digest.of(b"first"), ".repro/data/raw/a.csv")
    assert locked.revision
    s3.put_object(Bucket=name, Key="raw/a.csv", Body=b"second")
    s3.delete_object(Bucket=name, Key="raw/a.csv")
    there = machine.elsewhere()
    there.pull(locked)
    assert there.place(locked).read_bytes() == b"first"


def test_a_prefix_is_pulled_as_it_was_whatever_happened_since(s3: Any, machine: Machine) -> None:
    name = bucket(s3, "history", versioned=True, a=b"one", b=b"two", gone=b"x")
    s3.delete_object(Bucket=name, Key="raw/gone.csv")
    locked = machine.lock(uri=f"s3://{name}/raw/")
    assert locked.files == 2
    time.sleep(1.1)  # S3 tells times in whole seconds
    s3.put_object(Bucket=name, Key="raw/a.csv", Body=b"changed")
    s3.put_object(Bucket=name, Key="raw/new.csv", Body=b"new")
    s3.delete_object(Bucket=name, Key="raw/b.csv")
    there = machine.elsewhere()
    there.pull(locked)
    place = there.place(locked)
    assert sorted(path.name for path in place.iterdir()) == ["a.csv", "b.csv"]
    assert (place / "a.csv").read_bytes() == b"one"
    renewed = machine.lock(locked, uri=f"s3://{name}/raw/")
    assert renewed.files == 2
    assert renewed.digest != locked.digest


def test_versions_pin_without_a_download(s3: Any, machine: Machine) -> None:
    name = bucket(s3, "weak", versioned=True, a=b"one", b=b"two")
    locked = machine.lock(uri=f"s3://{name}/raw/", pin="version")
    assert (locked.pin, locked.size, locked.files) == ("version", 6, 2)
    assert not list(machine.store.blobs.glob("*")) or all(
        path.read_bytes().startswith(b"repro data pins") for path in machine.store.blobs.iterdir()
    )
    by_content = machine.have(locked)
    assert machine.measure(locked).digest == by_content.digest


def test_etags_pin_where_there_are_no_versions_and_a_change_is_refused(s3: Any, machine: Machine) -> None:
    name = bucket(s3, "etags", versioned=False, a=b"one", b=b"two")
    locked = machine.lock(uri=f"s3://{name}/raw/", pin="version")
    assert locked.pin == "etag"
    s3.put_object(Bucket=name, Key="raw/b.csv", Body=b"TWO")
    with pytest.raises(VerificationError, match="changed at its source") as error:
        machine.pull(locked)
    assert "b.csv was 3 etag:" in error.value.why


def test_only_what_changed_is_downloaded_by_the_next_lock(s3: Any, machine: Machine) -> None:
    name = bucket(s3, "again", versioned=True, a=b"one" * 1000, b=b"two")
    machine.lock(uri=f"s3://{name}/raw/")
    before = set(machine.store.blobs.iterdir())
    s3.put_object(Bucket=name, Key="raw/b.csv", Body=b"three")
    locked = machine.lock(uri=f"s3://{name}/raw/")
    new = {path.read_bytes() for path in set(machine.store.blobs.iterdir()) - before}
    assert b"three" in new
    assert len(new) == 2, "that file and the manifest"
    assert locked.size == 3005


def test_other_bytes_under_a_prefix_are_refused_file_by_file(s3: Any, machine: Machine) -> None:
    name = bucket(s3, "other", versioned=False, a=b"one", b=b"two")
    locked = machine.lock(uri=f"s3://{name}/raw/")
    s3.put_object(Bucket=name, Key="raw/b.csv", Body=b"TWO")
    with pytest.raises(IntegrityError, match="is not what was pinned"):
        machine.elsewhere("blank").pull(locked)
    knows = machine.elsewhere("knows")
    text = (machine.project / ".repro" / "manifests" / locked.digest.hex).read_bytes()
    (knows.project / ".repro" / "manifests").mkdir(parents=True)
    (knows.project / ".repro" / "manifests" / locked.digest.hex).write_bytes(text)
    with pytest.raises(IntegrityError, match=r"b\.csv of data raw is not what was pinned"):
        knows.pull(locked)
    s3.delete_object(Bucket=name, Key="raw/a.csv")
    with pytest.raises(VerificationError, match="changed at its source") as error:
        knows.pull(locked)
    assert "a.csv is gone" in error.value.why


def test_what_is_not_there_is_told(s3: Any, machine: Machine) -> None:
    bucket(s3, "empty", versioned=False)
    for uri in ("s3://empty/raw/", "s3://empty/raw.csv", "s3://nobodys/raw.csv"):
        with pytest.raises(NotFoundError):
            machine.lock(uri=uri)
    with pytest.raises(ConfigError, match="names no bucket"):
        machine.lock(uri="s3:///raw")
    with pytest.raises(ConfigError, match="no option endpoint"):
        machine.lock(uri="s3://empty/raw", options={"endpoint": "x"})


def test_offline_and_without_credentials_is_told_without_a_secret(
    s3: Any, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FetchError) as error:
        machine.lock(uri="s3://b/raw.csv", options={"endpoint-url": "http://127.0.0.1:9"})
    assert "open-sesame" not in str(error.value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(FetchError, match="cannot read s3:"):
        machine.lock(uri="s3://b/raw.csv", options={"region": "eu-west-1"})


def test_keys_that_are_no_file_names_are_refused(s3: Any, machine: Machine) -> None:
    name = bucket(s3, "names", versioned=False, a=b"one")
    s3.put_object(Bucket=name, Key="raw/../../etc/passwd", Body=b"x")
    s3.put_object(Bucket=name, Key="raw/a.csv/below", Body=b"x")
    with pytest.raises(VerificationError, match="cannot be a directory") as error:
        machine.lock(uri=f"s3://{name}/raw/")
    assert "a.csv/below" in error.value.why
    assert "etc/passwd" in error.value.why


def test_an_object_that_is_replaced_between_listing_and_reading_is_noticed(
    s3: Any, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = bucket(s3, "race", versioned=False, a=b"one", b=b"two")
    listed = S3.below

    def below(self: S3, path: str, revision: str) -> Sequence[RemoteFile]:
        found = listed(self, path, revision)
        s3.put_object(Bucket=name, Key="raw/b.csv", Body=b"TWO")
        return found

    monkeypatch.setattr(S3, "below", below)
    with pytest.raises(VerificationError, match="changed meanwhile"):
        machine.lock(uri=f"s3://{name}/raw/")
