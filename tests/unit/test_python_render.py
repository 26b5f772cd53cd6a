"""What uv is given for a step: files and arguments, whole."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from repro_env.lock.model import Wheel
from repro_env.lock.sources import PythonInputs
from repro_env.resolve.python.render import Rendering, asks_for_anything, preferences, render
from repro_env.resolve.python.request import StepRequest
from repro_env.values import Digest, Platform, PythonVersion

PROJECT, DIRECTORY = Path("/project"), Path("/temporary")
WHEEL = Wheel(name="numpy", version="1.26.4", file="n.whl", url="https://u:p@h/n.whl", sha256=Digest.of(b""), size=1)


def rendered(
    *, upgrade: bool = False, packages: tuple[str, ...] = (), inputs: PythonInputs | None = None, **request: Any
) -> Rendering:
    asked = StepRequest(
        step="clean",
        python=PythonVersion(11),
        platform=Platform("amd64"),
        glibc="2.36",
        inputs=inputs or PythonInputs(),
        **request,
    )
    return render(asked, project=PROJECT, directory=DIRECTORY, upgrade=upgrade, upgrade_packages=packages)


def own_arguments(rendering: Rendering) -> list[str]:
    """Return the arguments after those that every call has."""
    words = list(rendering.arguments)
    return words[words.index("--output-file=/temporary/pylock.toml") + 1 :]


def project(rendering: Rendering, name: str = "step") -> Mapping[str, Any]:
    return tomllib.loads(rendering.files[f"{name}/pyproject.toml"])


def test_every_call_says_what_is_resolved_for() -> None:
    words = rendered(interpreter="3.11.2").arguments
    assert words[:2] == ("pip", "compile")
    for word in (
        "--only-binary=:all:",
        "--generate-hashes",
        "--format=pylock.toml",
        "--python-version=3.11.2",
        "--python-platform=x86_64-manylinux_2_36",
    ):
        assert word in words


def test_a_list_of_dependencies_becomes_a_project() -> None:
    rendering = rendered(inputs=PythonInputs(dependencies=("numpy<2", 'a; python_version < "3.12"')))
    assert own_arguments(rendering) == ["/temporary/step/pyproject.toml"]
    assert project(rendering)["project"]["dependencies"] == ["numpy<2", 'a; python_version < "3.12"']


def test_requirements_files_and_groups_are_read_where_they_are() -> None:
    inputs = PythonInputs(roots=("req/a.txt", "b.txt"), group=("numpy",))
    assert own_arguments(rendered(inputs=inputs, group="train")) == [
        "--group=pyproject.toml:train",
        "./req/a.txt",
        "./b.txt",
    ]


def test_the_users_sources_and_indexes_go_along_with_absolute_paths() -> None:
    uv = {
        "pyproject.toml": {
            "sources": {
                "torch": {"index": "torch"},
                "own": [
                    {"path": "wheels/own-1.whl", "marker": "sys_platform == 'linux'"},
                    {"url": "https://h/own.whl", "extra": "x"},
                    {"git": "https://h/own", "group": "y"},
                ],
            },
            "index": [
                {"name": "torch", "url": "https://h/torch", "explicit": True},
                {"name": "here", "url": "./index"},
            ],
            "find-links": ["found by uv itself"],
        }
    }
    document = project(rendered(inputs=PythonInputs(dependencies=("torch", "own"), uv=uv)))
    assert document["tool"]["uv"] == {
        "sources": {
            "torch": [{"index": "torch"}],
            "own": [{"path": "/project/wheels/own-1.whl", "marker": "sys_platform == 'linux'"}],
        },
        "index": [
            {"name": "torch", "url": "https://h/torch", "explicit": True},
            {"name": "here", "url": "/project/index"},
        ],
    }


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("own @ ./wheels/own-1.whl", "own @ file:///project/wheels/own-1.whl"),
        (
            'own[x] @ ../own-1.whl ; python_version > "3"',
            'own[x] @ file:///own-1.whl ; python_version > "3"',
        ),
        ("own @ https://h/own-1.whl", "own @ https://h/own-1.whl"),
        ("own @ file:///w/own-1.whl", "own @ file:///w/own-1.whl"),
    ],
)
def test_a_relative_direct_reference_is_of_the_project(given: str, made: str) -> None:
    assert project(rendered(inputs=PythonInputs(dependencies=(given,))))["project"]["dependencies"] == [made]


def test_a_scripts_own_configuration_is_passed_for_it_alone() -> None:
    uv = {
        "tools/train.py": {
            "sources": {"own": {"path": "own-1.whl"}},
            "index": [
                {"name": "a", "url": "https://h/a"},
                {"url": "https://h/default", "default": True},
                {"name": "x", "url": "https://h/x", "explicit": True},
                {"url": "flat", "format": "flat"},
            ],
            "find-links": ["wheels"],
            "no-index": True,
            "exclude-newer": "2025-01-01",
            "constraint-dependencies": ["six<2"],
            "override-dependencies": ["idna==3"],
        },
        "pyproject.toml": {"sources": {"other": {"index": "y"}}},
    }
    rendering = rendered(inputs=PythonInputs(script=("own",), uv=uv), script="tools/train.py")
    assert own_arguments(rendering) == [
        "--index=a=https://h/a",
        "--default-index=https://h/default",
        "--find-links=/project/tools/flat",
        "--find-links=/project/tools/wheels",
        "--no-index",
        "--exclude-newer=2025-01-01",
        "--constraints=/temporary/script/constraints.txt",
        "--overrides=/temporary/script/overrides.txt",
        "/temporary/script/pyproject.toml",
    ]
    assert rendering.files["script/constraints.txt"] == "six<2\n"
    assert rendering.files["script/overrides.txt"] == "idna==3\n"
    assert project(rendering, "script")["tool"]["uv"]["sources"] == {"own": [{"path": "/project/tools/own-1.whl"}]}


def test_earlier_pins_are_preferences_unless_all_is_upgraded() -> None:
    kept = rendered(previous=(WHEEL,))
    assert tomllib.loads(kept.files["pylock.toml"])["packages"] == [{"name": "numpy", "version": "1.26.4"}]
    assert rendered(previous=(WHEEL,), upgrade=True).files == {}
    assert "--upgrade" in rendered(previous=(WHEEL,), upgrade=True).arguments
    assert rendered().files == {}


def test_single_packages_are_upgraded_by_name() -> None:
    assert own_arguments(rendered(packages=("b", "a"))) == ["--upgrade-package=a", "--upgrade-package=b"]


def test_preferences_hold_neither_url_nor_credentials() -> None:
    assert "u:p" not in preferences([WHEEL])


@pytest.mark.parametrize(
    ("inputs", "asks"),
    [
        (PythonInputs(), False),
        (PythonInputs(uv={"uv.toml": {"index": []}}), False),
        (PythonInputs(dependencies=("a",)), True),
        (PythonInputs(group=("a",)), True),
        (PythonInputs(script=("a",)), True),
        (PythonInputs(roots=("a.txt",)), True),
    ],
)
def test_a_step_without_dependencies_asks_for_nothing(inputs: PythonInputs, asks: bool) -> None:
    request = StepRequest(
        step="clean", python=PythonVersion(11), platform=Platform("amd64"), glibc="2.36", inputs=inputs
    )
    assert asks_for_anything(request) is asks


def test_pytorchs_own_index_is_uvs_to_name() -> None:
    inputs = PythonInputs(dependencies=("torch",))
    assert own_arguments(rendered(inputs=inputs, torch_backend="cu128"))[0] == "--torch-backend=cu128"


def test_a_mirror_of_it_is_an_index_of_files_that_goes_first() -> None:
    asked = StepRequest(
        step="train",
        python=PythonVersion(11),
        platform=Platform("amd64"),
        glibc="2.36",
        inputs=PythonInputs(dependencies=("torch",)),
        torch_backend="cu128",
    )
    rendering = render(
        asked, project=PROJECT, directory=DIRECTORY, upgrade=False, upgrade_packages=(), torch={"torch": "<a>"}
    )
    assert own_arguments(rendering)[0] == "--index=torch-index=file:///temporary/torch-index"
    assert rendering.files["torch-index/torch/index.html"] == "<a>"
