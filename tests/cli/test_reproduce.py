"""`repro reproduce` as a process, in the one runtime that every machine has."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback import serve
from projects import TWO_STEPS, Answer
from repeated import Repeated, committed, ran_once

from repro_env.cli.diff_command import _before
from repro_env.errors import UsageError
from repro_env.record.runs import ALIVE, find_run

Golden = Callable[[str, str], None]

OUTPUTS = 'outputs = { table = "build/table.csv" }'


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Repeated:
    return ran_once(tmp_path_factory.mktemp("original"))


@pytest.fixture
def project(original: Repeated, tmp_path: Path) -> Repeated:
    return original.copied(tmp_path)


@pytest.fixture
def fresh(tmp_path: Path) -> Repeated:
    return committed(tmp_path)


def steady(project: Repeated, text: str) -> str:
    """Take out of an answer which commit it was."""
    for commit in project.git("rev-list", "--all", "--reflog").split():
        text = text.replace(commit, "COMMIT").replace(commit[:12], "COMMIT")
    return text


def change_clean(project: Repeated, code: str, outputs: str = OUTPUTS) -> None:
    project.write("clean.py", f"import pathlib, sys\ntarget = pathlib.Path(sys.argv[2])\n{code}\n")
    project.write("repro.toml", TWO_STEPS.replace(OUTPUTS, outputs))
    project.disk.lock()
    project.commit()


def test_a_run_again(project: Repeated, golden: Golden) -> None:
    answer = project.repro("reproduce", "clean")
    golden("reproduce-equal.txt", steady(project, str(answer)))
    now, _, then = project.records
    assert (now.reproduces, now.lock, now.definition) == (then.id, then.lock, then.definition)
    assert now.git == then.git
    assert (now.outputs, now.inputs) == (then.outputs, then.inputs)
    assert (project.root / ".repro/runs" / now.id / "output/build/table.csv").read_text() == "A,B\n1,2\n"
    assert not list((project.root / ".repro/restored").iterdir())


def test_outputs_in_a_place_of_ones_own(project: Repeated, tmp_path: Path) -> None:
    shutil.rmtree(project.root / "build")
    document = project.reproduced("count", "--upstream", "--output", "again")
    assert document["equal"]
    assert (project.root / "again/build/table.csv").read_text() == "A,B\n1,2\n"
    assert (project.root / "again/build/number.txt").read_text() == "8"


def test_what_a_killed_reproduction_left_is_removed(project: Repeated) -> None:
    left = project.root / ".repro/restored"
    (left / "dead").mkdir(parents=True)
    (left / "dead.lock").touch()
    assert project.reproduced("clean")["equal"]
    assert not list(left.iterdir())


def test_without_a_name_the_last_that_repeats_no_other(project: Repeated) -> None:
    count = project.records[0]
    for _ in range(2):
        assert project.reproduced()["equal"]
        assert project.records[0].reproduces == count.id
    assert json.loads(project.repro("status", "--json").stdout)["steps"][1]["why"] == ""


def test_a_repeated_run_is_told_apart_from_those_of_its_step(project: Repeated) -> None:
    count = project.records[0]
    assert project.reproduced("count")["equal"]
    again = project.records[0]
    titles, *rows = project.repro("runs").stdout.splitlines()
    assert "repeats" in titles
    assert [count.id[-4:] in row for row in rows] == [True, False, False]
    [listed] = json.loads(project.repro("runs", "--json", "--limit", "1").stdout)["runs"]
    assert listed["reproduces"] == "RUN-count"
    home = project.root
    assert find_run(home, "count").record.id == count.id
    assert _before(find_run(home, again.id)).record.id == count.id
    with pytest.raises(UsageError, match="is the first of step count"):
        _before(find_run(home, count.id))


def test_the_checkout_may_have_gone_on_and_is_not_touched(project: Repeated) -> None:
    project.write("clean.py", "raise SystemExit('another')\n")
    project.commit()
    project.write("clean.py", "not even Python\n")
    project.write("raw.csv", "other data\n")
    project.write("build/table.csv", "by hand\n")
    before = project.git("status", "--porcelain"), project.git("worktree", "list"), project.git("log", "--oneline")
    document = project.reproduced("clean")
    assert document["equal"]
    assert document["runs"][0]["changed"] == []
    assert (
        project.git("status", "--porcelain"),
        project.git("worktree", "list"),
        project.git("log", "--oneline"),
    ) == before
    assert (project.root / "build/table.csv").read_text() == "by hand\n"


def test_what_was_not_committed_comes_back(fresh: Repeated) -> None:
    fresh.write("clean.py", (fresh.root / "clean.py").read_text().replace("upper", "lower"))
    run = fresh.ran("clean")
    assert run.git
    assert run.git.diff
    fresh.git("checkout", "--quiet", "--", "clean.py")
    document = fresh.reproduced()
    assert document["equal"]
    assert document["runs"][0]["changed"] == []
    (fresh.root / ".repro/runs" / run.id / "code.diff").unlink()
    assert "uncommitted changes are gone" in fresh.repro("reproduce", run.id).stderr


def test_a_project_that_was_not_committed_yet(tmp_path: Path) -> None:
    project = committed(tmp_path)
    project.git("rm", "--quiet", "--cached", "repro.toml", "repro.lock", "clean.py")
    project.git("commit", "--quiet", "-m", "none of it")
    project.ran("clean")
    document = project.reproduced()
    assert document["equal"]
    assert document["runs"][0]["changed"] == []


def test_a_commit_that_is_gone(project: Repeated, golden: Golden) -> None:
    project.git("commit", "--quiet", "--amend", "-m", "other")
    project.git("reflog", "expire", "--expire=now", "--all")
    run = project.records[1]
    assert run.git
    project.git("gc", "--quiet", "--prune=now")
    answer = str(project.repro("reproduce", "clean")).replace(run.git.commit, "COMMIT")
    golden("reproduce-no-commit.txt", answer)
    golden("reproduce-here.txt", str(project.repro("reproduce", "clean", "--here")))


def test_a_project_outside_of_git(tmp_path: Path, original: Repeated, golden: Golden) -> None:
    project = committed(tmp_path)
    shutil.rmtree(project.root / ".git")
    project.ran("clean")
    golden("reproduce-no-git.txt", str(project.repro("reproduce")))
    assert project.reproduced("--here")["equal"]
    project.write("clean.py", (project.root / "clean.py").read_text() + "# edited\n")
    document = project.reproduced("--here", "clean")
    assert document["equal"]
    assert "is not the one that ran" in document["runs"][0]["changed"][0]


def test_inputs_that_are_gone(project: Repeated, golden: Golden) -> None:
    shutil.rmtree(project.root / "build")
    answer = project.repro("reproduce", "count")
    golden("reproduce-no-input.txt", str(answer))
    document = project.reproduced("count", "--upstream")
    assert [(run["step"], run["equal"]) for run in document["runs"]] == [("clean", True), ("count", True)]
    clean, count = project.records[1], project.records[0]
    assert count.inputs[0].run == clean.id
    assert clean.outputs[0].digest == count.inputs[0].digest
    assert not (project.root / "build").exists()
    assert project.reproduced("count")["equal"], "what was made again is found with its run"


def test_data_from_elsewhere_is_pulled_again(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web/raw.csv").write_text("a,b\n1,2\n")
    with serve(tmp_path / "web") as server:
        project = committed(tmp_path)
        project.write("repro.toml", TWO_STEPS.replace('path = "raw.csv"', f'uri = "{server.url}/raw.csv"'))
        project.disk.lock()
        project.commit()
        project.ran("clean")
        shutil.rmtree(project.root / ".repro/data")
        shutil.rmtree(tmp_path / "store")
        document = project.reproduced()
        assert document["equal"]
        assert not (project.root / ".repro/data").exists(), "what is in the project's place is the project's affair"
        (tmp_path / "web/raw.csv").write_text("a,b\n1,3\n")
        shutil.rmtree(tmp_path / "store")
        answer = project.repro("reproduce", "clean")
        assert answer.status != 0
        assert "raw" in answer.stderr


def test_everything_at_once(project: Repeated) -> None:
    shutil.rmtree(project.root / "build")
    document = project.reproduced("--all")
    assert [run["step"] for run in document["runs"]] == ["clean", "count"]
    assert document["equal"]
    assert project.repro("reproduce", "--all", "last").status == 2


def test_a_step_that_never_does_the_same(fresh: Repeated, golden: Golden) -> None:
    change_clean(
        fresh,
        "target.write_text('same\\n' + (target.parent / 'n').name + '\\n')\n"
        "import os\n"
        "os.path.exists('again') or target.write_text('same\\n%s\\n' % os.environ['REPRO_RUN'])",
    )
    fresh.ran("clean")
    golden("reproduce-different.txt", steady(fresh, str(fresh.repro("reproduce"))))
    document = fresh.reproduced(status=14)
    (output,) = document["runs"][0]["outputs"]
    assert output["difference"]["where"] == "line 2"
    shutil.rmtree(fresh.root / "build")
    for run in fresh.records:
        if run.reproduces:
            shutil.rmtree(fresh.root / ".repro/runs" / run.id)
    (output,) = fresh.reproduced(status=14)["runs"][0]["outputs"]
    assert output["difference"] is None
    assert "only the digests could be compared" in output["told"]


SAME = """\
import json, sys
one, other = (json.load(open(path))["loss"] for path in sys.argv[1:])
print("loss", one, other)
sys.exit(abs(one - other) > 1e-6)
"""


def test_a_program_that_compares(fresh: Repeated) -> None:
    fresh.write("same.py", SAME)
    digits = "int(os.environ['REPRO_RUN'][-4:], 16)"
    code = f"import json, os\ntarget.write_text(json.dumps({{'loss': 0.5 + {digits} * 1e-12}}))"
    how = '{ path = "build/table.csv", compare = "command: python same.py {a} {b}" }'
    change_clean(fresh, code, f"outputs = {{ table = {how} }}")
    fresh.write(
        "repro.toml", (fresh.root / "repro.toml").read_text().replace('["clean.py"]', '["clean.py", "same.py"]')
    )
    fresh.disk.lock()
    fresh.commit()
    run = fresh.ran("clean")
    assert run.outputs[0].compare.startswith("command: python same.py")
    (output,) = fresh.reproduced()["runs"][0]["outputs"]
    assert (output["equal"], output["same_bytes"]) == (True, False)
    (output,) = fresh.reproduced("--compare", "table=exact", status=14)["runs"][0]["outputs"]
    assert output["difference"]["where"] == "line 1"
    assert fresh.repro("reproduce", "--compare", "table=nearly").status == 2
    assert fresh.repro("reproduce", "--compare", "table").status == 2
    assert "there is no output 'tabel'" in fresh.repro("reproduce", "--compare", "tabel=exact").stderr


def test_a_directory_of_which_only_the_manifest_is_left(fresh: Repeated) -> None:
    code = "import os\ntarget.mkdir()\n(target / 'same').touch()\n(target / 'run').write_text(os.environ['REPRO_RUN'])"
    change_clean(fresh, code)
    fresh.ran("clean")
    (output,) = fresh.reproduced(status=14)["runs"][0]["outputs"]
    assert output["difference"]["where"] == "run, line 1"
    shutil.rmtree(fresh.root / "build")
    (output,) = fresh.reproduced(status=14)["runs"][0]["outputs"]
    assert output["told"].startswith("differs: run has another content of the same")


def test_an_output_that_each_run_keeps(fresh: Repeated) -> None:
    how = '{ path = "build/table.json", compare = "json: rtol=1e-9, ignore=run", keep = true }'
    code = "import json, os\ntarget.write_text(json.dumps({'loss': 0.5, 'run': os.environ['REPRO_RUN']}))"
    change_clean(fresh, code, f"outputs = {{ table = {how} }}")
    fresh.ran("clean")
    fresh.ran("clean")
    shutil.rmtree(fresh.root / "build")
    (output,) = fresh.reproduced(fresh.records[1].id)["runs"][0]["outputs"]
    assert (output["equal"], output["same_bytes"], output["original_gone"]) == (True, False, False)


def test_how_a_run_ended_counts(fresh: Repeated) -> None:
    change_clean(fresh, "print('no')\nsys.exit(3)")
    fresh.ran("clean", status=3)
    document = fresh.reproduced()
    assert document["runs"][0]["ended"] == {"then": "failed with exit status 3", "now": "failed with exit status 3"}
    change_clean(fresh, "sys.exit(pathlib.Path('/proc/self').exists() and 4)")
    assert fresh.reproduced("--here", status=14)["runs"][0]["ended"]["now"] == "failed with exit status 4"


def test_arguments_are_given_again(fresh: Repeated) -> None:
    change_clean(fresh, "target.write_text(' '.join(sys.argv[3:]))")
    fresh.ran("clean", "--", "--epochs", "3")
    assert fresh.reproduced()["equal"]


def test_the_lock_as_it_is_here_now(project: Repeated) -> None:
    project.write("raw.csv", "a,b\n1,3\n")
    project.disk.lock()
    document = project.reproduced("clean", "--here", status=14)
    (run,) = document["runs"]
    assert run["changed"][0] == "data raw"
    assert "content" in run["changed"][1]
    assert run["cause"] == "table differs because data raw is another"
    assert run["outputs"][0]["difference"]["what"] == "'1,2' then, '1,3' now"


def test_what_changed_in_other_steps_is_not_told(project: Repeated) -> None:
    project.write("repro.toml", TWO_STEPS.replace('"hello"', '"good day"'))
    project.disk.lock()
    assert project.reproduced("clean", "--here")["runs"][0]["changed"] == []
    assert project.reproduced("count", "--here")["runs"][0]["changed"] == [
        "step count",
        "  env GREETING: hello -> good day",
    ]


class TestElsewhere:
    def test_a_record_its_lock_and_the_repository(self, project: Repeated, tmp_path: Path) -> None:
        run = project.records[1]
        place = tmp_path / "elsewhere"
        place.mkdir()
        kept = project.root / ".repro/runs" / run.id
        shutil.copy(kept / "record.json", place)
        shutil.copytree(project.root / ".git", tmp_path / "mirror.git")
        shutil.rmtree(project.root)
        words = ("-C", str(place), "reproduce", "--json", "--from", "record.json", "--repository", "../mirror.git")
        project.root.mkdir()
        answer = project.repro(*words)
        assert answer.status == 0, answer.stderr
        assert "there is no project here" in answer.stderr
        document = json.loads(answer.stdout)
        assert document["equal"]
        assert (place / run.id / ".repro/runs").is_dir()

    def test_a_bundle_with_its_upstream(self, project: Repeated, tmp_path: Path) -> None:
        assert project.repro("show", "count", "--bundle", str(tmp_path / "count.tar")).status == 0
        place = tmp_path / "elsewhere"
        place.mkdir()
        words = ("-C", str(place), "reproduce", "--from", "../count.tar", "--repository", str(project.root))
        answer = project.repro(*words)
        assert answer.status == 15
        assert "`--upstream` first repeats" in answer.stderr
        answer = project.repro(*words, "--upstream")
        assert answer.status == 0, answer.stderr
        assert "reproduced: 2 runs, 2 equal outputs" in answer.stdout

    def test_the_repository_that_the_record_names(self, fresh: Repeated, tmp_path: Path) -> None:
        mirror = tmp_path / "mirror.git"
        fresh.git("clone", "--quiet", "--bare", str(fresh.root), str(mirror))
        fresh.git("remote", "add", "origin", mirror.as_uri())
        run = fresh.ran("clean")
        place = tmp_path / "elsewhere"
        place.mkdir()
        assert fresh.repro("show", "--bundle", str(place / "run.tar")).status == 0
        shutil.rmtree(fresh.root / ".git")
        answer = fresh.repro("-C", str(place), "reproduce", "--from", "run.tar")
        assert answer.status == 0, answer.stderr
        assert "from file://" in answer.stderr
        (repeated,) = (place / run.id / ".repro/runs").glob("*/record.json")
        assert mirror.as_uri() in repeated.read_text(), "and that one may be repeated in turn"

    @pytest.fixture
    def forged(self, project: Repeated) -> Callable[..., Answer]:
        """Return what repeats a run by a record that somebody has changed."""
        kept = project.root / ".repro/runs" / project.records[1].id
        place = project.root.parent / "elsewhere"

        def reproduce(change: Callable[[Any], object], *words: str) -> Answer:
            place.mkdir()
            statement = json.loads((kept / "record.json").read_text())
            change(statement)
            (place / "record.json").write_text(json.dumps(statement))
            given = ("--from", "record.json", "--repository", str(project.root))
            return project.repro("-C", str(place), "reproduce", *given, *words)

        return reproduce

    def test_a_comparison_that_is_not_known_here(self, forged: Callable[..., Answer]) -> None:
        answer = forged(lambda found: found["subject"][0]["annotations"].update(compare="nearly"))
        assert answer.status == 12, answer
        assert "output table cannot be compared as 'nearly'\n  there is no comparison" in answer.stderr

    def test_a_comparison_that_is_not_known_here_is_replaced(self, forged: Callable[..., Answer]) -> None:
        answer = forged(
            lambda found: found["subject"][0]["annotations"].update(compare="nearly"), "--compare", "table=exact"
        )
        assert answer.status == 0, answer

    def test_what_a_record_says_moves_no_cursor_and_leads_to_no_other_place(
        self, forged: Callable[..., Answer], project: Repeated
    ) -> None:
        def change(found: Any) -> None:
            found["predicate"]["runDetails"]["metadata"]["invocationId"] = "../../\x1b[2Jout"
            found["predicate"]["buildDefinition"]["internalParameters"]["host"]["kernel"] = "\x1b[2Jkernel"

        answer = forged(change)
        assert answer.status == 0, answer
        assert "run ../../\\x1b[2Jout repeated as" in answer.stdout
        assert "kernel \\x1b[2Jkernel then, " in answer.stdout
        assert "\x1b" not in answer.stdout + answer.stderr
        names = sorted(path.name for path in project.root.parent.glob("elsewhere/*"))
        assert names == ["________2Jout", "record.json"]

    def test_what_an_error_quotes_of_a_record_moves_no_cursor_either(self, forged: Callable[..., Answer]) -> None:
        def change(found: Any) -> None:
            found["predicate"]["buildDefinition"]["externalParameters"]["step"] = "clean\x1b[2Jx"

        answer = forged(change)
        assert answer.status == 4, answer
        assert answer.stderr.endswith("has no step clean\\x1b[2Jx\n")

    def test_what_is_no_record(self, project: Repeated) -> None:
        project.write("record.json", "{}")
        assert "is no record of a run" in project.repro("reproduce", "--from", "record.json").stderr


def test_a_lock_that_is_gone(project: Repeated, golden: Golden) -> None:
    run = project.records[1]
    kept = project.root / ".repro/runs" / run.id / "repro.lock"
    text = kept.read_text()
    kept.unlink()
    assert project.reproduced("clean")["equal"], "the commit has the same one"
    kept.write_text(text + "# edited\n")
    assert project.reproduced("clean")["equal"]
    record = kept.with_name("record.json")
    assert run.lock
    record.write_text(record.read_text().replace(run.lock.hex, "0" * 64))
    golden("reproduce-no-lock.txt", str(project.repro("reproduce", run.id)))


def test_a_run_that_never_ended(project: Repeated) -> None:
    run = project.records[0]
    path = project.root / ".repro/runs" / run.id / "record.json"
    path.write_text(path.read_text().replace('"succeeded"', '"interrupted"'))
    answer = project.repro("reproduce", run.id)
    assert answer.status == 15
    assert "has no end to compare with\n  it was interrupted" in answer.stderr
    path.write_text(path.read_text().replace('"interrupted"', '"started"'))
    with (path.parent / ALIVE).open("w") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        assert "it is still running\nhint: wait for its end" in project.repro("reproduce", run.id).stderr
