"""Datasets of the Hugging Face Hub, held against a stand-in on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub import Hub, hub
from pulling import Machine

from repro_env.edges.http import NotFoundError
from repro_env.errors import ConfigError, FetchError, IntegrityError

FILES = {
    "README.md": b"# Birds",
    "data/a.csv": b"one",
    "data/b.parquet": os.urandom(100_000),
    "model.safetensors": os.urandom(200_000),
}
URI = "hf://datasets/acme/birds"


@pytest.fixture
def running() -> Iterator[Hub]:
    with hub(FILES) as found:
        yield found


@pytest.fixture
def machine(running: Hub, tmp_path: Path) -> Machine:
    return Machine(root=tmp_path / "here", environ={"HF_ENDPOINT": running.url, "HOME": str(tmp_path)})


def test_a_branch_is_resolved_once_and_loaded_by_its_commit(running: Hub, machine: Machine) -> None:
    locked = machine.lock(uri=URI)
    assert (locked.revision, locked.files, locked.pin) == (running.newest, 4, "sha256")
    running.files["README.md"] = b"# More birds"
    running.commit()
    machine.pull(locked)
    assert (machine.place(locked) / "README.md").read_bytes() == b"# Birds"
    assert (machine.place(locked) / "data" / "b.parquet").read_bytes() == FILES["data/b.parquet"]
    assert machine.measure(locked).digest == locked.digest
    there = machine.elsewhere()
    there.pull(locked)
    assert there.measure(locked).digest == locked.digest
    assert machine.lock(locked, uri=URI).digest != locked.digest


def test_large_files_are_pinned_by_the_hubs_own_sha256_without_a_download(running: Hub, machine: Machine) -> None:
    machine.lock(uri=URI)
    assert not [path for _, path, _ in running.log if "cdn" in path]
    assert len([path for _, path, _ in running.log if "/resolve/" in path]) == 2
    assert machine.lock(uri=URI, include=("model.safetensors",), pin="version").pin == "sha256"


def test_one_file_and_one_directory_of_it(running: Hub, machine: Machine) -> None:
    one = machine.lock(uri=f"{URI}@main/data/b.parquet")
    assert (one.kind, one.path, one.size) == ("file", ".repro/data/raw/b.parquet", 100_000)
    some = machine.lock(uri=f"{URI}/data", revision=running.newest)
    assert (some.kind, some.files) == ("directory", 2)
    machine.pull(some)
    assert sorted(path.name for path in machine.place(some).iterdir()) == ["a.csv", "b.parquet"]


def test_small_files_pinned_by_name_only_are_labelled(machine: Machine) -> None:
    assert machine.lock(uri=URI, pin="version").pin == "gitblob"


def test_what_the_hub_does_not_have_is_told(machine: Machine) -> None:
    for uri in ("hf://datasets/acme/bees", f"{URI}@nowhere", f"{URI}/no/file"):
        with pytest.raises(NotFoundError):
            machine.lock(uri=uri)
    with pytest.raises(ConfigError, match="names no repository"):
        machine.lock(uri="hf://birds")


def test_other_bytes_than_the_commit_has_are_refused(running: Hub, machine: Machine) -> None:
    locked = machine.lock(uri=URI)
    running.commits[locked.revision]["README.md"] = b"# Bards"
    with pytest.raises(IntegrityError, match="is not what was pinned"):
        machine.elsewhere().pull(locked)


def test_the_token_goes_to_the_hub_alone(tmp_path: Path) -> None:
    with hub(FILES, token="hf_open_sesame") as private:
        anonymous = Machine(root=tmp_path / "a", environ={"HF_ENDPOINT": private.url, "HOME": str(tmp_path)})
        with pytest.raises(FetchError) as error:
            anonymous.lock(uri=URI)
        assert "HF_TOKEN" in error.value.hint
        token = {"HF_ENDPOINT": private.url, "HF_TOKEN": "hf_open_sesame"}
        machine = Machine(root=tmp_path / "b", environ=token)
        locked = machine.lock(uri=URI)
        machine.pull(locked)
        sent = {("/cdn/" in path, given) for _, path, given in private.log if given}
        assert sent == {(False, "Bearer hf_open_sesame")}
        assert [path for _, path, given in private.log if "/cdn/" in path and not given]
    for path in machine.root.rglob("*"):
        assert not path.is_file() or b"hf_open_sesame" not in path.read_bytes()
