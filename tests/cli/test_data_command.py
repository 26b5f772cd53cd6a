"""`repro data`, and what other commands say of data from elsewhere: whole commands held against files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from loopback import Fault, Server, serve
from projects import CLEAN, COUNT, TWO_STEPS, OnDisk

from repro_env.cli.data_command import command
from repro_env.cli.locking import pinned_data
from repro_env.cli.project import open_workspace, read_lock
from repro_env.data.measure import Measured
from repro_env.data.supply import DataSupply
from repro_env.edges.report import Silent
from repro_env.errors import StoreError
from repro_env.image.store import Store
from repro_env.lock.model import LockedData
from repro_env.resolve.project import Upgrade

Golden = Callable[[str, str], None]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "raw.csv").write_text("a,b\n1,2\n")
    with serve(tmp_path / "web") as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, server: Server) -> OnDisk:
    """Return a locked project with a file from the web and a directory of its own."""
    made = OnDisk(tmp_path / "churn")
    text = TWO_STEPS.replace('path = "raw.csv"', f'uri = "{server.url}/raw.csv"\n\n[data.own]\npath = "own"')
    made.write("repro.toml", text)
    made.write("clean.py", CLEAN)
    made.write("count.py", COUNT)
    made.write("own/a.txt", "one")
    made.write("own/sub/b.txt", "two")
    made.lock()
    return made


def told(answer: object) -> str:
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", str(answer))


@pytest.mark.parametrize("command", ["", "status", "pull", "verify", "diff"])
def test_help(command: str, tmp_path: Path, golden: Golden) -> None:
    words = ["data", *([command] if command else []), "--help"]
    golden(f"help-data{command and '-'}{command}.txt", str(OnDisk(tmp_path).repro(*words)))


def test_status_of_what_is_missing_in_place_and_changed(project: OnDisk, golden: Golden) -> None:
    golden("data-status-missing.txt", told(project.repro("data", "status")))
    pulled = project.repro("data", "pull")
    assert (pulled.status, (project.root / ".repro/data/raw/raw.csv").read_text()) == (0, "a,b\n1,2\n")
    project.write("own/sub/b.txt", "TWO")
    (project.root / "own" / "a.txt").rename(project.root / "own" / "c.txt")
    golden("data-status-changed.txt", told(project.repro("data", "status")))
    found = json.loads(project.repro("data", "status", "--json").stdout)["data"]
    assert [(one["name"], one["state"]) for one in found] == [("own", "differs"), ("raw", "ok")]
    assert found[0]["lines"] == ["a.txt is now c.txt", "sub/b.txt has another content of the same 3 bytes"]


def test_pull(project: OnDisk, golden: Golden) -> None:
    golden("data-pull.txt", told(project.repro("data", "pull")))
    golden("data-pull-again.txt", told(project.repro("data", "pull")))
    found = json.loads(project.repro("data", "pull", "--json", "raw").stdout)["data"]
    assert [one["placed"] for one in found] == [False]


def test_verify(project: OnDisk, golden: Golden) -> None:
    project.repro("data", "pull")
    golden("data-verify.txt", told(project.repro("data", "verify")))
    project.write("own/a.txt", "ONE")
    golden("data-verify-changed.txt", told(project.repro("data", "verify")))


def test_everything_wrong_is_told_at_once(project: OnDisk, golden: Golden) -> None:
    shutil.rmtree(project.root / "own")
    golden("data-verify-missing.txt", told(project.repro("data", "verify")))
    found = json.loads(project.repro("data", "verify", "--json").stdout)["data"]
    assert [(one["name"], one["ok"], one["found"]) for one in found] == [
        ("own", False, "nothing"),
        ("raw", False, "nothing"),
    ]


def test_what_cannot_be_read_hides_nothing_else(project: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    project.repro("data", "pull")
    real = DataSupply.measure

    def refuse(self: DataSupply, locked: LockedData, *, trust: bool = True) -> Measured:
        if locked.name == "own":
            raise StoreError("cannot read own/a.txt", "Permission denied")
        return real(self, locked, trust=trust)

    monkeypatch.setattr(DataSupply, "measure", refuse)
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("REPRO_STORE", str(project.root.parent / "store"))
    found = json.loads(CliRunner().invoke(command, ["status", "--json"]).stdout)["data"]
    assert [(one["name"], one["state"]) for one in found] == [("own", "unknown"), ("raw", "ok")]


def test_names_that_are_none(project: OnDisk, golden: Golden) -> None:
    golden("data-no-such.txt", told(project.repro("data", "pull", "row")))


def test_diff_between_commits(project: OnDisk, golden: Golden) -> None:
    def git(*words: str) -> None:
        name = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *name, *words], cwd=project.root, check=True, capture_output=True)

    git("init", "--quiet")
    git("add", "repro.toml", "repro.lock")
    git("commit", "--quiet", "--message", "first")
    same = project.repro("data", "diff")
    assert same.stdout == "the data is the same\n"
    project.write("own/sub/b.txt", "TWO")
    project.write("own/new.txt", "new")
    project.lock()
    golden("data-diff.txt", told(project.repro("data", "diff", "HEAD")))
    changes = json.loads(project.repro("data", "diff", "--json").stdout)
    assert changes["differs"]
    assert "new.txt is new" in changes["data"]["own"]


def test_exec_pulls_what_is_missing_and_names_the_weak_pin(project: OnDisk, server: Server, golden: Golden) -> None:
    server.fault("/raw.csv", Fault(headers={"ETag": '"one"'}, times=99))
    text = (project.root / "repro.toml").read_text().replace('/raw.csv"\n', '/raw.csv"\npin = "version"\n')
    project.write("repro.toml", text)
    assert project.lock().data["raw"].pin == "etag"
    golden("data-status-weak.txt", told(project.repro("data", "status", "raw")))
    golden("status-weak-data.txt", told(project.repro("status")))
    answer = project.repro("exec", "--runtime", "venv", "clean")
    assert answer.status == 0, answer.stderr
    assert (project.root / "build" / "table.csv").read_text() == "A,B\n1,2\n"
    record = json.loads(project.repro("show", "last", "--json").stdout)
    assert '"etag"' in json.dumps(record)


def test_exec_refuses_data_that_was_changed_in_its_place(project: OnDisk, golden: Golden) -> None:
    project.repro("data", "pull")
    place = project.root / ".repro" / "data" / "raw" / "raw.csv"
    place.chmod(0o644)
    place.write_text("a,b\n1,3\n")
    golden("data-changed-in-place.txt", told(project.repro("exec", "--runtime", "venv", "clean")))


def test_exec_offline_says_what_is_missing(project: OnDisk, server: Server) -> None:
    text = (project.root / "repro.lock").read_text()
    (project.root.parent / "store").rename(project.root.parent / "old-store")
    server.fault("/raw.csv", Fault(status=404, times=99))
    answer = project.repro("exec", "--runtime", "venv", "clean")
    assert (answer.status, "404" in answer.stderr) == (121, True)
    assert (project.root / "repro.lock").read_text() == text


def test_full_reads_what_the_stat_cache_would_have_trusted(project: OnDisk) -> None:
    project.repro("data", "pull")
    answer = project.repro("exec", "--full", "--runtime", "venv", "clean")
    assert answer.status == 0, answer.stderr


LISTED = """\
import os, pathlib, sys
root = pathlib.Path(sys.argv[1])
names = sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())
pathlib.Path(sys.argv[2]).write_text(" ".join(names))
"""


def test_a_step_sees_only_the_files_that_count(tmp_path: Path) -> None:
    made = OnDisk(tmp_path / "churn")
    text = TWO_STEPS.replace('path = "raw.csv"', 'path = "raw"\ninclude = ["**/*.csv"]\nexclude = ["tmp"]')
    made.write("repro.toml", text)
    made.write("clean.py", LISTED)
    made.write("count.py", COUNT)
    for name in ("a.csv", "sub/b.csv", "notes.txt", "tmp/c.csv"):
        made.write(f"raw/{name}", name)
    assert made.lock().data["raw"].files == 2
    for notes in ("one", "other"):
        made.write("raw/notes.txt", notes)
        answer = made.repro("exec", "--runtime", "venv", "clean")
        assert answer.status == 0, answer.stderr
        assert (made.root / "build" / "table.csv").read_text() == "a.csv sub/b.csv"
        record = json.loads(made.repro("show", "last", "--json").stdout)
        assert "changed while" not in json.dumps(record)
    (made.root / "raw" / "sub" / "b.csv").unlink()
    made.write("raw/sub/b.csv", "other")
    answer = made.repro("exec", "--runtime", "venv", "clean")
    assert (answer.status, "sub/b.csv has another content" in answer.stderr) == (122, True)
    made.lock()
    assert made.repro("exec", "--runtime", "venv", "clean").status == 0
    assert (made.root / ".repro" / "data" / "raw" / "sub" / "b.csv").read_text() == "other"


def test_a_file_of_this_machine_is_used_where_it_is(tmp_path: Path) -> None:
    made = OnDisk(tmp_path / "churn")
    shared = tmp_path / "shared" / "raw.csv"
    shared.parent.mkdir()
    shared.write_text("a,b\n")
    made.write("repro.toml", TWO_STEPS.replace('path = "raw.csv"', f'uri = "file://{shared}"'))
    made.write("clean.py", CLEAN)
    made.write("count.py", COUNT)
    locked = made.lock().data["raw"]
    assert (locked.source, locked.path, locked.kind) == ("file", str(shared), "file")
    assert made.repro("exec", "--runtime", "venv", "clean").status == 0
    assert not (made.root / ".repro" / "data").exists()
    shared.write_text("c,d\n")
    assert made.repro("exec", "--runtime", "venv", "clean").status == 122
    answer = made.repro("data", "pull", "raw")
    assert (answer.status, "is not what the lock pins" in answer.stderr) == (9, True)
    shared.unlink()
    assert "missing" in made.repro("data", "status").stdout


def test_lock_asks_a_source_anew_only_where_that_is_wanted(project: OnDisk, server: Server) -> None:
    workspace, store = open_workspace(project.root), Store(project.root.parent / "store")
    before = read_lock(workspace)
    assert before is not None
    (server.root / "raw.csv").write_text("new")
    project.write("own/new.txt", "new")

    def digests(**wanted: bool | Sequence[str]) -> tuple[bool, bool]:
        """Return whether the pins of the data from the web and of the project's own moved."""
        upgrade = Upgrade.of(**{"everything": False, "packages": (), **wanted})  # type: ignore[arg-type]
        found = pinned_data(workspace, before, upgrade, store, Silent())
        return found["raw"].digest != before.data["raw"].digest, found["own"].digest != before.data["own"].digest

    assert digests() == (False, True)
    assert digests(data=("raw",)) == (True, True)
    assert digests(everything=True) == (True, True)
    text = (project.root / "repro.toml").read_text()
    project.write("repro.toml", text.replace("/raw.csv", "/raw.csv?again=1"))
    workspace = open_workspace(project.root)
    assert digests() == (True, True)


def test_lock_names_data_that_is_none(project: OnDisk) -> None:
    answer = project.repro("lock", "-D", "rwa")
    assert (answer.status, "did you mean 'raw'?" in answer.stderr) == (3, True)
