"""`outputs` of a step: where each stands, and how it is held against that of another run."""

from __future__ import annotations

from repro_env.config import checks
from repro_env.config.comparison import EXACT, canonical_comparison
from repro_env.config.table import Table
from repro_env.values import check_identifier

_KEYS = ("path", "compare")


def read_outputs(step: Table) -> tuple[dict[str, str], dict[str, str]]:
    """Return the paths of a step's outputs, and the comparisons of those that are not compared exactly, by name.

    An output is its path alone, `table = "build/table.parquet"`, or a table with `path` and `compare`.
    """
    paths: dict[str, str] = {}
    comparisons: dict[str, str] = {}
    outputs = step.table("outputs")
    for name in outputs.names:
        try:
            check_identifier(name)
        except ValueError as error:
            outputs.problem(name, str(error))
            continue
        path, comparison = _output(outputs, name)
        if path:
            paths[name] = path
        if comparison != EXACT:
            comparisons[name] = comparison
    return paths, comparisons


def _output(outputs: Table, name: str) -> tuple[str, str]:
    if not outputs.has_table(name):
        return outputs.parsed(name, checks.inside_path, ""), EXACT
    table = outputs.table(name)
    table.only(_KEYS)
    path = table.parsed("path", checks.inside_path, "", required='add path = "...", where the step leaves it')
    return path, table.parsed("compare", canonical_comparison, EXACT)
