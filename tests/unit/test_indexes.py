"""Which Python indexes a user has configured."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro_env.edges.credentials import Index
from repro_env.edges.indexes import PYPI, configured_indexes


def indexes(project: Path, **environ: str) -> list[Index]:
    return configured_indexes(project, {"HOME": str(project / "home"), "XDG_CONFIG_DIRS": "/nonexistent", **environ})


def test_without_any_it_is_pypi(tmp_path: Path) -> None:
    assert indexes(tmp_path) == [Index(url=PYPI)]


def test_of_the_projects_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        """
        [tool.uv]
        find-links = ["wheels", "https://h/flat"]
        [[tool.uv.index]]
        name = "torch"
        url = "https://h/torch"
        explicit = true
        [[tool.uv.index]]
        name = "flat"
        url = "https://h/list"
        format = "flat"
        """
    )
    assert indexes(tmp_path) == [
        Index(name="torch", url="https://h/torch"),
        Index(name="flat", url="https://h/list", flat=True),
        Index(url=f"file://{tmp_path}/wheels", flat=True),
        Index(url="https://h/flat", flat=True),
        Index(url=PYPI),
    ]


def test_of_uv_toml_instead_of_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[[tool.uv.index]]\nurl = "https://h/a"')
    (tmp_path / "uv.toml").write_text('[[index]]\nurl = "https://h/b"\ndefault = true')
    assert indexes(tmp_path) == [Index(url="https://h/b")]


def test_of_a_directory_above(tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text('find-links = ["wheels"]\nno-index = true')
    project = tmp_path / "a" / "b"
    project.mkdir(parents=True)
    (project / "pyproject.toml").write_text('[project]\nname = "x"')
    assert indexes(project) == [Index(url=f"file://{tmp_path}/wheels", flat=True)]


def test_of_the_user_after_the_projects(tmp_path: Path) -> None:
    user = tmp_path / "home" / ".config" / "uv" / "uv.toml"
    user.parent.mkdir(parents=True)
    user.write_text('index-url = "https://h/user"\nextra-index-url = ["https://h/extra"]')
    (tmp_path / "uv.toml").write_text('[[index]]\nurl = "https://h/project"')
    assert [index.url for index in indexes(tmp_path)] == ["https://h/project", "https://h/extra", "https://h/user"]


def test_of_the_pip_table(tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text('[pip]\nindex-url = "https://h/pip"')
    assert indexes(tmp_path) == [Index(url="https://h/pip")]


def test_variables_come_first(tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text('[[index]]\nurl = "https://h/project"')
    found = indexes(tmp_path, UV_INDEX="own=https://h/own", UV_DEFAULT_INDEX="https://h/default", UV_FIND_LINKS="w")
    assert found == [
        Index(name="own", url="https://h/own"),
        Index(url="https://h/default"),
        Index(url=f"file://{tmp_path}/w", flat=True),
        Index(url="https://h/project"),
    ]


def test_a_file_named_by_a_variable_is_the_only_one(tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text('[[index]]\nurl = "https://h/project"')
    other = tmp_path / "other.toml"
    other.write_text('index-url = "https://h/other"')
    assert indexes(tmp_path, UV_CONFIG_FILE=str(other)) == [Index(url="https://h/other")]


def test_without_configuration_when_uv_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text('[[index]]\nurl = "https://h/project"')
    assert indexes(tmp_path, UV_NO_CONFIG="1") == [Index(url=PYPI)]


def test_each_once(tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text('[[index]]\nname = "a"\nurl = "https://h/a"\n[[index]]\nurl = "https://h/a"')
    assert indexes(tmp_path) == [Index(name="a", url="https://h/a"), Index(url=PYPI)]


@pytest.mark.parametrize(
    "text",
    ["not toml", "index = 3", "index = [3]", '[[index]]\nname = "a"', "find-links = 3", 'pip = "x"', "index-url = 3.5"],
)
def test_what_is_damaged_is_left_to_uv(tmp_path: Path, text: str) -> None:
    (tmp_path / "uv.toml").write_text(text)
    assert [index for index in indexes(tmp_path) if index.url != PYPI] == []
