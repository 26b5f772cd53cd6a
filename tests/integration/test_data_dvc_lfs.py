"""Pins of DVC, made by DVC itself, and of Git LFS, taken over as they are."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from machine import require
from pulling import Machine

from repro_env.data.sources.dvc import md5_of
from repro_env.data.verify import compare
from repro_env.edges.files import locked as locked_file
from repro_env.errors import ConfigError, FetchError, IntegrityError, VerificationError
from repro_env.values import Digest

pytestmark = pytest.mark.xdist_group("dvc")

Dvc = Callable[..., None]


@pytest.fixture(scope="module")
def dvc_program(test_cache: Path) -> Path:
    """Return DVC in a virtual environment of its own: it needs a hundred packages that this program does not."""
    require("network")
    place = test_cache / "dvc"
    with locked_file(place.with_name("dvc.lock")):
        if not (place / "bin" / "dvc").exists():
            subprocess.run([sys.executable, "-m", "uv", "venv", "--quiet", "--clear", place], check=True)
            words = ["pip", "install", "--quiet", "--python", str(place / "bin" / "python"), "dvc==3.67.1"]
            subprocess.run([sys.executable, "-m", "uv", *words], check=True)
    return place / "bin" / "dvc"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(root=tmp_path / "here", environ={"PATH": os.environ["PATH"]})


STAGE = "stages:\n  make:\n    cmd: mkdir -p out && echo made > out/x\n    outs: [out]\n"


@pytest.fixture(scope="module")
def tracked(dvc_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository of DVC's with a directory, a file and a stage's output; a remote, beside it, has them."""
    place = tmp_path_factory.mktemp("dvc") / "project"
    (place / "data" / "raw" / "sub").mkdir(parents=True)
    (place / "data" / "raw" / "a.csv").write_text("one")
    (place / "data" / "raw" / "sub" / "日誌.csv").write_text("two")
    (place / "data" / "one.csv").write_text("a,b\r\n")
    (place / "dvc.yaml").write_text(STAGE)
    remote = ("remote", "add", "--default", "store", str(place.parent / "remote"))
    for words in (("init", "--no-scm"), ("add", "data/raw", "data/one.csv"), ("repro",), remote, ("push",)):
        run_dvc(dvc_program, place, *words)
    return place


def run_dvc(program: Path, place: Path, *words: str) -> None:
    env = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    subprocess.run([program, *words, "--quiet"], cwd=place, env=env, check=True, capture_output=True)


@pytest.fixture
def dvc(dvc_program: Path, tracked: Path, machine: Machine) -> Dvc:
    """Return a function that runs DVC in the project, which is a copy of the repository."""
    shutil.copytree(tracked, machine.project)
    return lambda *words: run_dvc(dvc_program, machine.project, *words)


@pytest.mark.network
def test_dvcs_md5_is_this_programs_md5(dvc: Dvc, machine: Machine) -> None:
    for name in ("raw", "one.csv"):
        text = (machine.project / "data" / f"{name}.dvc").read_text()
        assert f"md5: {md5_of(machine.project / 'data' / name)}\n" in text


@pytest.mark.network
def test_data_at_hand_is_pinned_by_sha256_and_held_against_dvcs_md5(dvc: Dvc, machine: Machine) -> None:
    locked = machine.lock(path="data/raw.dvc")
    assert (locked.source, locked.path, locked.kind, locked.pin) == ("dvc", "data/raw", "directory", "sha256")
    assert locked.revision == f"md5:{md5_of(machine.project / 'data/raw')}"
    assert machine.lock(path="data/raw", source="dvc") == locked
    one = machine.lock(path="data/one.csv.dvc")
    assert (one.kind, one.digest) == ("file", Digest.of(b"a,b\r\n"))
    (machine.project / "data" / "one.csv").unlink()
    (machine.project / "data" / "one.csv").write_text("c,d\r\n")
    with pytest.raises(VerificationError, match="is not what DVC tracks") as error:
        machine.lock(path="data/one.csv.dvc")
    assert "dvc checkout" in error.value.hint


@pytest.mark.network
def test_data_that_is_not_at_hand_is_pinned_by_md5_and_pulled_from_the_cache(dvc: Dvc, machine: Machine) -> None:
    whole = machine.lock(path="data/raw.dvc")
    shutil.rmtree(machine.project / "data" / "raw")
    (machine.project / "data" / "one.csv").unlink()
    weak = machine.lock(path="data/raw.dvc")
    assert (weak.pin, weak.files, weak.size, weak.path) == ("md5", 2, 6, "data/raw")
    assert weak.revision == whole.revision
    by_content = machine.have(weak)
    assert by_content.digest == whole.digest == machine.measure(weak).digest
    machine.have(machine.lock(path="data/one.csv.dvc"))
    assert (machine.project / "data" / "one.csv").read_bytes() == b"a,b\r\n"
    shutil.rmtree(machine.project / "data" / "raw")
    assert machine.have(whole) == whole, "the store has it by now"


