"""`repro runs`, `repro show` and `repro diff` as processes, held against files."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from projects import CLEAN, TWO_STEPS, OnDisk, two_steps

from repro_env.record.bundle import open_bundle
from repro_env.record.runs import list_runs

Golden = Callable[[str, str], None]
VENV = ("exec", "--runtime", "venv")


def git(project: OnDisk, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", project.root, *who, *words], check=True, capture_output=True)


def commit(project: OnDisk) -> None:
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "x")


def ids(project: OnDisk) -> list[str]:
    return [record.id for record in list_runs(project.root).records]


def steady(answer: object) -> str:
    """Leave out what is of this machine and moment: digests, commits, times, what the machine is."""
    text = re.sub(r"\b[0-9a-f]{40}\b|\b[0-9a-f]{64}\b", "HEX", str(answer))
    text = re.sub(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12}\b", "SHA", text)
    text = re.sub(r"\b\d+\.\d\d s\b", "N s", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+", "TIME", text)
    text = re.sub(r"(?m)^  (system|processors|memory|driver|GPU|log) .*$", r"  \1 ...", text)
    text = re.sub(r"(?m)^  (CPU time|most memory) .*\n", "", text)
    return re.sub(r"(?<=\S) {2,}", "  ", text)


def made(directory: Path) -> OnDisk:
    project = two_steps(directory)
    project.write(".gitignore", ".repro/\nbuild/\n")
    git(project, "init", "-q", "-b", "main")
    commit(project)
    return project


@pytest.fixture
def project(tmp_path: Path) -> OnDisk:
    return made(tmp_path)


@pytest.fixture(scope="module")
def run_twice(tmp_path_factory: pytest.TempPathFactory) -> OnDisk:
    """Both steps, run twice, with other code of the first in between."""
    project = made(tmp_path_factory.mktemp("history"))
    for code in (CLEAN, CLEAN.replace(".upper()", '.upper() + "more"')):
        project.write("clean.py", code)
        for step in ("clean", "count"):
            assert project.repro(*VENV, step).status == 0
    return project


@pytest.fixture
def history(run_twice: OnDisk, tmp_path: Path) -> OnDisk:
    """Return a copy of that history."""
    return OnDisk(shutil.copytree(run_twice.root, tmp_path / "churn", symlinks=True))


def test_nothing_was_run_yet(project: OnDisk, golden: Golden) -> None:
    golden("runs-none.txt", str(project.repro("runs")))
    golden("show-none.txt", str(project.repro("show")))


def test_the_history(history: OnDisk, golden: Golden) -> None:
    golden("runs.txt", steady(OnDisk(history.root, {"COLUMNS": "200"}).repro("runs")))
    golden("runs-limited.txt", steady(history.repro("runs", "--limit", "1", "--step", "clean")))


def test_a_narrow_terminal_has_fewer_columns(history: OnDisk) -> None:
    lines = OnDisk(history.root, {"COLUMNS": "60"}).repro("runs").stdout.splitlines()
    assert lines[0].split() == ["run", "step", "status", "started"]
    assert all(len(line) <= 60 for line in lines)


def test_the_history_as_json(history: OnDisk) -> None:
    document = json.loads(history.repro("runs", "--json", "--step", "count").stdout)
    assert [run["step"] for run in document["runs"]] == ["count", "count"]
    assert document["runs"][0]["notes"] == ["code not committed"]
    assert document["damaged"] == []
    digest = document["runs"][1]["inputs"]["clean.table"]
    users = json.loads(history.repro("runs", "--json", "--digest", digest).stdout)["runs"]
    assert [run["step"] for run in users] == ["count", "clean"]
    assert json.loads(history.repro("runs", "--json", "--status", "failed").stdout)["runs"] == []
    assert json.loads(history.repro("runs", "--json", "--status", "running").stdout)["runs"] == []
    assert json.loads(history.repro("runs", "--json", "--until", "1h").stdout)["runs"] == []
    assert len(json.loads(history.repro("runs", "--json", "--since", "1h").stdout)["runs"]) == 4


def test_a_damaged_record_hides_no_other(history: OnDisk) -> None:
    newest = history.root / ".repro/runs" / ids(history)[0]
    (newest / "record.json").write_text("{")
    answer = history.repro("runs")
    assert answer.stdout.count("succeeded") == 3
    assert answer.stderr.startswith("warning: RUN-count: record.json")


def test_a_mistake_in_the_project_hides_no_history(history: OnDisk) -> None:
    history.write("repro.toml", "[project")
    assert history.repro("runs").status == 0
    assert history.repro("show").status == 0


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("runs", "--step", "cleen"), "runs-unknown-step.txt"),
        (("runs", "--since", "yesterday"), "runs-no-date.txt"),
        (("runs", "--digest", "xyz"), "runs-no-digest.txt"),
        (("show", "nothing"), "show-unknown.txt"),
        (("diff", "nothing"), "diff-unknown.txt"),
        (("diff", "a", "b", "c"), "diff-too-many.txt"),
    ],
)
def test_mistakes(history: OnDisk, golden: Golden, words: tuple[str, ...], name: str) -> None:
    golden(name, steady(history.repro(*words)))


def test_one_run(history: OnDisk, golden: Golden) -> None:
    golden("show.txt", steady(history.repro("show", "count")))


def test_a_run_is_found_by_its_id_its_record_and_as_the_last(history: OnDisk) -> None:
    newest = ids(history)[0]
    path = f".repro/runs/{newest}/record.json"
    texts = {history.repro("show", word).stdout for word in ("last", newest, newest[:-1], path)}
    assert len(texts) == 1
    assert "clean.table" in texts.pop()


def test_a_record_is_shown_outside_of_any_project(history: OnDisk, tmp_path: Path) -> None:
    record = history.root / ".repro/runs" / ids(history)[0] / "record.json"
    (tmp_path / "elsewhere").mkdir()
    elsewhere = OnDisk(tmp_path / "elsewhere")
    assert "whose record is not here" not in elsewhere.repro("show", str(record)).stdout
    (tmp_path / "elsewhere/copy.json").write_bytes(record.read_bytes())
    assert "whose record is not here" in elsewhere.repro("show", "copy.json").stdout


def test_an_argument_that_is_not_utf_8(project: OnDisk) -> None:
    assert project.repro(*VENV, "clean", "--", os.fsdecode(b"caf\xe9")).status == 0
    assert r"arguments    'caf\udce9'" in project.repro("show").stdout
    command = json.loads(project.repro("show", "--json").stdout)["predicate"]["buildDefinition"]["externalParameters"]
    assert "caf\udce9" in json.dumps(command, ensure_ascii=False)


def test_json_is_the_record_as_it_is_on_disk(history: OnDisk) -> None:
    record = (history.root / ".repro/runs" / ids(history)[0] / "record.json").read_text()
    shown = json.loads(history.repro("show", "--json").stdout)
    assert shown["_type"] == "https://in-toto.io/Statement/v1"
    assert shown["subject"] == json.loads(record)["subject"]
    assert shown.keys() == json.loads(record).keys()


def test_a_page(history: OnDisk, tmp_path: Path) -> None:
    answer = history.repro("show", "count", "--html", str(tmp_path / "page.html"))
    assert answer.stdout == "wrote TMP/page.html\n"
    text = (tmp_path / "page.html").read_text()
    assert text.startswith("<!doctype html>")
    assert "<svg" in text
    assert "<script" not in text


def test_what_changed_since_the_run_before(history: OnDisk, golden: Golden) -> None:
    golden("diff-run.txt", steady(history.repro("diff", "count")))


def test_directories_differ_file_by_file(project: OnDisk) -> None:
    project.write("raw/a.csv", "1")
    project.write("raw/b.csv", "2")
    text = TWO_STEPS.replace('path = "raw.csv"', 'path = "raw"').replace("build/table.csv", "build/tables")
    project.write("repro.toml", text)
    project.write("clean.py", "import shutil, sys\nshutil.copytree(*sys.argv[1:3])\n")
    project.lock()
    assert project.repro(*VENV, "clean").status == 0
    project.write("raw/b.csv", "22")
    project.write("raw/c.csv", "3")
    project.repro("lock")
    assert project.repro(*VENV, "clean").status == 0
    document = json.loads(project.repro("diff", "clean", "--json").stdout)
    files = ["b.csv has another content: 1 bytes then, 2 now", "c.csv is new"]
    assert [one["details"] for one in (*document["causes"], *document["outputs"])] == [files, files]
    assert document["headline"] == "table differs because data raw is another"


def test_outputs_that_are_both_still_there_differ_by_so_much(history: OnDisk) -> None:
    newest, first = (run for run in ids(history) if "clean" in run)
    kept = history.root / ".repro/runs" / first / "output/build/table.csv"
    kept.parent.mkdir(parents=True)
    kept.write_text("A,B\n1,2\n")
    [made] = json.loads(history.repro("diff", first, newest, "--json").stdout)["outputs"]
    assert made["details"] == ["line 3: '' then, 'more' now; 8 bytes then, 12 now"]


def test_differences_as_json_and_as_an_exit_status(history: OnDisk) -> None:
    newest, _clean, first, _first_clean = ids(history)
    answer = history.repro("diff", first, newest, "--json", "--exit-code")
    assert answer.status == 14
    document: dict[str, Any] = json.loads(answer.stdout)
    assert document["differs"]
    assert [cause["what"] for cause in document["first_causes"]] == ["clean.py"]
    assert history.repro("diff", newest, newest, "--exit-code").status == 0


def test_a_copy_of_a_run_is_among_those_of_the_project_that_one_stands_in(history: OnDisk, tmp_path: Path) -> None:
    newest, clean, first, _first_clean = ids(history)
    copy = shutil.copytree(history.root / ".repro/runs" / newest, tmp_path / "sent/run")
    document = json.loads(history.repro("diff", str(copy), "--json").stdout)
    assert document == json.loads(history.repro("diff", first, newest, "--json").stdout)
    assert history.repro("show", str(copy / "record.json"), "--bundle", str(tmp_path / "sent.tar")).status == 0
    opened = open_bundle(tmp_path / "sent.tar", tmp_path / "opened")
    assert [run.record.id for run in opened] == [newest, clean]


def test_the_beginning_of_many_runs_is_none_of_them(history: OnDisk) -> None:
    answer = history.repro("diff", "2")
    assert answer.status == 2
    assert answer.stderr.startswith("error: 2 is the beginning of 4 runs")


def test_the_first_run_has_none_before_it(project: OnDisk) -> None:
    project.repro(*VENV, "clean")
    answer = project.repro("diff", "clean")
    assert (answer.status, answer.stdout) == (2, "")
    assert "is the first of step clean" in answer.stderr


def test_locks_of_commits_files_and_runs(project: OnDisk, golden: Golden) -> None:
    project.repro(*VENV, "clean")
    assert project.repro("diff").stdout.startswith("nothing that is pinned differs")
    project.write("repro.toml", TWO_STEPS.replace('"hello"', '"good day"'))
    project.write("raw.csv", "a,b\n1,2\n3,4\n")
    project.lock()
    golden("diff-locks.txt", steady(project.repro("diff", "--exit-code")))
    commit(project)
    told = {
        project.repro("diff", *words).stdout for words in (["HEAD~1"], ["HEAD~1", "HEAD"], ["HEAD~1", "repro.lock"])
    }
    git(project, "branch", "some/branch", "HEAD~1")
    told.add(project.repro("diff", "some/branch").stdout)
    assert len(told) == 1
    assert "GREETING hello -> good day" in told.pop().replace(":", "")
    document = json.loads(project.repro("diff", "HEAD~1", "--json").stdout)
    assert {change["subject"] for change in document["changes"]} == {"data raw", "step count"}
    assert "GREETING" in project.repro("diff", "clean", "HEAD").stdout


def test_a_commit_without_a_lock(project: OnDisk, golden: Golden) -> None:
    git(project, "rm", "-q", "--cached", "repro.lock")
    git(project, "commit", "-q", "-m", "no lock")
    golden("diff-no-lock.txt", str(project.repro("diff")))


def test_without_git_there_is_no_commit(tmp_path: Path) -> None:
    answer = two_steps(tmp_path).repro("diff")
    assert answer.status == 4
    assert "there is no commit, or no git, here" in answer.stderr
