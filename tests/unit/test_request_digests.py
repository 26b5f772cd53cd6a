"""What makes a request another one and what does not, and what the project's other files are read for."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import pytest

from repro_env.config.model import Project
from repro_env.config.read import read_project
from repro_env.errors import ConfigError
from repro_env.lock.groups import GroupError, group_dependencies
from repro_env.lock.request import request_digests
from repro_env.lock.requirements import nested_files, requirement_lines
from repro_env.lock.script import script_header
from repro_env.lock.sources import all_python_inputs, python_inputs, request_files

PROJECT = """\
[project]
name = "churn"

[base.slim]
debian = "bookworm"
packages = ["libgomp1", "libgl1"]

[base.other]
debian = "trixie"

[data.raw]
path = "data/raw"

[step.clean]
base = "slim"
python = "3.11"
dependencies = ["pandas>=2,<3"]
requirements = ["req/base.txt"]
command = ["python", "clean.py"]
inputs = ["raw"]
outputs = { table = "build/table", log = "build/log" }
env = { A = "1", B = "2" }

[step.train]
base = "slim"
python = "3.11"
group = "train"
script = "train.py"
command = ["python", "train.py"]
"""

FILES = {
    "req/base.txt": "# ours\n-c limits.txt\nnumpy>=1.26  # for arrays\n\n-r more/extra.txt\n",
    "req/limits.txt": "numpy<3\n",
    "req/more/extra.txt": "six \\\n  >=1\n-r ../base.txt\n",
    "pyproject.toml": '[dependency-groups]\ntrain = ["torch", {include-group = "log_ging"}]\nLog-Ging = ["rich"]\n',
    "train.py": '# /// script\n# requires-python = ">=3.11"\n# dependencies = [\n#   "tqdm",\n# ]\n# ///\nprint(1)\n',
}
SLIM, OTHER, RAW = "base.slim", "base.other", "data.raw"
CLEAN, CLEAN_PYTHON, TRAIN, TRAIN_PYTHON = "step.clean", "step.clean.python", "step.train", "step.train.python"
EVERYTHING = {SLIM, OTHER, RAW, CLEAN, CLEAN_PYTHON, TRAIN, TRAIN_PYTHON}


def load(text: str, files: Mapping[str, str]) -> tuple[Project, Mapping[str, str]]:
    project = read_project(text, file="repro.toml")
    return project, request_files(project, files.get)


def moved(text: str = PROJECT, **files: str) -> set[str]:
    """Return the keys whose digest is another one than the first project's."""
    before = request_digests(*load(PROJECT, FILES))
    after = request_digests(*load(text, FILES | {name.replace("__", "/"): content for name, content in files.items()}))
    return {key for key in before | after if before.get(key) != after.get(key)}


def in_files(**changes: str) -> set[str]:
    renamed = {"base": "req/base.txt", "limits": "req/limits.txt", "extra": "req/more/extra.txt", "uv": "uv.toml"}
    names = renamed | {"pyproject": "pyproject.toml", "train": "train.py"}
    return moved(PROJECT, **{names[name]: text for name, text in changes.items()})


def test_there_is_a_digest_for_everything_asked() -> None:
    assert set(request_digests(*load(PROJECT, FILES))) == EVERYTHING


def test_the_digests_stay_what_they_are_from_version_to_version() -> None:
    """Another value here makes every lock in the world stale."""
    digests = request_digests(*load(PROJECT, FILES))
    assert {key: digest.short for key, digest in digests.items()} == {
        "base.slim": "4b6f4f919228",
        "base.other": "0e361ff45ba5",
        "data.raw": "52e3b55a1532",
        "step.clean.python": "95b9ffcff626",
        "step.clean": "e6141423db18",
        "step.train.python": "5f35a95256ff",
        "step.train": "b884d19b8391",
    }


