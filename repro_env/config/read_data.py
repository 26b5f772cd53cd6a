"""The tables `[data.NAME]`: what a data input is and where it comes from."""

from __future__ import annotations

from repro_env.config import checks
from repro_env.config.model import Data
from repro_env.config.table import Table
from repro_env.values import check_identifier

PINS = ("content", "version")

_KEYS = (
    "path",
    "source",
    "uri",
    "revision",
    "query",
    "connection",
    "pin",
    "include",
    "exclude",
    "options",
)
_WHOLE = ("delta", "iceberg", "sql")
"""Kinds whose files are one table: without some of them, or without its log, it would be another."""
_REQUIRED = 'add path = "...", a file or directory of the project, or uri = "..."'


def read_data(name: str, table: Table) -> Data:
    """Return one data input; what is wrong with it is noted in the table's problems."""
    table.only(_KEYS)
    elsewhere = table.has("uri") or table.has("query")
    data = Data(
        name=name,
        path=table.parsed("path", checks.inside_path, "", required="" if elsewhere else _REQUIRED),
        source=table.text("source", check=check_identifier),
        uri=table.text("uri", check=checks.data_uri),
        revision=table.text("revision", check=checks.printable),
        query=table.text("query", check=checks.word),
        connection=table.text("connection", check=checks.variable_name),
        pin=table.text("pin", check=_pin) or "content",
        include=table.texts("include", check=checks.glob, unique=True, some=True),
        exclude=table.texts("exclude", check=checks.glob, unique=True, some=True),
        options=table.text_map("options", check_name=checks.option_name, convert=checks.word),
    )
    _check_together(data, table)
    return data


def _check_together(data: Data, table: Table) -> None:
    """Note keys that mean nothing beside the others."""
    if data.query and not data.connection:
        table.problem("query", "needs connection", 'add connection = "NAME" of the variable that holds the address')
    if data.kind in _WHOLE:
        for key in ("include", "exclude"):
            if table.has(key):
                table.problem(key, "is for files; a table is taken whole, because some of its files are another table")
    if data.kind == "file" and table.has("path"):
        table.problem("path", "is not for data of a file: address, which is used where it stands", "leave it out")
    if data.kind in ("path", "file"):
        for key in ("revision", "connection", "pin", "options"):
            if table.has(key):
                where = "on this machine" if data.kind == "file" else "of the project"
                table.problem(key, f"is for data from elsewhere; this is a path {where}")


def _pin(text: str) -> None:
    if text not in PINS:
        raise ValueError(f'expected {" or ".join(PINS)}, found "{text}"')
