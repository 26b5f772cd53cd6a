"""Another command in a step's environment: what compares outputs finds there whatever library the step has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from repro_env.build.code import copy_code
from repro_env.cli.running import Prepared, Run
from repro_env.edges import files
from repro_env.lock.places import input_place
from repro_env.run.plan import Input


def run_beside(
    run: Run, prepared: Prepared, name: str, directory: Path, words: Sequence[str], inputs: Mapping[str, Path]
) -> tuple[int, str]:
    """Run a command beside a step's code, and return its exit status and what it printed.

    `{NAME}` in a word becomes the place of that input, which is read-only. `name` is a run's, and `directory` is made
    for this and removed after it. Errors: the runtime's, `StoreError`.
    """
    roots = run.runtime.roots(code=directory / "code", run=directory)
    for key, source in inputs.items():
        place = input_place(roots, key, source.name)
        words = [word.replace(f"{{{key}}}", place) for word in words]
    planned = [Input(name=key, declared=source.name, source=source) for key, source in inputs.items()]
    copy_code(prepared.code, directory / "code")
    try:
        with files.os_errors(f"write to {directory}"):
            (directory / "output").mkdir()
        plan = replace(run.plan_beside(prepared, name, directory, planned), argv=tuple(words))
        log = directory / "output.log"
        ended = run.runtime.run(plan, log=log)
        with files.os_errors(f"read {log}"):
            return ended.status, log.read_text(errors="replace") if log.exists() else ""
    finally:
        files.remove_tree(directory)
