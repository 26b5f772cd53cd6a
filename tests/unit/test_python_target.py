"""Which platform uv resolves for and which wheel tags fit a base."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest
from packaging.tags import Tag

from repro_env.edges.uv import uv_program
from repro_env.errors import ResolutionError
from repro_env.lock.sources import PythonInputs
from repro_env.resolve.python.request import StepRequest
from repro_env.resolve.python.target import glibc_minor, ranked_tags, uv_platform
from repro_env.values import Platform, PythonVersion

REQUEST = StepRequest(
    step="clean", python=PythonVersion(11), platform=Platform("amd64"), glibc="2.36", inputs=PythonInputs()
)


@pytest.mark.parametrize(
    ("glibc", "name"),
    [
        ("2.17", "x86_64-manylinux_2_17"),
        ("2.27", "x86_64-manylinux_2_17"),
        ("2.28", "x86_64-manylinux_2_28"),
        ("2.31", "x86_64-manylinux_2_31"),
        ("2.36", "x86_64-manylinux_2_36"),
        ("2.36-9+deb12u10", "x86_64-manylinux_2_36"),
        ("2.41", "x86_64-manylinux_2_40"),
        ("2.99", "x86_64-manylinux_2_40"),
    ],
)
def test_the_newest_platform_that_the_base_can_run(glibc: str, name: str) -> None:
    assert uv_platform(replace(REQUEST, glibc=glibc)) == name


def test_another_architecture() -> None:
    assert uv_platform(replace(REQUEST, platform=Platform("arm64"))) == "aarch64-manylinux_2_36"


@pytest.mark.parametrize("glibc", ["2.16", "2.5", "3.0", "musl", ""])
def test_what_no_wheel_fits_is_refused(glibc: str) -> None:
    with pytest.raises(ResolutionError, match="step clean"):
        uv_platform(replace(REQUEST, glibc=glibc))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("minor", [17, 28, *range(31, 41)])
def test_uv_knows_every_platform_that_is_asked_of_it(machine: str, minor: int) -> None:
    platform = Platform("amd64" if machine == "x86_64" else "arm64")
    name = uv_platform(replace(REQUEST, platform=platform, glibc=f"2.{minor}"))
    words = [uv_program(), "pip", "compile", "--no-index", "--python-platform", name, "-"]
    done = subprocess.run(words, input="", text=True, capture_output=True, check=False)
    assert "invalid value" not in done.stderr


def test_tags_are_ranked_from_the_most_specific() -> None:
    tags = ranked_tags(PythonVersion(11), Platform("amd64"), 36)
    ranks = [
        tags[Tag("cp311", "cp311", "manylinux_2_36_x86_64")],
        tags[Tag("cp311", "cp311", "manylinux_2_17_x86_64")],
        tags[Tag("cp311", "cp311", "manylinux1_x86_64")],
        tags[Tag("cp311", "abi3", "manylinux2014_x86_64")],
        tags[Tag("cp38", "abi3", "manylinux2014_x86_64")],
        tags[Tag("py3", "none", "manylinux2014_x86_64")],
        tags[Tag("py3", "none", "any")],
    ]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize(
    "tag",
    [
        Tag("cp311", "cp311", "manylinux_2_37_x86_64"),
        Tag("cp311", "cp311", "manylinux_2_17_aarch64"),
        Tag("cp311", "cp311", "musllinux_1_1_x86_64"),
        Tag("cp311", "cp311", "win_amd64"),
        Tag("cp312", "cp312", "manylinux_2_17_x86_64"),
        Tag("cp311", "cp311t", "manylinux_2_17_x86_64"),
        Tag("pp311", "pypy311_pp73", "manylinux_2_17_x86_64"),
    ],
)
def test_what_does_not_fit_has_no_rank(tag: Tag) -> None:
    assert tag not in ranked_tags(PythonVersion(11), Platform("amd64"), 36)


def test_a_glibc_of_debian_is_understood() -> None:
    assert glibc_minor(replace(REQUEST, glibc="2.36")) == 36