def test_how_a_thing_is_written_does_not_matter() -> None:
    head, *tables = PROJECT.split("\n\n")
    other = "# why\n\n" + "\n\n\n".join([*reversed(tables), head])
    other = other.replace('["libgomp1", "libgl1"]', '[\n  "libgl1", # for cv2\n  "libgomp1",\n]')
    other = other.replace(
        '{ table = "build/table", log = "build/log" }', '{ log = "build/log", "table" = "./build/table" }'
    )
    other = other.replace('env = { A = "1", B = "2" }', "env.B = '2'\nenv.A = '1'")
    assert moved(other) == set()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('name = "churn"', 'name = "other"', set()),
        ('"libgl1"', '"libglx0"', {SLIM}),
        ('debian = "bookworm"', 'debian = "bookworm"\nmirror = "http://x.example/debian"', {SLIM}),
        ('debian = "bookworm"', 'debian = "trixie"', {SLIM, CLEAN, CLEAN_PYTHON, TRAIN, TRAIN_PYTHON}),
        ("data/raw", "data/new", {RAW}),
        ('"clean.py"]', '"clean.py", "--fast"]', {CLEAN}),
        ('inputs = ["raw"]', "inputs = []", {CLEAN}),
        ('"build/log"', '"build/l"', {CLEAN}),
        ('A = "1"', 'A = "2"', {CLEAN}),
        ('command = ["python", "clean.py"]', 'command = ["python", "clean.py"]\ncode = []', {CLEAN}),
        ('command = ["python", "clean.py"]', 'command = ["python", "clean.py"]\nnetwork = true', {CLEAN}),
        ("pandas>=2", "pandas>=2.1", {CLEAN, CLEAN_PYTHON}),
        ('python = "3.11"', 'python = "3.12"', {SLIM, CLEAN, CLEAN_PYTHON}),
        ('base = "slim"', 'base = "other"', {OTHER, CLEAN, CLEAN_PYTHON}),
        ('name = "churn"', 'name = "churn"\nplatforms = ["linux/arm64"]', EVERYTHING - {RAW}),
        ('group = "train"', 'dependencies = ["torch", "rich"]', {TRAIN, TRAIN_PYTHON}),
        ("[step.train]", "[step.training]", {TRAIN, TRAIN_PYTHON, "step.training", "step.training.python"}),
    ],
)
def test_what_is_asked_otherwise_moves_what_depends_on_it_alone(old: str, new: str, expected: set[str]) -> None:
    assert old in PROJECT
    assert moved(PROJECT.replace(old, new, 1)) == expected


def test_requirements_files_count_by_their_lines() -> None:
    assert in_files(base="-c   limits.txt # x\r\n\r\nnumpy>=1.26\n-r more/extra.txt") == set()
    assert in_files(extra="six >=1\n-r ../base.txt") == set()
    assert in_files(limits="numpy<4\n") == {CLEAN, CLEAN_PYTHON}
    assert in_files(extra="six>=2\n") == {CLEAN, CLEAN_PYTHON}


def test_groups_and_headers_count_by_what_they_say() -> None:
    group = FILES["pyproject.toml"]
    assert in_files(pyproject="# a comment\n[project]\nname = 'x'\n" + group + 'docs = ["sphinx"]\n') == set()
    assert in_files(pyproject=group.replace("rich", "rich>13")) == {TRAIN, TRAIN_PYTHON}
    assert in_files(train=FILES["train.py"].replace("print(1)", "print(2)").replace("#   ", "# ")) == set()
    assert in_files(train=FILES["train.py"].replace("tqdm", "tqdm>4")) == {TRAIN, TRAIN_PYTHON}
    assert in_files(train=FILES["train.py"].replace("3.11", "3.10")) == {TRAIN, TRAIN_PYTHON}


def test_the_users_uv_configuration_counts_for_every_step() -> None:
    steps = {CLEAN, CLEAN_PYTHON, TRAIN, TRAIN_PYTHON}
    assert in_files(uv='index-url = "https://index.example/simple"\n') == steps
    assert in_files(pyproject=FILES["pyproject.toml"] + "[tool.uv]\nexclude-newer = 2025-01-01T00:00:00Z\n") == steps
    script = FILES["train.py"].replace("# ///\nprint", '# [tool.uv]\n# prerelease = "allow"\n# ///\nprint')
    assert in_files(train=script) == {TRAIN, TRAIN_PYTHON}


def test_the_resolver_gets_all_that_a_step_asks() -> None:
    uv = 'no-index = true\n[[index]]\nurl = "https://index.example"\n'
    project, sources = load(PROJECT, FILES | {"uv.toml": uv, "unrelated.txt": "x"})
    assert set(sources) == {*FILES, "uv.toml"}
    inputs = all_python_inputs(project, sources)
    clean, train = inputs["clean"], inputs["train"]
    assert clean.dependencies == ("pandas>=2,<3",)
    assert clean.roots == ("req/base.txt",)
    assert list(clean.files) == ["req/base.txt", "req/limits.txt", "req/more/extra.txt"]
    assert clean.uv == {"uv.toml": {"no-index": True, "index": [{"url": "https://index.example"}]}}
    assert train.group == ("torch", "rich")
    assert train.script == ("tqdm",)
    assert train.requires_python == ">=3.11"
    assert python_inputs(project, project.steps["train"], sources) == train


def refused(*missing: str, **files: str) -> list[str]:
    found = {name: content for name, content in (FILES | files).items() if name not in missing}
    with pytest.raises(ConfigError) as caught:
        request_digests(*load(PROJECT, found))
    return caught.value.why.splitlines()