@pytest.mark.network
def test_a_checkout_by_dvc_itself_is_held_against_the_md5(dvc: Dvc, machine: Machine) -> None:
    shutil.rmtree(machine.project / "data" / "raw")
    weak = machine.lock(path="data/raw.dvc")
    dvc("checkout")
    assert machine.have(weak).digest == machine.measure(weak).digest
    other = machine.elsewhere()
    shutil.copytree(machine.project, other.project)
    (other.project / "data" / "raw" / "a.csv").unlink()
    (other.project / "data" / "raw" / "a.csv").write_text("ONE")
    with pytest.raises(VerificationError, match="is not what DVC tracks"):
        other.have(weak)


@pytest.mark.network
def test_a_stages_output_and_what_only_the_remote_has(
    dvc: Dvc, dvc_program: Path, machine: Machine, tmp_path: Path
) -> None:
    locked = machine.lock(path="out", source="dvc")
    shutil.rmtree(machine.project / "out")
    shutil.rmtree(machine.project / ".dvc" / "cache")
    bare = Machine(root=machine.root, environ={"PATH": str(tmp_path)})
    with pytest.raises(FetchError, match="is not in DVC's cache") as error:
        bare.pull(locked)
    assert "dvc fetch" in error.value.hint
    fetching = Machine(root=machine.root, environ={"PATH": f"{dvc_program.parent}:/usr/bin:/bin"})
    fetching.pull(locked)
    assert (machine.project / "out" / "x").read_text() == "made\n"


MADE = "outs:\n- md5: {md5}\n  size: 3\n  hash: md5\n  path: raw.csv\n"


def test_a_pin_alone_can_be_taken_over(machine: Machine) -> None:
    machine.project.mkdir(parents=True)
    (machine.project / ".dvc").mkdir()
    md5 = hashlib.md5(b"one").hexdigest()
    (machine.project / "raw.csv.dvc").write_text(MADE.format(md5=md5))
    locked = machine.lock(path="raw.csv.dvc")
    assert (locked.pin, locked.revision, locked.size, locked.kind) == ("md5", f"md5:{md5}", 3, "file")
    cache = machine.project / ".dvc" / "cache" / "files" / "md5" / md5[:2]
    cache.mkdir(parents=True)
    (cache / md5[2:]).write_text("two")
    with pytest.raises(IntegrityError, match="is not what was pinned"):
        machine.pull(locked)
    (cache / md5[2:]).write_text("one")
    machine.pull(locked)
    assert (machine.project / "raw.csv").read_text() == "one"


def test_a_list_of_dvcs_is_held_against_its_md5(machine: Machine) -> None:
    machine.project.mkdir(parents=True)
    listed = json.dumps([{"md5": hashlib.md5(b"one").hexdigest(), "relpath": "a"}]).encode()
    md5 = f"{hashlib.md5(listed).hexdigest()}.dir"
    (machine.project / "raw.dvc").write_text(f"outs:\n- md5: {md5}\n  path: raw\n")
    cache = machine.project / ".dvc" / "cache" / "files" / "md5"
    for content, name in ((b"one", hashlib.md5(b"one").hexdigest()), (listed, md5)):
        (cache / name[:2]).mkdir(parents=True)
        (cache / name[:2] / name[2:]).write_bytes(content)
    locked = machine.lock(path="raw.dvc")
    (cache / md5[:2] / md5[2:]).write_bytes(listed.replace(b'"a"', b'"b"'))
    with pytest.raises(IntegrityError, match="list of data raw is damaged"):
        machine.pull(locked)
    assert not (machine.project / "raw").exists()
    (cache / md5[:2] / md5[2:]).write_bytes(listed)
    machine.pull(locked)
    assert (machine.project / "raw" / "a").read_text() == "one"


@pytest.mark.parametrize("text", ["stages: [1]\n", "stages: {make: 1}\n", "stages: {make: {outs: 1}}\n", "a: 1\n"])
def test_a_lock_of_dvcs_that_says_nothing_is_told(machine: Machine, text: str) -> None:
    machine.project.mkdir(parents=True)
    (machine.project / "dvc.lock").write_text(text)
    with pytest.raises(FetchError, match="DVC does not track out"):
        machine.lock(path="out", source="dvc")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not YAML"),
        ("outs: []\n", "does not have one output"),
        ("outs: [1]\n", "does not have one output"),
        ("outs:\n- path: raw.csv\n", "no output with an MD5"),
        ("outs:\n- md5: " + "0" * 32 + "\n  path: ../../etc/passwd\n", "inside the project"),
        ("- 1\n", "is not a file of DVC's"),
    ],
)
def test_a_damaged_file_of_dvcs_is_told(machine: Machine, text: str, words: str) -> None:
    machine.project.mkdir(parents=True)
    (machine.project / "raw.csv.dvc").write_text(text)
    with pytest.raises(ConfigError, match=words):
        machine.lock(path="raw.csv.dvc")


