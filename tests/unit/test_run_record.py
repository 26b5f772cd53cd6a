from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import records
from records import END, FULL, START, TABLE

from repro_env.errors import StoreError, UsageError
from repro_env.record.facts import host_facts
from repro_env.record.model import (
    RunRecord,
)
from repro_env.record.read_statement import from_statement
from repro_env.record.runs import RECORD, document, find_run, list_runs, new_run_id, read_record, recording


def begun(step: str = "clean", *, at: datetime = START, random: str = "3f2a") -> RunRecord:
    return RunRecord(
        id=new_run_id(step, at, lambda _count: random),
        project="penguins",
        step=step,
        status="started",
        started=at,
        command=("true",),
        runtime="venv",
    )


def directory_of(project: Path, record: RunRecord) -> Path:
    return project / ".repro" / "runs" / record.id


def finish(project: Path, record: RunRecord, **changes: Any) -> RunRecord:
    with recording(directory_of(project, record), record, now=lambda: END) as run:
        return run.conclude(**{"status": "succeeded", "finished": END, "exit_status": 0, **changes})


# Begun and concluded


def test_a_run_is_recorded_before_it_starts_and_after_it_ended(tmp_path: Path) -> None:
    record = begun()
    directory = directory_of(tmp_path, record)
    with recording(directory, record, now=lambda: END) as run:
        assert read_record(directory) == record
        done = run.conclude(status="succeeded", finished=END, exit_status=0, outputs=(TABLE,))
    assert read_record(directory) == done == replace(
        record, status="succeeded", finished=END, exit_status=0, outputs=(TABLE,)
    )  # fmt: skip
    assert [path.name for path in directory.iterdir()] == [RECORD]


def test_a_record_is_on_the_disk_before_its_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record, flushed = begun(), []
    directory = directory_of(tmp_path, record)
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        flushed.append(os.path.samestat(os.fstat(descriptor), directory.stat()))
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", noted)
    with recording(directory, record, now=lambda: END) as run:
        assert flushed == [False, True], "the file, then its name"
        run.conclude(status="succeeded", finished=END)
        assert flushed == [False, True] * 2


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "interrupted"), (StoreError, "failed")])
def test_a_run_that_is_broken_off_says_so(tmp_path: Path, error: type[BaseException], status: str) -> None:
    record = begun()

    def break_off() -> None:
        with recording(directory_of(tmp_path, record), record, now=lambda: END):
            raise error("broken off")

    with pytest.raises(error):
        break_off()
    assert read_record(directory_of(tmp_path, record)) == replace(record, status=status, finished=END)


def test_an_error_after_the_conclusion_changes_nothing(tmp_path: Path) -> None:
    record = begun()

    def fail_late() -> None:
        with recording(directory_of(tmp_path, record), record, now=lambda: END) as run:
            run.conclude(status="succeeded", finished=END, exit_status=0)
            raise StoreError("late")

    with pytest.raises(StoreError):
        fail_late()
    assert read_record(directory_of(tmp_path, record)).status == "succeeded"


