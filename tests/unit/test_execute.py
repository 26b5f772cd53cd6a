from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tiny

from repro_env.edges.child import Ended
from repro_env.errors import RuntimeUnavailableError, StoreError
from repro_env.lock.places import Roots
from repro_env.run.execute import LOG, REPLACED, OutputError, execute, make_run_directory, move_into_place
from repro_env.run.gpus import NOTHING, GpuGrant, Passing
from repro_env.run.plan import RunPlan
from repro_env.run.runtimes.base import Needs, Unavailable


@dataclass
class Pretended:
    """A runtime that does what a test says instead of the plan's command."""

    action: Callable[[Path], object] = field(default=lambda _output: None)
    status: int = 0
    name: str = "pretended"
    needs: Needs = Needs.WHEELS

    def roots(self, *, code: Path, run: Path) -> Roots:
        return Roots(code=str(code), input=str(run / "input"), output=str(run / "output"))

    def unavailable(self) -> Unavailable | None:
        return None

    def pass_gpus(self, grant: GpuGrant) -> Passing:
        return NOTHING

    def not_isolated(self, plan: RunPlan) -> tuple[str, ...]:
        return ()

    def run(self, plan: RunPlan, *, log: Path | None) -> Ended:
        self.action(plan.output)
        return Ended(status=self.status, peak_memory=1, cpu_seconds=0.5)


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    step = tiny.tiny_step("x", outputs={"table": "build/table.csv", "model": "build/models/best"})
    return tiny.tiny_plan(step, tmp_path, image=None)


def write(output: Path, table: str = "new", model: str = "new") -> None:
    (output / "build/table.csv").write_text(table)
    (output / "build/models/best").mkdir()
    (output / "build/models/best/weights").write_text(model)


def test_outputs_take_their_places(plan: RunPlan, tmp_path: Path) -> None:
    project = tmp_path / "project"
    outcome = execute(plan, Pretended(write), project=project)
    assert (project / "build/table.csv").read_text() == "new"
    assert (project / "build/models/best/weights").read_text() == "new"
    assert outcome.outputs == {"table": project / "build/table.csv", "model": project / "build/models/best"}
    assert outcome.kept is None
    assert not plan.output.exists()
    assert outcome.status == 0
    assert outcome.ended.cpu_seconds == 0.5
    assert outcome.log == plan.output.parent / LOG
    assert outcome.started <= outcome.finished
    assert outcome.wall_seconds >= 0


def test_old_outputs_are_replaced_whatever_they_were(plan: RunPlan, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "build/table.csv/was-a-directory").mkdir(parents=True)
    (project / "build/models").mkdir()
    (project / "build/models/best").write_text("was a file")
    execute(plan, Pretended(write), project=project)
    assert (project / "build/table.csv").read_text() == "new"
    assert (project / "build/models/best/weights").read_text() == "new"
    assert sorted(os.listdir(project / "build")) == ["models", "table.csv"]
    assert os.listdir(project / "build/models") == ["best"]


def test_an_old_directory_is_not_removed_before_the_run_is_recorded(plan: RunPlan, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "build/models/best").mkdir(parents=True)
    (project / "build/models/best/weights").write_text("old")
    execute(plan, Pretended(write), project=project)
    assert (project / "build/models/best/weights").read_text() == "new"
    assert (plan.output.parent / REPLACED / "model/weights").read_text() == "old"
    assert os.listdir(project / "build/models") == ["best"]


def test_a_link_in_the_project_is_replaced_and_what_it_leads_to_stays(plan: RunPlan, tmp_path: Path) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    (project / "build/models").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    (project / "build/models/best").symlink_to(elsewhere)
    (project / "build/table.csv").symlink_to(elsewhere / "precious")
    execute(plan, Pretended(write), project=project)
    assert (elsewhere / "precious").read_text() == "x"
    assert not (project / "build/models/best").is_symlink()
    assert (project / "build/table.csv").read_text() == "new"


def test_a_failed_run_changes_nothing_and_keeps_what_it_wrote(plan: RunPlan, tmp_path: Path) -> None:
    project = tmp_path / "project"
    outcome = execute(plan, Pretended(write, status=137), project=project)
    assert not project.exists()
    assert outcome.outputs == {}
    assert outcome.kept == plan.output
    assert (plan.output / "build/table.csv").read_text() == "new"
    assert (outcome.status, outcome.ended.signal) == (137, 9)


