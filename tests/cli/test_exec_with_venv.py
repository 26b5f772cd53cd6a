"""`repro exec` and `repro status` as processes, in the one runtime that every machine has."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from projects import TWO_STEPS, OnDisk, two_steps

from repro_env.record.model import RunRecord
from repro_env.record.read_statement import from_statement
from repro_env.record.runs import read_record

Golden = Callable[[str, str], None]
VENV = ("exec", "--runtime", "venv")


@pytest.fixture
def project(tmp_path: Path) -> OnDisk:
    return two_steps(tmp_path)


def records(project: OnDisk) -> list[RunRecord]:
    return [read_record(path) for path in sorted(project.root.glob(".repro/runs/*/record.json"))]


def statuses(project: OnDisk) -> dict[str, str]:
    rows = json.loads(project.repro("status", "--json").stdout)["steps"]
    return {row["step"]: row["why"] or "current" for row in rows}


def test_two_steps_one_after_the_other(project: OnDisk, golden: Golden) -> None:
    golden("exec-clean.txt", str(project.repro(*VENV, "clean")))
    assert (project.root / "build/table.csv").read_text() == "A,B\n1,2\n"
    assert project.repro(*VENV, "count").status == 0
    assert (project.root / "build/number.txt").read_text() == "8"
    made, used = records(project)
    assert made.outputs[0].digest == used.inputs[0].digest
    assert used.inputs[0].run == made.id
    assert statuses(project) == {"clean": "current", "count": "current"}
    golden("status-current.txt", str(project.repro("status")))


def test_a_step_before_its_input_was_made(project: OnDisk, golden: Golden) -> None:
    golden("exec-too-early.txt", str(project.repro(*VENV, "count")))
    assert not records(project)


def test_data_that_changed_since_the_lock(project: OnDisk, golden: Golden) -> None:
    project.write("raw.csv", "a,b\n1,3\n")
    golden("exec-changed-data.txt", str(project.repro(*VENV, "clean")))
    assert not records(project)


def test_an_output_changed_by_hand(project: OnDisk, golden: Golden) -> None:
    project.repro(*VENV, "clean")
    project.write("build/table.csv", "forged\n")
    golden("exec-changed-output.txt", str(project.repro(*VENV, "count")))


def test_an_output_that_is_gone(project: OnDisk) -> None:
    project.repro(*VENV, "clean")
    (project.root / "build/table.csv").unlink()
    answer = project.repro(*VENV, "count")
    assert answer.status == 122
    assert "run `repro exec clean` again" in answer.stderr


def test_an_edit_makes_a_step_stale_and_all_after_it(project: OnDisk) -> None:
    project.repro(*VENV, "clean")
    project.repro(*VENV, "count")
    project.write("clean.py", (project.root / "clean.py").read_text() + "# edited\n")
    assert statuses(project) == {"clean": "code or lock changed", "count": "clean is stale"}


def test_data_and_outputs_that_changed_on_disk_make_steps_stale(project: OnDisk) -> None:
    project.repro(*VENV, "clean")
    project.repro(*VENV, "count")
    project.write("build/table.csv", "forged\n")
    assert statuses(project) == {"clean": "current", "count": "clean.table changed"}
    project.write("raw.csv", "a,b\n1,3\n")
    assert statuses(project) == {"clean": "raw changed", "count": "clean is stale"}
    (project.root / "raw.csv").unlink()
    assert statuses(project)["clean"] == "raw is missing"


def test_the_steps_own_exit_status_is_passed_on(project: OnDisk, golden: Golden) -> None:
    project.write("clean.py", "import sys; print('half done'); sys.exit(3)")
    golden("exec-failed.txt", str(project.repro(*VENV, "clean")))
    [record] = records(project)
    assert (record.status, record.exit_status, record.outputs) == ("failed", 3, ())


def test_a_failed_run_leaves_the_last_output_and_keeps_its_own(project: OnDisk) -> None:
    project.repro(*VENV, "clean")
    project.write("clean.py", "import sys, pathlib; pathlib.Path(sys.argv[2]).write_text('half'); sys.exit(1)")
    answer = project.repro(*VENV, "clean")
    assert (project.root / "build/table.csv").read_text() == "A,B\n1,2\n"
    assert "what it wrote is in .repro/runs/RUN-clean/output" in answer.stderr


def test_an_output_that_was_not_made(project: OnDisk, golden: Golden) -> None:
    project.write("clean.py", "pass")
    golden("exec-no-output.txt", str(project.repro(*VENV, "clean")))
    assert records(project)[0].status == "failed"


def test_a_pipe_in_an_output_to_keep_is_told_and_not_waited_for(project: OnDisk) -> None:
    text = (project.root / "repro.toml").read_text()
    kept = '{ path = "build/table.csv", keep = true }'
    project.write("repro.toml", text.replace('"build/table.csv"', kept))
    project.write("clean.py", "import os, sys; os.mkdir(sys.argv[2]); os.mkfifo(sys.argv[2] + '/pipe')")
    project.lock()
    answer = project.repro(*VENV, "clean", before=("timeout", "60"))
    assert answer.status == 122, answer
    assert "pipe: a named pipe" in answer.stderr


def test_arguments_after_two_dashes_are_the_steps(project: OnDisk) -> None:
    project.write("clean.py", "import sys, pathlib; pathlib.Path(sys.argv[2]).touch(); print(sys.argv[3:])")
    assert project.repro(*VENV, "clean", "--", "--check", "x y").stdout == "['--check', 'x y']\n"


def test_nothing_of_the_callers_environment_gets_in(project: OnDisk) -> None:
    code = "import os, sys, pathlib; pathlib.Path(sys.argv[2]).touch(); print(sorted(os.environ))"
    project.write("clean.py", code)
    answer = OnDisk(project.root, {"SECRET_TOKEN": "x"}).repro(*VENV, "clean")
    names = set(eval(answer.stdout))
    assert "SECRET_TOKEN" not in names
    assert {"REPRO_STEP", "REPRO_DATA_RAW", "REPRO_OUTPUT_TABLE", "PATH", "HOME"} <= names


def test_declared_environment_gets_in(project: OnDisk) -> None:
    project.repro(*VENV, "clean")
    project.write("count.py", "import os\nprint(os.environ['GREETING'])\n" + (project.root / "count.py").read_text())
    assert project.repro(*VENV, "count").stdout == "hello\n"


def test_only_the_code_that_is_named_is_there(project: OnDisk) -> None:
    project.write("helper.py", "")
    project.write("clean.py", "import os, sys, pathlib; pathlib.Path(sys.argv[2]).touch(); print(os.listdir())")
    assert project.repro(*VENV, "clean").stdout == "['clean.py']\n"


def test_code_that_names_nothing(project: OnDisk, golden: Golden) -> None:
    project.write("repro.toml", TWO_STEPS.replace('"clean.py"]\n\n', '"celan.py"]\n\n'))
    project.lock()
    golden("exec-no-code.txt", str(project.repro(*VENV, "clean")))


def test_json_is_the_record(project: OnDisk) -> None:
    answer = project.repro(*VENV, "--json", "clean")
    assert answer.stdout == "cleaned raw.csv\n"
    assert from_statement(json.loads(answer.stderr)).status == "succeeded"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_step_and_the_record_says_so(project: OnDisk, number: signal.Signals) -> None:
    project.write("clean.py", "import time; print('up', flush=True); time.sleep(60)")
    words = [sys.executable, "-m", "repro_env", *VENV, "clean"]
    env = {**os.environ, "REPRO_STORE": str(project.root.parent / "store")}
    with subprocess.Popen(words, cwd=project.root, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(number)
        began = time.monotonic()
        process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert time.monotonic() - began < 20
    [record] = records(project)
    assert (record.status, record.signal, record.exit_status) == ("failed", number, None)
