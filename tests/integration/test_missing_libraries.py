"""What real packages miss on real bases: named at build time, gone once it is added, and never invented."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from elfmaker import make_elf
from onestep import OneStep
from wheelmaker import WheelRecipe, make_wheel

pytestmark = pytest.mark.network

QUIET = ("numpy", "scipy", "pandas", "scikit-learn", "pyarrow", "matplotlib")


@pytest.fixture
def project(tmp_path: Path, test_cache: Path) -> OneStep:
    root = tmp_path / "seeing"
    root.mkdir()
    return OneStep(root, test_cache / "store")


@pytest.mark.bwrap
def test_opencv_on_a_slim_base_and_what_it_takes(project: OneStep) -> None:
    project.write("opencv-python<5")
    project.repro("lock")
    missing = project.built()
    (finding,) = missing["findings"]
    assert (finding["module"], finding["package"].split()[0]) == ("cv2", "opencv-python")
    assert {"libGL.so.1", "libglib-2.0.so.0"} <= set(finding["libraries"])
    assert missing["packages"]["libGL.so.1"] == "libgl1"
    assert missing["packages"]["libglib-2.0.so.0"] == "libglib2.0-0"
    said = project.repro("build").stderr
    assert "add libgl1 and libglib2.0-0 to base.slim.packages" in said
    refused = project.repro("build", "--strict", status=8)
    assert "cv2 (opencv-python" in refused.stderr
    project.write(
        "opencv-python<5",
        packages=["libgl1", "libglib2.0-0"],
        command="import cv2; print('seen', cv2.__version__)",
    )
    project.repro("lock")
    assert project.built("--strict")["findings"] == []
    ran = project.repro("exec", "look", "--runtime", "bwrap")
    assert "seen 4." in ran.stdout
    assert "needs" not in ran.stderr


@pytest.mark.parametrize(("suite", "python"), [("bookworm", "3.11"), ("trixie", "3.13")])
def test_what_most_people_use_gives_no_alarm(project: OneStep, suite: str, python: str) -> None:
    project.write(*QUIET, suite=suite, python=python)
    project.repro("lock")
    missing = project.built("--strict")
    assert (missing["checked"], missing["findings"], missing["optional"]) == (True, [], [])


def test_the_cpu_build_of_torch_gives_no_alarm(project: OneStep) -> None:
    given = os.environ.get("REPRO_TEST_TORCH_WHEEL", "")
    if not Path(given).is_file():
        pytest.skip("REPRO_TEST_TORCH_WHEEL names no wheel of torch's CPU build")
    project.write(f"torch @ {Path(given).as_uri()}")
    project.repro("lock")
    assert project.built("--strict")["findings"] == []


def test_a_wheel_for_a_newer_system_than_its_name_says(project: OneStep, tmp_path: Path) -> None:
    """Its tag promises glibc 2.28, and it was linked against 2.34: bullseye, with 2.31, cannot load it."""
    glibc = make_elf(
        tmp_path / "libc.so.6",
        soname="libc.so.6",
        versions={"GLIBC_2.28": ["old"], "GLIBC_2.34": ["recent"]},
    )
    module = make_elf(tmp_path / "core.abi3.so", needs=[glibc], calls=["old", "recent"])
    recipe = WheelRecipe(
        name="shape", files={"shape/core.abi3.so": module.read_bytes()}, tag="cp39-abi3-manylinux_2_28_x86_64"
    )
    wheel = make_wheel(tmp_path, recipe)
    project.write(f"shape @ {wheel.as_uri()}", suite="bullseye", python="3.9")
    project.repro("lock")
    (finding,) = project.built()["findings"]
    assert finding["versions"] == [{"library": "libc.so.6", "version": "GLIBC_2.34", "found": "GLIBC_2.31"}]
    said = project.repro("build").stderr
    assert "shape 1.0 needs GLIBC_2.34 (this image's glibc has GLIBC_2.31 at most)" in said
    project.write(f"shape @ {wheel.as_uri()}", suite="bookworm", python="3.11")
    project.repro("lock")
    assert project.built("--strict")["findings"] == []


def test_without_a_network_the_warning_stands(project: OneStep, tmp_path: Path) -> None:
    absent = make_elf(tmp_path / "libabsent.so.1", soname="libabsent.so.1", versions={"A_1": ["absent"]})
    module = make_elf(tmp_path / "core.abi3.so", needs=[absent], calls=["absent"])
    recipe = WheelRecipe(
        name="alone", files={"alone/core.abi3.so": module.read_bytes()}, tag="cp39-abi3-manylinux_2_28_x86_64"
    )
    project.write(f"alone @ {make_wheel(tmp_path, recipe).as_uri()}")
    project.repro("lock")
    project.built()  # what is not in the store yet is fetched
    store = Path(project.env["REPRO_STORE"])
    for path in (store / "derived" / "missing").iterdir():
        path.unlink()
    nowhere = {"REPRO_DEBIAN_MIRROR": "http://127.0.0.1:9/debian"}
    said = project.repro("build", env=nowhere).stderr
    assert "alone 1.0 needs libabsent.so.1, which nothing in this image provides: add what has it to" in said


def test_a_rebuild_says_it_again_and_asks_nobody(project: OneStep) -> None:
    project.write("lightgbm")
    project.repro("lock")
    first = project.built()
    assert [finding["libraries"] for finding in first["findings"]] == [["libgomp.so.1"]]
    assert first["packages"] == {"libgomp.so.1": "libgomp1"}
    nowhere = {"REPRO_DEBIAN_MIRROR": "http://127.0.0.1:9/debian", "UV_INDEX_URL": "http://127.0.0.1:9/simple"}
    assert project.built(env=nowhere) == first