def test_a_failed_run_that_wrote_nothing_keeps_nothing(plan: RunPlan, tmp_path: Path) -> None:
    outcome = execute(plan, Pretended(status=1), project=tmp_path / "project")
    assert outcome.kept is None
    assert outcome.ended.signal is None
    assert not plan.output.exists()


def test_what_was_not_declared_is_kept_beside_the_record(plan: RunPlan, tmp_path: Path) -> None:
    def action(output: Path) -> None:
        write(output)
        (output / "extra.txt").write_text("x")

    outcome = execute(plan, Pretended(action), project=tmp_path / "project")
    assert outcome.kept == plan.output
    assert os.listdir(plan.output) == ["extra.txt"]


def test_every_missing_output_is_named_and_none_is_moved(plan: RunPlan, tmp_path: Path) -> None:
    def action(output: Path) -> None:
        (output / "build/table.csv").symlink_to("/etc/passwd")

    with pytest.raises(OutputError) as caught:
        execute(plan, Pretended(action), project=tmp_path / "project")
    assert "train ended well without making what it declares" in caught.value.what
    assert "table: build/table.csv is a symbolic link" in caught.value.why
    assert "model: nothing was written at /repro/output/build/models/best" in caught.value.why
    assert str(plan.output) in caught.value.hint
    assert caught.value.exec_status == 124
    assert not (tmp_path / "project").exists()


def test_what_a_step_leads_to_by_a_link_is_not_taken_for_its_output(plan: RunPlan, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "models/best").mkdir(parents=True)
    (elsewhere / "table.csv").write_text("precious")

    def action(output: Path) -> None:
        shutil.rmtree(output / "build")
        (output / "build").symlink_to(elsewhere)

    with pytest.raises(OutputError) as caught:
        execute(plan, Pretended(action), project=tmp_path / "project")
    assert "table: build is a symbolic link" in caught.value.why
    assert (elsewhere / "table.csv").read_text() == "precious"


def test_a_runtime_that_cannot_start_leaves_no_output_directory(plan: RunPlan, tmp_path: Path) -> None:
    def action(_output: Path) -> None:
        raise RuntimeUnavailableError("cannot")

    with pytest.raises(RuntimeUnavailableError):
        execute(plan, Pretended(action), project=tmp_path / "project")
    assert not plan.output.exists()


def test_an_output_that_cannot_take_its_place_is_not_lost(plan: RunPlan, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "build").write_text("a file where a directory has to be")
    with pytest.raises(StoreError, match=r"cannot move output table to build/table\.csv"):
        execute(plan, Pretended(write), project=project)
    assert (plan.output / "build/table.csv").read_text() == "new"


def test_a_move_that_fails_puts_both_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for path, text in ((source, "new"), (target, "old")):
        path.mkdir()
        (path / "file").write_text(text)
    rename = os.rename

    def second_fails(old: Path, new: Path) -> None:
        if Path(new) == target and ".old" not in str(old):
            raise OSError(errno.EIO, "Input/output error")
        rename(old, new)

    monkeypatch.setattr("os.rename", second_fails)
    with pytest.raises(OSError, match="Input/output"):
        move_into_place(source, target)
    assert (source / "file").read_text() == "new"
    assert (target / "file").read_text() == "old"


@pytest.mark.parametrize("directory", [False, True])
def test_across_file_systems_a_copy_takes_the_place(tmp_path: Path, directory: bool) -> None:
    memory = Path("/dev/shm")  # a tmpfs on every Linux machine
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    source = memory / f"repro-test-{os.getpid()}"
    try:
        if directory:
            source.mkdir()
            (source / "a").write_text("x")
            (source / "link").symlink_to("a")
        else:
            source.write_text("x")
            source.chmod(0o755)
        move_into_place(source, tmp_path / "new" / "target")
        assert not source.exists()
    finally:
        shutil.rmtree(source, ignore_errors=True)
        source.unlink(missing_ok=True)
    target = tmp_path / "new" / "target"
    assert os.listdir(tmp_path / "new") == ["target"]
    if directory:
        assert os.readlink(target / "link") == "a"
    else:
        assert target.stat().st_mode & 0o777 == 0o755


def test_a_runs_directory_is_its_own(tmp_path: Path) -> None:
    assert make_run_directory(tmp_path, "r1") == tmp_path / ".repro/runs/r1"
    with pytest.raises(StoreError, match="cannot make"):
        make_run_directory(tmp_path, "r1")
