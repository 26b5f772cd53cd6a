"""The page of a run, with the end of its log from beside its record."""

from __future__ import annotations

import re
from pathlib import Path

from repro_env.record.lineage import Lineage
from repro_env.record.page.page import page
from repro_env.record.runs import Run
from repro_env.run.execute import LOG

_BYTES, _LINES = 1 << 16, 200
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")  # ECMA-48, 5.3 and 8.3


def run_page(run: Run, lineage: Lineage) -> str:
    """Return the page of a run, times in this machine's zone."""
    return page(lineage, log=log_tail(run.directory / LOG), zone=None)


def log_tail(path: Path) -> str:
    """Return the last lines of a log as a terminal would show them, without colours; nothing where there is no log."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ""
    lines = _ESCAPE.sub("", text).replace("\r\n", "\n").split("\n")
    # Of a line that was written over and over, such as a progress bar, what stood there at last is shown.
    shown = [line.rstrip("\r").rpartition("\r")[2].expandtabs() for line in lines]
    return "\n".join(shown[-_LINES:]).strip("\n")