CONTENT = os.urandom(40_000)
OID = hashlib.sha256(CONTENT).hexdigest()
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize {len(CONTENT)}\n"


@pytest.fixture
def pointers(machine: Machine) -> Path:
    """Return a directory of a git repository whose large file is checked out as a pointer only."""
    data = machine.project / "data"
    data.mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet"], cwd=machine.project, check=True)
    (machine.project / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    (data / "big.bin").write_text(POINTER)
    (data / "small.txt").write_text("small")
    return data


def test_pointers_are_pinned_by_what_they_stand_for(pointers: Path, machine: Machine, recorded: object) -> None:
    told = Machine(root=machine.root, report=recorded)  # type: ignore[arg-type]
    locked = told.lock(path="data")
    assert "Git LFS pointer" in recorded.warnings[0]  # type: ignore[attr-defined]
    assert locked.size == len(CONTENT) + 5
    assert machine.measure(locked).digest != locked.digest
    found = compare(locked, machine.measure(locked), root=machine.project)
    assert found.differences == (
        "1 file is checked out as a Git LFS pointer only: run `repro data pull raw` or `git lfs pull`",
    )
    (pointers / "big.bin").write_bytes(CONTENT)
    assert machine.measure(locked).digest == locked.digest == machine.lock(path="data").digest


def test_a_pointer_is_pulled_from_the_repositorys_own_objects(pointers: Path, machine: Machine) -> None:
    locked = machine.lock(path="data")
    objects = machine.project / ".git" / "lfs" / "objects" / OID[:2] / OID[2:4]
    objects.mkdir(parents=True)
    (objects / OID).write_bytes(CONTENT[:-1])
    with pytest.raises(IntegrityError, match="is damaged"):
        machine.pull(locked)
    assert (pointers / "big.bin").read_text() == POINTER
    (objects / OID).write_bytes(CONTENT)
    machine.pull(locked)
    assert (pointers / "big.bin").read_bytes() == CONTENT
    assert machine.measure(locked).digest == locked.digest


def test_a_pointer_in_a_worktree_is_pulled_from_the_repositorys_own_objects(pointers: Path, machine: Machine) -> None:
    def git(*words: str) -> None:
        settings = ("user.name=a", "user.email=a@b", "filter.lfs.clean=cat", "filter.lfs.smudge=cat")
        plain = [word for setting in settings for word in ("-c", setting)]
        env = {**os.environ, "GIT_LFS_SKIP_SMUDGE": "1"}
        subprocess.run(["git", *plain, *words], cwd=machine.project, env=env, check=True, capture_output=True)

    git("add", "--all")
    git("commit", "--quiet", "--message", "large")
    other = machine.elsewhere()
    git("worktree", "add", "--quiet", str(other.project))
    objects = machine.project / ".git" / "lfs" / "objects" / OID[:2] / OID[2:4]
    objects.mkdir(parents=True, exist_ok=True)
    (objects / OID).write_bytes(CONTENT)
    other.pull(other.lock(path="data"))
    assert (other.project / "data" / "big.bin").read_bytes() == CONTENT


def test_attributes_below_the_data_tell_of_pointers(pointers: Path, machine: Machine) -> None:
    (pointers / "large").mkdir()
    attributes = (machine.project / ".gitattributes").rename(pointers / "large" / ".gitattributes")
    (pointers / "big.bin").rename(pointers / "large" / "big.bin")
    assert machine.lock(path="data").size == len(CONTENT) + 5 + attributes.stat().st_size


def test_a_pointer_that_cannot_be_had_is_told(pointers: Path, machine: Machine) -> None:
    with pytest.raises(FetchError, match="git lfs"):
        machine.pull(machine.lock(path="data"))
    assert (pointers / "big.bin").read_text() == POINTER


def test_git_lfs_itself_brings_what_a_repository_keeps(
    machine: Machine, tmp_path: Path, requires: Callable[..., None]
) -> None:
    requires("git-lfs")
    work, remote = tmp_path / "work", tmp_path / "remote.git"
    env = {**os.environ, "GIT_CONFIG_GLOBAL": str(tmp_path / "config"), "HOME": str(tmp_path)}
    env |= {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def git(*words: str, directory: Path = work) -> None:
        subprocess.run(["git", *words], cwd=directory, env=env, check=True, capture_output=True)

    work.mkdir()
    git("lfs", "install", directory=tmp_path)
    git("init", "--quiet", "--bare", "--initial-branch=main", str(remote), directory=tmp_path)
    git("init", "--quiet", "--initial-branch=main")
    git("lfs", "track", "*.bin")
    (work / "big.bin").write_bytes(CONTENT)
    git("add", "--all")
    git("commit", "--quiet", "--message", "large")
    git("push", "--quiet", f"file://{remote}", "main")
    told = Machine(root=machine.root, environ=env)
    locked = told.lock(uri=f"git+file://{remote}", include=("*.bin",))
    assert not told.store.has(Digest(OID))
    told.pull(locked)
    assert (told.place(locked) / "big.bin").read_bytes() == CONTENT
