"""The table of `repro status` where the terminal is narrow."""

from __future__ import annotations

import pytest

from repro_env.cli import status_command

WIDTHS = {"step": 6, "lock": 6, "packages": 8, "environment image": 17, "last run": 20, "outputs": 20}  # 95 in all


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (120, []),
        (95, []),
        (94, ["packages"]),
        (80, ["packages", "environment image"]),
        (60, ["packages", "environment image", "lock"]),
        (10, ["packages", "environment image", "lock"]),
    ],
)
def test_what_matters_least_makes_room(width: int, left_out: list[str]) -> None:
    assert list(status_command._left_out(WIDTHS, width)) == left_out
