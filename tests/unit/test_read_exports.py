"""The table `[export]`."""

from __future__ import annotations

import pytest

from repro_env.config.exports import Exports, MlflowExport, OpenLineageExport, WandbExport
from repro_env.config.read import read_project
from repro_env.errors import ConfigError

PROJECT = """\
[project]
name = "churn"

[base.slim]
debian = "bookworm"

[step.train]
base = "slim"
python = "3.11"
command = ["true"]
"""


def exports(text: str) -> Exports:
    return read_project(f"{PROJECT}\n{text}", file="repro.toml").exports


def test_a_project_without_the_table_tells_nobody() -> None:
    assert exports("") == Exports()


def test_every_tool_is_read_with_its_defaults() -> None:
    text = """
    [export.openlineage]
    file = "build/../lineage.jsonl"
    """
    with pytest.raises(ConfigError, match="1 problem"):
        exports(text)
    found = exports("""
    [export.openlineage]
    url = "https://marquez.example:5000"
    [export.mlflow]
    tracking-uri = "http://mlflow.example:5001/base"
    [export.wandb]
    """)
    assert found == Exports(
        openlineage=OpenLineageExport(url="https://marquez.example:5000"),
        mlflow=MlflowExport(tracking_uri="http://mlflow.example:5001/base", experiment="churn"),
        wandb=WandbExport(directory="wandb", project="churn"),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[export.openlineage]", "export.openlineage.url: missing"),
        ("[export.mlflow]", "export.mlflow.tracking-uri: missing"),
        ('[export.openlineage]\nurl = "https://a.example"\nfile = "a"', "events go to one place"),
        ('[export.openlineage]\nurl = "ftp://a.example"', 'found "ftp://a.example"'),
        ('[export.mlflow]\ntracking-uri = "https://ann:secret@a.example"', "a password does not belong here"),
        ('[export.mlfow]\ntracking-uri = "https://a.example"', "mlflow"),
    ],
)
def test_what_is_wrong_is_told(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        exports(text)
    assert said in caught.value.why
    assert "secret" not in caught.value.why
