"""What a run leaves behind, by `repro exec` as a process, in the one runtime that every machine has."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import machines
import pytest
from projects import TWO_STEPS, OnDisk, two_steps

from repro_env.data import manifest
from repro_env.record.model import RunRecord
from repro_env.record.runs import Run, find_run, list_runs
from repro_env.run.execute import LOG
from repro_env.values import Digest

VENV = ("exec", "--runtime", "venv")
SLEEPING = "import pathlib, sys, time\npathlib.Path(sys.argv[2]).write_text('half')\nprint('up', flush=True)\n"


@pytest.fixture
def project(tmp_path: Path) -> OnDisk:
    return two_steps(tmp_path)


def ran(project: OnDisk, *words: str, status: int = 0) -> Run:
    """Run a step and return its run."""
    answer = project.repro(*VENV, *words)
    assert answer.status == status, answer.stderr
    return find_run(project.root, "last")


def git(project: OnDisk, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", project.root, *who, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def committed(project: OnDisk) -> OnDisk:
    git(project, "init", "-q", "-b", "main")
    project.write(".gitignore", ".repro/\nbuild/\n")
    git(project, "add", "--all")
    git(project, "commit", "-q", "-m", "all")
    return project


def test_everything_of_a_run(project: OnDisk) -> None:
    committed(project)
    made = ran(project, "clean").record
    run = ran(project, "count", "--", "-v", "x y")
    record = run.record
    assert record.command == ("python", "count.py", "-v", "x y")
    assert record.arguments == ("-v", "x y")
    assert record.variables == {"GREETING": "hello"}
    assert {"GREETING", "REPRO_RUN", "PATH"} <= set(record.environment)
    assert record.lock == Digest.of((run.directory / "repro.lock").read_bytes())
    assert (run.directory / "repro.lock").read_bytes() == (project.root / "repro.lock").read_bytes()
    assert record.git is not None
    assert (record.git.commit, record.git.dirty) == (git(project, "rev-parse", "HEAD"), False)
    [used] = record.inputs
    assert (used.run, used.changed) == (made.id, False)
    assert used.record == Digest.of((project.root / ".repro/runs" / made.id / "record.json").read_bytes())
    assert record.resources is not None
    assert record.resources.wall_seconds is not None
    assert 0 < record.resources.wall_seconds < 60
    assert record.resources.cpu_seconds is not None
    assert (record.resources.peak_memory or 0) > 2**20
    assert record.resources.gpu_memory is None
    assert (record.machine, record.findings, record.kept, record.deterministic) == (None, (), "", False)


def test_places_in_the_command_are_those_of_the_image(project: OnDisk) -> None:
    record = ran(project, "clean").record
    assert record.command == ("python", "clean.py", "/repro/input/raw/raw.csv", "/repro/output/build/table.csv")
    assert str(project.root) not in json.dumps([str(value) for value in (record.command, record.variables)])


def test_what_is_not_committed_comes_back_from_the_record(project: OnDisk) -> None:
    committed(project)
    project.write("clean.py", (project.root / "clean.py").read_text() + "# edited\n")
    project.write("helper.py", "untracked code of the step")
    project.write("repro.toml", TWO_STEPS.replace('code = ["clean.py"]', 'code = ["clean.py", "helper.py"]'))
    project.lock()
    run = ran(project, "clean")
    assert run.record.git is not None
    assert run.record.git.diff == Digest.of((run.directory / "code.diff").read_bytes())
    there = project.root.parent / "there"
    git(project, "worktree", "add", "-q", str(there), run.record.git.commit)
    subprocess.run(["git", "apply", "--binary", run.directory / "code.diff"], cwd=there, check=True)
    for name in ("clean.py", "helper.py", "repro.toml", "repro.lock"):
        assert (there / name).read_bytes() == (project.root / name).read_bytes(), name


def test_what_is_missing_of_the_code_is_said(project: OnDisk) -> None:
    git(project, "init", "-q", "-b", "main")
    assert "warning: the record names no commit: git knows none here" in project.repro(*VENV, "clean").stderr
    project.write("notes.bin", "small")
    committed(project)
    assert "the record" not in project.repro(*VENV, "clean").stderr
    (project.root / "notes.bin").write_bytes(bytes(9 << 20))
    answer = project.repro(*VENV, "clean")
    assert "the record does not have all that is not committed:\n  notes.bin: 9.0 MiB, and no file" in answer.stderr


def test_what_the_step_printed_is_vouched_for(project: OnDisk) -> None:
    run = ran(project, "clean")
    log = (run.directory / LOG).read_bytes()
    assert run.record.log is not None
    assert (run.record.log.digest, run.record.log.size) == (Digest.of(log), len(b"cleaned raw.csv\n"))


def test_the_manifest_of_a_directory_stays_with_the_run(project: OnDisk) -> None:
    code = (
        "import pathlib, sys\nd = pathlib.Path(sys.argv[2])\nd.mkdir()\n(d / 'a').write_text('1')\n(d / 'b').touch()\n"
    )
    project.write("clean.py", code)
    run = ran(project, "clean")
    [output] = run.record.outputs
    text = (run.directory / "manifests/table.manifest").read_bytes()
    assert (output.kind, output.digest, output.files) == ("directory", Digest.of(text), 2)
    assert set(manifest.parse(text)) == {"a", "b"}


@pytest.mark.parametrize(
    ("code", "status"),
    [("sys.exit(3)", 3), ("pathlib.Path(sys.argv[2]).rename(sys.argv[2] + '.tmp')", 124)],
    ids=["failed", "without its output"],
)
def test_what_a_failed_run_wrote_is_kept_and_named(code: str, status: int, project: OnDisk) -> None:
    project.write("clean.py", f"import pathlib, sys\nprint('up')\npathlib.Path(sys.argv[2]).write_text('half')\n{code}")
    run = ran(project, "clean", status=status)
    assert (run.record.status, run.record.kept, run.record.outputs) == ("failed", "output", ())
    assert (run.directory / "output/build").is_dir()
    assert run.record.log is not None
    assert run.record.log.digest == Digest.of(b"up\n")


def test_an_input_that_is_written_to_meanwhile(project: OnDisk) -> None:
    code = "import pathlib, sys\nraw = pathlib.Path(sys.argv[1])\npathlib.Path(sys.argv[2]).touch()\n"
    project.write("clean.py", f"{code}raw.resolve().write_text('other')")
    answer = project.repro(*VENV, "clean")
    assert answer.status == 0
    assert "warning: written to while the step ran, which the record says: raw" in answer.stderr
    [used] = find_run(project.root, "last").record.inputs
    assert used.changed
    assert used.digest == Digest.of(b"a,b\n1,2\n")


# Killed


def started(project: OnDisk, step: str = "clean") -> subprocess.Popen[bytes]:
    """Start a step and return once it is up."""
    words = [sys.executable, "-m", "repro_env", *VENV, step]
    env = {**os.environ, "REPRO_STORE": str(project.root.parent / "store")}
    process = subprocess.Popen(words, cwd=project.root, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_repro_killed(project: OnDisk) -> None:
    project.write("clean.py", SLEEPING + "time.sleep(60)")
    process = started(project)
    assert find_run(project.root, "last").record.status == "started"
    process.kill()
    process.communicate()
    run = find_run(project.root, "last")
    assert (run.record.status, run.record.kept, run.record.finished) == ("interrupted", "output", None)
    assert run.record.lock == Digest.of((run.directory / "repro.lock").read_bytes())
    assert not (project.root / "build/table.csv").exists()


def test_the_step_killed(project: OnDisk) -> None:
    project.write("clean.py", SLEEPING + "import os\nprint(os.getpid(), flush=True)\ntime.sleep(60)")
    process = started(project)
    assert process.stdout is not None
    os.kill(int(process.stdout.readline()), signal.SIGKILL)
    process.communicate(timeout=30)
    record = find_run(project.root, "last").record
    assert process.returncode == 128 + signal.SIGKILL
    assert (record.status, record.signal, record.exit_status) == ("failed", signal.SIGKILL, None)
    assert record.kept == "output"
    assert record.resources is not None


def test_ctrl_c(project: OnDisk) -> None:
    project.write("clean.py", SLEEPING + "time.sleep(60)")
    process = started(project)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    record = find_run(project.root, "last").record
    assert (record.status, record.signal, record.kept) == ("failed", signal.SIGINT, "output")


def test_killed_between_the_outputs_place_and_the_record(project: OnDisk) -> None:
    # The power may fail after an output took its place and before the record says so.
    project.repro(*VENV, "clean")
    project.repro(*VENV, "count")
    project.write("clean.py", (project.root / "clean.py").read_text() + "# edited\n")
    words = [sys.executable, "-c", KILLED_AFTER_PLACING, *VENV, "clean"]
    env = {**os.environ, "REPRO_STORE": str(project.root.parent / "store")}
    project.write("raw.csv", "a,b\n3,4\n")
    project.lock()
    assert subprocess.run(words, cwd=project.root, env=env, capture_output=True, check=False).returncode == -9
    runs = list_runs(project.root)
    assert (runs.records[0].status, runs.records[0].outputs, runs.records[0].kept) == ("interrupted", (), "")
    assert (project.root / "build/table.csv").read_text() == "A,B\n3,4\n"
    answer = project.repro(*VENV, "count")
    assert answer.status == 122
    assert "was interrupted after that, and may have put its own there" in answer.stderr
    assert project.repro(*VENV, "clean").status == project.repro(*VENV, "count").status == 0


KILLED_AFTER_PLACING = """
import os, sys
from repro_env.cli import running
from repro_env.cli.main import main
running.concluded = lambda *_, **__: os.kill(os.getpid(), 9)
sys.argv[0] = "repro"
main()
"""


# GPUs


@pytest.fixture(scope="session")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> machines.Nvml:
    built = machines.build(tmp_path_factory.mktemp("nvml"))
    if built is None:
        pytest.skip("there is no C compiler")
    return built


def test_the_gpus_of_a_step(project: OnDisk, nvml: machines.Nvml) -> None:
    asked = '\n[step.clean.gpu]\ncount = 2\nmemory = "40GB"\n'
    project.write("repro.toml", (project.root / "repro.toml").read_text() + asked)
    project.write("clean.py", "import sys, time\nopen(sys.argv[2], 'w').close()\ntime.sleep(1.5)")
    project.lock()
    record = ran(OnDisk(project.root, nvml.environment("a100-8x")), "clean").record
    assert record.machine is not None
    assert [gpu.index for gpu in record.machine.gpus] == [0, 1]
    assert record.machine.driver == machines.profile("a100-8x")["driver"]
    assert {found.name: found.status for found in record.findings}["count"] == "ok"
    assert record.resources is not None
    assert (record.resources.gpu_memory or 0) > 2**30
    assert record.resources.gpu_utilisation == pytest.approx(0.3)


def test_no_gpu_is_asked_for_a_step_without(project: OnDisk, nvml: machines.Nvml) -> None:
    record: RunRecord = ran(OnDisk(project.root, nvml.environment("a100-8x")), "clean").record
    assert (record.machine, record.findings) == (None, ())
