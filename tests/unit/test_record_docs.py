"""The page of the run record tells every field that a record has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import records

from repro_env.record import git
from repro_env.record.statement import BUILD_TYPE, BUILDER, VERSION, to_statement
from repro_env.values import format_size

PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/run-record.md").read_text()
VARIABLE = ("variables", "version")  # objects whose keys are not fields


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from () if key in VARIABLE else keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from keys(item)


KILLED = replace(records.WHOLE, signal=9)
STANDARD = {"_type", "subject", "predicateType", "predicate", "buildDefinition", "runDetails"}
FIELDS = sorted({*keys(to_statement(KILLED))} - STANDARD)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_told(name: str) -> None:
    assert any(
        form in PAGE for form in (f"`{name}`", f"`{name}.", f".{name}`", f"## {name}", f".{name}\n", f" {name}:")
    )


def test_what_the_page_says_in_figures_is_so() -> None:
    assert f"{BUILD_TYPE}{VERSION}" in PAGE
    assert f"`{BUILDER}`" in PAGE
    assert format_size(git.FILE_LIMIT).replace(".0", "") in PAGE
    assert format_size(git.DIFF_LIMIT).replace(".0", "") in PAGE
