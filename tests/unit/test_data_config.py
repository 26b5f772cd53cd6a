"""Data from elsewhere in repro.toml and in the lock: what is read, what is refused, what makes a lock stale."""

from __future__ import annotations

from dataclasses import replace

import locks
import pytest

from repro_env.config.model import Data, Project
from repro_env.config.read import read_project
from repro_env.errors import ConfigError, LockError
from repro_env.lock.diff import diff, diff_lines
from repro_env.lock.drift import drift
from repro_env.lock.dump import dump_lock
from repro_env.lock.model import Lock, LockedData
from repro_env.lock.parse import parse_lock
from repro_env.lock.request import request_digests

PROJECT = """\
[project]
name = "churn"

[base.slim]
debian = "bookworm"

[data.raw]
{}

[step.clean]
base = "slim"
python = "3.11"
command = ["true"]
inputs = ["raw"]
code = []
"""


def project(keys: str) -> Project:
    return read_project(PROJECT.format(keys), file="repro.toml")


def data(keys: str) -> Data:
    return project(keys).data["raw"]


def test_every_key() -> None:
    text = """\
path = "data/raw"
uri = "s3://bucket/raw/"
revision = "2025-01-31T00:00:00+00:00"
pin = "version"
include = ["**/*.csv"]
exclude = ["tmp"]
options = { endpoint-url = "http://127.0.0.1:9000", region = "eu-west-1" }"""
    assert data(text) == Data(
        name="raw",
        path="data/raw",
        uri="s3://bucket/raw/",
        revision="2025-01-31T00:00:00+00:00",
        pin="version",
        include=("**/*.csv",),
        exclude=("tmp",),
        options={"endpoint-url": "http://127.0.0.1:9000", "region": "eu-west-1"},
    )


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("", "data.raw.path: missing"),
        ('uri = "raw.csv"', "expected an address with its scheme"),
        ('uri = "C:\\\\raw"', "8: data.raw.uri"),
        ('uri = "https://me:open-sesame@h/a"', "without user name and password"),
        ('uri = "git+https://ghp_open-sesame@h/a.git"', "without user name and password"),
        ('uri = "https://h/a?X-Amz-Signature=open-sesame"', '"X-Amz-Signature" looks like a credential'),
        ('uri = "https://h/a?sig=open-sesame&x=1"', '"sig" looks like a credential'),
        ('uri = "https://[h/a"', "expected an address such as"),
        ('uri = "s3://b/a"\npin = "hash"', 'expected content or version, found "hash"'),
        ('uri = "s3://b/a"\noptions = { secret-key = "open-sesame" }', "looks like a credential"),
        ('uri = "s3://b/a"\noptions = { Region = "x" }', "lower-case letters"),
        ('uri = "s3://b/a"\ninclude = []', "at least one"),
        ('uri = "s3://b/a"\ninclude = ["../x"]', "leads out"),
        ('path = "a"\nrevision = "main"', "is for data from elsewhere"),
        ('uri = "file:///a"\npin = "version"', "is for data from elsewhere"),
        ('uri = "file:///a"\npath = "a"', "data.raw.path: is not for data of a file: address"),
        ('uri = "delta+file:///t"\ninclude = ["year=2024"]', "data.raw.include: is for files; a table is taken whole"),
        ('uri = "iceberg://a.t"\nexclude = ["x"]', "data.raw.exclude: is for files; a table is taken whole"),
        ('query = "select 1"\nconnection = "DB"\ninclude = ["x"]', "data.raw.include: is for files"),
        ('uri = "s3://b/a"\npath = "in"\n[data.other]\npath = "in"', '"in" is the path of data.other too'),
        ('path = "in"\n[data.other]\nuri = "s3://b/a"\npath = "in/a"', '"in/a" lies inside "in", the path of data.raw'),
        ('query = "select 1"', "needs connection"),
        ('urI = "s3://b/a"', "unknown key (did you mean uri?)"),
    ],
)
def test_what_is_refused(keys: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        project(keys)
    assert problem in str(error.value)
    assert "open-sesame" not in str(error.value)


@pytest.mark.parametrize("uri", ["git+ssh://git@host/a.git#data", "https://h/a?download=1", "hf://datasets/a/b@v1"])
def test_what_is_no_credential_stays(uri: str) -> None:
    assert data(f'uri = "{uri}"').uri == uri


def test_data_of_the_project_may_lie_inside_other_such_data() -> None:
    assert data('path = "in/a"\n[data.all]\npath = "in"').path == "in/a"


def locked_churn(keys: str, pinned: LockedData) -> tuple[Lock, Project]:
    """Return a fresh lock of the project with this data."""
    made = project(keys)
    return replace(locks.churn(), data={"raw": pinned}, inputs=request_digests(made, {})), made


S3 = LockedData(
    name="raw",
    path=".repro/data/raw",
    kind="directory",
    digest=locks.digest("raw"),
    files=2,
    size=5,
    source="s3",
    uri="s3://bucket/raw/",
    revision="2025-01-31T00:00:00+00:00",
)


def data_drift(lock: Lock, asked: Project) -> list[str]:
    return [str(one) for one in drift(lock, asked, request_digests(asked, {})) if one.key == "data.raw"]


def test_a_change_of_any_key_makes_the_pin_stale() -> None:
    lock, asked = locked_churn('uri = "s3://bucket/raw/"', S3)
    assert data_drift(lock, asked) == []
    for keys, words in (
        ('uri = "s3://bucket/other/"', "uri changed from s3://bucket/raw/ to s3://bucket/other/"),
        ('path = "raw"', "source changed from s3 to path"),
        ('uri = "s3://bucket/raw/"\ninclude = ["a"]', "include or exclude changed"),
        ('uri = "s3://bucket/raw/"\npin = "version"', "what is asked of its source changed"),
        ('uri = "s3://bucket/raw/"\npath = "here"', "what is asked of its source changed"),
    ):
        assert data_drift(lock, project(keys)) == [f"data raw: {words}"]


def test_the_lock_says_it_in_words() -> None:
    weak = replace(S3, pin="etag", content=locks.digest("content"), options={"region": "x"}, exclude=("tmp",))
    lock, _ = locked_churn('uri = "s3://bucket/raw/"', weak)
    text = dump_lock(lock)
    table = text[text.index("[data.raw]") :]
    assert (
        table
        == f"""\
[data.raw]
path = ".repro/data/raw"
source = "s3"
uri = "s3://bucket/raw/"
revision = "2025-01-31T00:00:00+00:00"
exclude = ["tmp"]
options = {{ region = "x" }}
kind = "directory"
pin = "etag"
digest = "{locks.digest("raw")}"
content = "{locks.digest("content")}"
files = 2
size = 5
"""
    )
    assert parse_lock(text).data["raw"] == weak


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('pin = "etag"', 'pin = "no word"', "expected the name of a pin"),
        ('pin = "etag"', 'pin = "sha256"', "stands beside a pin that is weaker"),
        ('path = ".repro/data/raw"', 'path = "/etc"', "is absolute"),
        ('uri = "s3://bucket/raw/"', 'uri = "https://a:b@c/d"', "without user name"),
        ('source = "s3"', 'source = "S 3"', "is not a name"),
    ],
)
def test_a_damaged_table_is_refused(before: str, after: str, message: str) -> None:
    weak = replace(S3, pin="etag", content=locks.digest("content"))
    text = dump_lock(locked_churn('uri = "s3://bucket/raw/"', weak)[0])
    assert before in text
    with pytest.raises(LockError) as error:
        parse_lock(text.replace(before, after))
    assert message in str(error.value)


def test_a_difference_between_locks_names_the_weak_pin() -> None:
    lock, _ = locked_churn('uri = "s3://bucket/raw/"', S3)
    moved = replace(S3, revision="later", pin="etag", digest=locks.digest("other"), include=("a",))
    lines = diff_lines(diff(lock, replace(lock, data={"raw": moved})))
    assert list(lines) == [
        "data raw",
        "  revision: 2025-01-31T00:00:00+00:00 -> later",
        "  pin: sha256 -> etag",
        "  include: none -> a",
        f"  content: {S3.digest.short} (2 files, 5 B) -> {moved.digest.short} (2 files, 5 B, by etag)",
    ]
