from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from histories import HOST, output
from records import FULL

from repro_env.record.model import Machine, RecordedGpu, RecordedOutput
from repro_env.record.repeated import (
    ComparedOutput,
    Originals,
    compare_outputs,
    ended_differently,
    machine_differences,
)


def compared(
    then: RecordedOutput,
    now: RecordedOutput | None,
    before: Path | None = None,
    after: Path = Path(),
    lines: Sequence[str] = (),
) -> ComparedOutput:
    def run_command(_words: Sequence[str], _then: Path, _now: Path) -> tuple[int, str]:
        return 1, "too far"

    originals = Originals(then=lambda _one: before, now=lambda _one: after, by_file=lambda _one, _other: lines)
    first, second = replace(FULL, outputs=(then,)), replace(FULL, outputs=(now,) if now else ())
    (found,) = compare_outputs(first, second, originals, run_command=run_command)
    return found


def test_equal_digests_need_no_bytes() -> None:
    found = compared(output("t", "a"), output("t", "a"))
    assert (found.equal, found.same_bytes, str(found)) == (True, True, "equal, byte for byte")


def test_a_file_that_became_a_directory_of_the_same_digest_is_not_the_same() -> None:
    found = compared(output("t", "a"), output("t", "a", kind="directory"))
    assert not found.same_bytes


def test_bytes_that_are_there_are_compared(tmp_path: Path) -> None:
    (tmp_path / "then").write_text("a\n")
    (tmp_path / "now").write_text("b\n")
    found = compared(output("t", "a"), output("t", "b"), tmp_path / "then", tmp_path / "now")
    assert str(found) == "differs: line 1: 'a' then, 'b' now"
    by_program = output("t", "a", compare="command: same {a} {b}")
    found = compared(by_program, output("t", "b"), tmp_path / "then", tmp_path / "now")
    assert str(found) == "differs: too far (command: same '{a}' '{b}')".replace("'", "")


def test_what_is_gone_is_said() -> None:
    found = compared(output("t", "a", compare="numeric: rtol=1e-6"), output("t", "b"), lines=["x is missing"])
    assert not found.equal
    assert str(found).endswith("the earlier one is gone, so that only the digests could be compared")
    found = compared(output("t", "a"), output("t", "b"), lines=["x is missing", "y is new"])
    assert str(found) == "differs: x is missing; 2 files differ"
    assert str(compared(output("t", "a"), None)) == "not made this time"
    assert not compared(output("t", "a"), None).equal


def test_machines_are_told_apart_likeliest_causes_first() -> None:
    gpu = RecordedGpu(index=0, name="NVIDIA A100", mig="1g.10gb")
    then = replace(FULL, host=HOST, machine=Machine(driver="550.54", gpus=(gpu,)))
    assert machine_differences(then, then) == ()
    now = replace(then, host=replace(HOST, cpus=8), machine=Machine(driver="570.86"), runtime="docker")
    assert machine_differences(then, now) == (
        "GPUs NVIDIA A100 (1g.10gb) then, unknown now",
        "driver 550.54 then, 570.86 now",
        f"runtime {then.runtime} then, docker now",
        "CPUs 16 then, 8 now",
    )


@pytest.mark.parametrize(
    ("status", "exit_status", "told"),
    [("succeeded", 0, ""), ("failed", 3, "failed with exit status 3, where the run succeeded")],
)
def test_another_end(status: str, exit_status: int, told: str) -> None:
    then = replace(FULL, status="succeeded", exit_status=0, signal=None)
    assert ended_differently(then, replace(then, status=status, exit_status=exit_status)) == told