def test_a_run_whose_process_was_killed_is_interrupted_and_a_living_one_is_not(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    program = f"""
import sys, time
sys.path[:0] = {[str(Path(__file__).parent), str(Path(records.__file__).parent)]!r}
from pathlib import Path
from test_run_record import END, begun, recording
with recording(Path({str(directory)!r}), begun(), now=lambda: END):
    print("begun", flush=True)
    time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        assert read_record(directory).status == "started"
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        child.communicate()
    assert read_record(directory).status == "interrupted"
    assert from_statement(json.loads((directory / RECORD).read_text())).status == "started"


def test_a_run_that_ends_while_it_is_looked_at_is_not_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = begun()
    directory = directory_of(tmp_path, record)
    with recording(directory, record, now=lambda: END) as run:

        def end_now(_directory: Path) -> bool:
            run.conclude(status="succeeded", finished=END, exit_status=0)
            return False

        monkeypatch.setattr("repro_env.record.runs._lives", end_now)
        assert read_record(directory).status == "succeeded"


def test_a_record_that_cannot_be_written_is_an_error_with_its_place(tmp_path: Path) -> None:
    (tmp_path / ".repro").write_text("a file where the directory should be")
    with (
        pytest.raises(StoreError, match="cannot write to"),
        recording(directory_of(tmp_path, begun()), begun(), now=lambda: END),
    ):
        pass


def test_times_are_in_utc() -> None:
    tokyo = timezone(timedelta(hours=9))
    assert new_run_id("clean", START.astimezone(tokyo), lambda _count: "00ff") == "20261123T043354Z-clean-00ff"


# The list


def test_runs_are_listed_newest_first(tmp_path: Path) -> None:
    old = finish(tmp_path, begun(at=START, random="ffff"))
    new = finish(tmp_path, begun(at=START + timedelta(milliseconds=500), random="0000"))
    other = finish(tmp_path, begun("train", at=START + timedelta(hours=1)))
    runs = list_runs(tmp_path)
    assert runs.records == (other, new, old)
    assert runs.last("clean") == new
    assert runs.last("report") is None
    assert runs.damaged == ()


def test_runs_that_repeat_others_are_not_the_last_of_their_step(tmp_path: Path) -> None:
    own = finish(tmp_path, begun())
    again = finish(tmp_path, begun(at=START + timedelta(hours=1)), reproduces=own.id)
    other = finish(tmp_path, begun("train", at=START + timedelta(hours=2)), reproduces="elsewhere")
    runs = list_runs(tmp_path)
    assert list(runs.own) == [own]
    assert runs.last("clean") == runs.last_success("clean") == own
    assert runs.last("train") is None
    assert find_run(tmp_path, "clean").record == own
    assert find_run(tmp_path, "train").record == other
    assert find_run(tmp_path, "last").record == other
    assert find_run(tmp_path, again.id).record == again


def test_runs_of_some_steps_are_read_alone(tmp_path: Path) -> None:
    clean, train = finish(tmp_path, begun("clean-up")), finish(tmp_path, begun("train"))
    (directory_of(tmp_path, train) / RECORD).write_text("{")
    runs = list_runs(tmp_path, ("clean-up",))
    assert (runs.records, runs.damaged) == ((clean,), ())
    assert list_runs(tmp_path, ()).records == ()


def test_no_runs_are_no_error(tmp_path: Path) -> None:
    assert list_runs(tmp_path).records == ()


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda path: path.write_text("{"), "record.json: it is cut off"),
        (lambda path: path.write_text("{]}"), "record.json: Expecting property name"),
        (lambda path: path.write_text(""), "record.json: it is empty"),
        (lambda path: path.write_bytes(b"\xff\xfe\xff"), "record.json: "),
        (lambda path: path.write_text("[" * 100_000), "record.json: it is nested too deep"),
        (lambda path: path.write_text("{}"), "record.json: _type is missing"),
    ],
)
def test_damaged_records_are_listed_apart(tmp_path: Path, damage: Callable[[Path], object], why: str) -> None:
    good = finish(tmp_path, begun())
    bad = finish(tmp_path, begun("train"))
    damage(directory_of(tmp_path, bad) / RECORD)
    (tmp_path / ".repro" / "runs" / "stray").write_text("no run")
    runs = list_runs(tmp_path)
    assert runs.records == (good,)
    assert [item.directory.name for item in runs.damaged] == [bad.id]
    assert runs.damaged[0].why.startswith(why)


def test_what_was_killed_before_it_began_is_no_run(tmp_path: Path) -> None:
    good = finish(tmp_path, begun())
    (tmp_path / ".repro" / "runs" / "20261123T043355Z-train-3f2a" / "code").mkdir(parents=True)
    runs = list_runs(tmp_path)
    assert (runs.records, runs.damaged) == ((good,), ())


def test_a_thousand_runs_are_listed_quickly(tmp_path: Path) -> None:
    for number in range(1000):
        record = replace(FULL, id=f"{number:04}", started=START + timedelta(seconds=number))
        directory = directory_of(tmp_path, record)
        directory.mkdir(parents=True)
        (directory / RECORD).write_bytes(document(record))
    began = time.perf_counter()
    assert len(list_runs(tmp_path).records) == 1000
    assert time.perf_counter() - began < 2


# One run, by what a person types


def test_a_run_is_found_by_what_a_person_types(tmp_path: Path) -> None:
    old = finish(tmp_path, begun(at=START, random="ffff"))
    new = finish(tmp_path, begun("train", at=START + timedelta(hours=1), random="0000"))
    for text, meant in [
        ("last", new),
        (old.id, old),
        ("20261123T04", old),
        ("clean", old),
        ("train", new),
        ("0000", new),
        (str(directory_of(tmp_path, old)), old),
        (str(directory_of(tmp_path, old) / RECORD), old),
    ]:
        found = find_run(tmp_path, text)
        assert (found.record, found.directory) == (meant, directory_of(tmp_path, meant)), text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("20261123", "20261123 is the beginning of 2 runs"),
        ("20261123T053354Z-tarin-0000", "near are\n.*20261123T053354Z-train-0000"),
        ("", "there is no run ''"),
        ("./nothing", "there is no record at nothing"),
    ],
)
def test_what_means_no_run_is_refused(tmp_path: Path, text: str, message: str) -> None:
    finish(tmp_path, begun(at=START, random="ffff"))
    finish(tmp_path, begun("train", at=START + timedelta(hours=1), random="0000"))
    with pytest.raises(UsageError) as caught:
        find_run(tmp_path, text)
    assert re.search(message, str(caught.value))


def test_nothing_was_run_yet(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no last run"):
        find_run(tmp_path, "last")
    with pytest.raises(UsageError, match="there is no run 'clean'"):
        find_run(tmp_path, "clean")


def test_a_damaged_record_that_is_asked_for_is_told(tmp_path: Path) -> None:
    bad = finish(tmp_path, begun())
    (directory_of(tmp_path, bad) / RECORD).write_text("{")
    with pytest.raises(StoreError, match=r"the record of run .*-clean-3f2a cannot be read"):
        find_run(tmp_path, "20261123")
    with pytest.raises(StoreError, match=r"is no record of a run"):
        find_run(tmp_path, str(directory_of(tmp_path, bad)))


# Facts


def test_the_host_is_told_without_its_name() -> None:
    facts = host_facts()
    assert facts.cpus == len(os.sched_getaffinity(0))
    assert facts.memory > 2**28
    assert facts.kernel.startswith("Linux ")
    assert os.uname().nodename not in {facts.system, facts.kernel, facts.processor}


def test_a_host_that_says_little_is_no_error(tmp_path: Path) -> None:
    assert (host_facts(tmp_path).system, host_facts(tmp_path).processor) == ("", "")
