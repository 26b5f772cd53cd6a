"""The lines of a lock that say which GPU code a library carries: how they are written, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import locks
import pytest

from repro_env.errors import LockError
from repro_env.lock.dump import dump_lock
from repro_env.lock.gpu_code import GpuCode, gpu_code_of, sorted_amd, sorted_ptx, sorted_sass
from repro_env.lock.model import BuiltWheel, Lock, SourcePackage
from repro_env.lock.parse import parse_lock

KERNELS = GpuCode(path="numpy/kernels.so", sass=("70", "90", "90a", "100"), ptx=("90/8.4", "120f/8.7"))
HIP = GpuCode(path="numpy/rocm.so", amd=("gfx90a", "gfx942:xnack-"))
ODD = GpuCode(path="../../../lib/odd.so", unknown='it is cut short, "really"')
NUMPY = locks.wheel("numpy", "1.26.4").sha256


def with_code(*code: GpuCode) -> Lock:
    return replace(locks.churn(), gpu_code={NUMPY: tuple(sorted(code))})


TEXT = dump_lock(with_code(KERNELS, HIP, ODD))


def test_a_library_is_one_line_of_its_wheels_block() -> None:
    block = next(block for block in TEXT.split("\n\n") if 'name = "numpy"\nversion = "1.26.4"' in block)
    assert block.split("\n")[7:] == [
        "gpu_code = [",
        '  { path = "../../../lib/odd.so", unknown = "it is cut short, \\"really\\"" },',
        '  { path = "numpy/kernels.so", sass = "70 90 90a 100", ptx = "90/8.4 120f/8.7" },',
        '  { path = "numpy/rocm.so", amd = "gfx90a gfx942:xnack-" },',
        "]",
    ]


def test_it_comes_back_and_order_does_not_matter() -> None:
    assert parse_lock(TEXT) == with_code(KERNELS, HIP, ODD)
    moved = TEXT.replace('"70 90 90a 100"', '"100 90a 70 90"')
    assert moved != TEXT
    assert dump_lock(parse_lock(moved)) == TEXT


def test_a_wheel_that_was_built_has_it_where_it_stands() -> None:
    built = BuiltWheel(file="six-1-py3-none-any.whl", sha256=locks.digest("built"), size=9, contents=())
    sources = SourcePackage(
        name="six", version="1", file="six-1.zip", url="", sha256=locks.digest("s"), size=1, wheel=built
    )
    lock = locks.churn()
    clean = lock.steps["clean"]
    environment = replace(clean.environments[locks.AMD64], sources=(sources,))
    clean = replace(clean, environments={locks.AMD64: environment})
    lock = replace(lock, steps={**lock.steps, "clean": clean}, gpu_code={built.sha256: (KERNELS,)})
    assert parse_lock(dump_lock(lock)) == lock
    assert gpu_code_of(lock.gpu_code, (wheel.sha256 for wheel in lock.installed)) == lock.gpu_code
    assert gpu_code_of(lock.gpu_code, [NUMPY]) == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"70 90 90a 100"', '"70  90"', "package[0].gpu_code[1].sass: expected an architecture such as 90a, found ''"),
        ('"70 90 90a 100"', '"sm_70"', "sass: expected an architecture such as 90a, found 'sm_70'"),
        ('"70 90 90a 100"', '"070"', "sass: expected an architecture"),
        ('"70 90 90a 100"', '"90b"', "sass: expected an architecture"),
        ('"70 90 90a 100"', '"\u0667\u0660"', "sass: expected an architecture"),
        ('"70 90 90a 100"', '["70"]', "sass: expected a string, found a list"),
        ('"90/8.4 120f/8.7"', '"90"', "ptx: expected an architecture and a PTX version such as 90/8.4, found '90'"),
        ('"gfx90a gfx942:xnack-"', '"gfx942:xnack"', "amd: expected an AMD processor such as gfx90a"),
        ('path = "numpy/rocm.so"', 'path = "/rocm.so"', "gpu_code[2].path: expected a path relative to site-packages"),
        ('path = "numpy/rocm.so"', 'path = "a/../rocm.so"', "path: expected a path relative to site-packages"),
        ('path = "numpy/rocm.so", ', "", "gpu_code[2].path: missing"),
        ('path = "numpy/rocm.so"', 'path = "numpy/kernels.so"', "expected one or more libraries, each once"),
        ('amd = "', 'rocm = "', "gpu_code[2].rocm: unknown key"),
        (', amd = "gfx90a gfx942:xnack-"', "", "unknown: stands where nothing else is known of the library"),
        ('"gfx90a gfx942:xnack-"', '"gfx90a", unknown = "x"', "unknown: stands where nothing else is known"),
        ('"it is cut short, \\"really\\""', '"a\\nb"', "unknown: expected a reason on one line"),
    ],
)
def test_what_is_no_gpu_code_is_refused(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(LockError) as caught:
        parse_lock(TEXT.replace(old, new, 1))
    assert message in caught.value.why


def test_two_blocks_of_one_file_say_the_same() -> None:
    block = next(block for block in TEXT.split("\n\n") if "numpy/kernels.so" in block)
    assert parse_lock(f"{TEXT}\n{block}\n") == parse_lock(TEXT)
    with pytest.raises(LockError, match="damaged") as caught:
        parse_lock(f"{TEXT}\n{block.replace('90/8.4 ', '')}\n")
    assert "says something else than the same file's other block" in caught.value.why


def test_numbers_sort_as_numbers() -> None:
    assert sorted_sass(["100", "90a", "90", "100f", "75", "90"]) == ("75", "90", "90a", "100", "100f")
    assert sorted_ptx(["90/10.0", "90/9.1", "100/8.7", "90a/8.0"]) == ("90/9.1", "90/10.0", "90a/8.0", "100/8.7")
    assert sorted_amd(["gfx1100", "gfx90a", "gfx906"]) == ("gfx90a", "gfx906", "gfx1100")
    with pytest.raises(ValueError, match="expected an architecture"):
        sorted_sass(["5"])
