"""Tables where the terminal is narrow."""

from __future__ import annotations

import pytest

from repro_env.cli.columns import left_out
from repro_env.cli.status_command import StepStatus, _table

SPARED = ("packages", "environment image", "lock")
WIDTHS = {
    "step": 6,
    "lock": 6,
    "packages": 8,
    "environment image": 17,
    "last run": 20,
    "outputs": 20,
}  # 92 with what is between them


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (120, []),
        (92, []),
        (91, ["packages"]),
        (80, ["environment image"]),
        (71, ["packages", "environment image"]),
        (60, ["packages", "environment image", "lock"]),
        (10, ["packages", "environment image", "lock"]),
    ],
)
def test_what_matters_least_makes_room(room: int, expected: list[str]) -> None:
    assert list(left_out(WIDTHS, SPARED, room, 3)) == expected


def test_what_is_not_there_is_not_left_out() -> None:
    assert left_out({"step": 6}, SPARED, 1, 3) == []


def test_a_glob_is_shown_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    why = "step clean has no code at 'lib/[/x]*.py'"
    row = StepStatus(
        step="clean",
        lock="locked",
        packages=0,
        environment="",
        built=False,
        run="",
        run_status="",
        finished="",
        current=False,
        why=why,
    )
    _table([row])
    assert why in capsys.readouterr().out
