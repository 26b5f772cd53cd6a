"""Whatever stands in `repro.toml`, it is a project or a `ConfigError` whose every problem has a place."""

from __future__ import annotations

import copy
from typing import Any

import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from repro_env.config.model import Project
from repro_env.config.read import read_project
from repro_env.errors import ConfigError

GOOD: dict[str, Any] = {
    "project": {"name": "churn", "platforms": ["linux/amd64"]},
    "base": {"slim": {"debian": "bookworm", "packages": ["libgomp1"], "mirror": "http://x.example/debian"}},
    "data": {"raw": {"path": "data/raw"}},
    "step": {
        "clean": {
            "base": "slim",
            "python": "3.11",
            "dependencies": ["pandas>=2,<3"],
            "requirements": ["base.txt"],
            "group": "clean",
            "script": "clean.py",
            "command": ["python", "clean.py", "{data.raw}", "{output.table}"],
            "inputs": ["raw"],
            "outputs": {"table": "build/table"},
            "code": ["clean.py"],
            "env": {"A": "b"},
            "secrets": ["HF_TOKEN"],
            "network": True,
        },
        "train": {"base": "slim", "python": "3.11", "command": ["train"], "inputs": ["clean.table"]},
    },
}
TEXT = tomlkit.dumps(GOOD)

words = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ["clean.table", "train.x", "../x", "{data.y}"]
)
values = st.recursive(
    st.integers(-3, 3) | st.booleans() | st.floats() | st.datetimes() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


def read(text: str) -> Project | None:
    """Read a text, and check the error if it gives one."""
    try:
        return read_project(text, file="repro.toml")
    except ConfigError as error:
        wrong = error
    assert wrong.problems
    lines = text.count("\n") + 1
    assert all(0 <= problem.line <= lines and problem.message for problem in wrong.problems)
    return None


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_any_value_anywhere(data: st.DataObject) -> None:
    document = copy.deepcopy(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        table = document
        while True:
            key = data.draw(st.sampled_from(sorted(table)) | words) if table else data.draw(words)
            if not isinstance(table.get(key), dict) or data.draw(st.integers(0, 4)) == 0:
                break
            table = table[key]
        table[key] = data.draw(values)
    read(tomlkit.dumps(document))


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_any_damage_to_the_text(data: st.DataObject) -> None:
    text = TEXT
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        put = data.draw(words | st.sampled_from(["\n", '"', "[", "]", "=", "#", '"""', "{", "}"]))
        text = text[:start] + put + text[start + data.draw(st.integers(0, 20)) :]
    read(text)


def test_the_undamaged_text_is_a_project() -> None:
    project = read(TEXT)
    assert project is not None
    assert list(project.steps) == ["clean", "train"]