def test_every_missing_file_is_named_with_who_asks_for_it() -> None:
    assert refused("req/limits.txt", "train.py", "pyproject.toml", "req/more/extra.txt") == [
        'repro.toml:27: step.train.group: there is no file "pyproject.toml"',
        'repro.toml:28: step.train.script: there is no file "train.py"',
        'req/base.txt:2: there is no file "req/limits.txt"',
        'req/base.txt:5: there is no file "req/more/extra.txt"',
    ]
    assert refused("req/base.txt") == ['repro.toml:18: step.clean.requirements[0]: there is no file "req/base.txt"']


def test_what_is_wrong_in_the_files_is_told() -> None:
    no_group = FILES["pyproject.toml"].replace("train =", "trian =")
    assert refused(**{"pyproject.toml": no_group, "train.py": "print(1)"}) == [
        'repro.toml:27: step.train.group: pyproject.toml: there is no dependency group "train"; did you mean trian?',
        (
            "repro.toml:28: step.train.script: train.py has no # /// script header "
            "(see https://packaging.python.org/specifications/inline-script-metadata/)"
        ),
    ]
    assert refused(**{"pyproject.toml": "[x\n"}) == [
        "pyproject.toml:1: not valid TOML: expected ']' at the end of a table declaration"
    ]
    assert refused(**{"train.py": "# /// script\n# a =\n# ///\n"}) == [
        "repro.toml:28: step.train.script: the header of train.py: invalid value"
    ]
    assert refused(**{"train.py": '# /// script\n# dependencies = "x"\n# ///\n'}) == [
        "repro.toml:28: step.train.script: the script's dependencies are not a list of strings"
    ]


def header(text: str) -> object:
    return script_header(textwrap.dedent(text))


def test_a_script_header_is_read_as_the_specification_says() -> None:
    assert header('#!/usr/bin/env python\n# /// script\n# a = 1\n#\n# b = """\n# x"""\n# ///\n') == {"a": 1, "b": "x"}
    assert header("# /// script\r\n# a = 1\r\n# ///\r\n") == {"a": 1}
    assert header("# /// other\n# a = 1\n# ///\n") is None
    assert header("# /// script\n# a = 1\n") is None
    assert header("# /// script\n#a = 1\n# ///\n") is None
    assert header("x = 1\n") is None
    with pytest.raises(ValueError, match="invalid"):  # the last # /// ends the block
        header("# /// script\n# a = 1\n# ///\n# b = 2\n# ///\n")
    with pytest.raises(ValueError, match="several"):
        header("# /// script\n# a = 1\n# ///\n\n# /// script\n# b = 1\n# ///\n")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            {"a": [{"include-group": "b"}], "B": [{"include-group": "A"}]},
            "dependency groups include each other: a -> b -> a",
        ),
        ({"a": "x"}, 'dependency group "a" is not a list'),
        ({"a": [1]}, 'dependency group "a" holds what is neither a requirement nor an include-group'),
        ({"a": [{"include-group": "a", "x": 1}]}, 'dependency group "a" holds what is neither'),
        ({"a": [], "A": []}, 'dependency-groups has "A" under two spellings'),
        ({"b": []}, 'there is no dependency group "a"'),
        ([], "dependency-groups is not a table"),
    ],
)
def test_a_dependency_group_that_cannot_be_expanded_is_refused(groups: object, message: str) -> None:
    with pytest.raises(GroupError) as caught:
        group_dependencies({"dependency-groups": groups}, "a")
    assert str(caught.value).startswith(message)


def test_a_group_included_twice_is_not_a_cycle() -> None:
    groups = {"a": [{"include-group": "c"}, "x", {"include-group": "b"}], "b": [{"include-group": "c"}], "c": ["y; m"]}
    assert group_dependencies({"dependency-groups": groups}, "A") == ("y; m", "x", "y; m")


def test_requirements_lines() -> None:
    text = "\ufeffa  >=1\n  # c\nb#not a comment\nc @ https://x.example/c.whl#sha256=00 # why\n"
    text += "\nd \\\r\n --hash=sha256:1 \\\n --x\n# C:\\\ne # and \\\nf\n"
    assert requirement_lines(text) == (
        "a >=1",
        "b#not a comment",
        "c @ https://x.example/c.whl#sha256=00",
        "d --hash=sha256:1 --x",
        "e",
        "f",
    )


def test_files_that_a_requirements_file_names() -> None:
    text = '-r a.txt\n--requirement=b.txt\n-c ../c.txt\n--constraint "d e.txt"\n-rf.txt\n'
    text += "-r https://x.example/g.txt\n-e ./h\n"
    assert nested_files(text, "req/base.txt") == ("req/a.txt", "req/b.txt", "c.txt", "req/d e.txt", "req/f.txt")
