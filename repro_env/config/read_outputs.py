"""`outputs` of a step: where each stands, how it is held against that of another run, and whether each run keeps it."""

from __future__ import annotations

from repro_env.config import checks
from repro_env.config.comparison import EXACT, canonical_comparison
from repro_env.config.table import Table
from repro_env.frozen import dataclass
from repro_env.values import check_identifier

_KEYS = ("path", "compare", "keep")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The paths of a step's outputs, the comparisons of those that are not compared exactly, and those to keep."""

    paths: dict[str, str]
    compare: dict[str, str]
    keep: tuple[str, ...]


def read_outputs(step: Table) -> Outputs:
    """Return a step's outputs.

    Each is its path alone, `table = "build/table.parquet"`, or a table with `path`, `compare` and `keep`.
    """
    paths: dict[str, str] = {}
    compare: dict[str, str] = {}
    keep: list[str] = []
    outputs = step.table("outputs")
    for name in outputs.names:
        try:
            check_identifier(name)
        except ValueError as error:
            outputs.problem(name, str(error))
            continue
        path, comparison, kept = _output(outputs, name)
        if path:
            paths[name] = path
        if comparison != EXACT:
            compare[name] = comparison
        if kept:
            keep.append(name)
    return Outputs(paths=paths, compare=compare, keep=tuple(keep))


def _output(outputs: Table, name: str) -> tuple[str, str, bool]:
    if not outputs.has_table(name):
        return outputs.parsed(name, checks.inside_path, ""), EXACT, False
    table = outputs.table(name)
    table.only(_KEYS)
    path = table.parsed("path", checks.inside_path, "", required='add path = "...", where the step leaves it')
    return path, table.parsed("compare", canonical_comparison, EXACT), table.flag("keep")
