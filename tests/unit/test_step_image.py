"""What a step's image says of itself to whatever starts it, `repro` or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import locks
import pytest

from repro_env.build.code import Code
from repro_env.build.native import step_image
from repro_env.image.oci import Image
from repro_env.image.store import Store


@pytest.mark.parametrize(
    ("step", "places"),
    [
        (
            "clean",
            {"REPRO_DATA_RAW": "/repro/input/raw/raw", "REPRO_OUTPUT_TABLE": "/repro/output/build/table.parquet"},
        ),
        (
            "train",
            {
                "REPRO_INPUT_CLEAN_TABLE": "/repro/input/clean.table/table.parquet",
                "REPRO_OUTPUT_LOG": "/repro/output/build/日誌.txt",
                "REPRO_OUTPUT_MODEL": "/repro/output/build/model.pt",
            },
        ),
    ],
)
def test_places_are_called_as_in_a_run(tmp_path: Path, step: str, places: dict[str, str]) -> None:
    lock, base = locks.churn(), Image(platform=locks.AMD64, layers=(), env={"PATH": "/bin"})
    image = step_image(lock, lock.steps[step], locks.AMD64, base, code=Code(()), store=Store(tmp_path))
    assert {name: value for name, value in image.env.items() if name.startswith("REPRO_")} == {
        "REPRO_STEP": step,
        **places,
    }


def test_settings_that_are_asked_for_are_the_images_and_the_steps_own_go_first(tmp_path: Path) -> None:
    lock, base = locks.churn(), Image(platform=locks.AMD64, layers=(), env={"OMP_NUM_THREADS": "3"})
    asked = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    for own, expected in (({}, "1"), ({"OMP_NUM_THREADS": "8"}, "8")):
        step = replace(lock.steps["clean"], deterministic=asked, env=own)
        image = step_image(lock, step, locks.AMD64, base, code=Code(()), store=Store(tmp_path))
        assert (image.env["OMP_NUM_THREADS"], image.env["PYTHONHASHSEED"]) == (expected, "0")
