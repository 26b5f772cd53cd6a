"""A project on disk that is locked without a network: no packages, a base that is never fetched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repro_env.config.model import DebianBase
from repro_env.config.read import read_project
from repro_env.data.supply import DataSupply
from repro_env.edges.report import Silent
from repro_env.lock.drift import locked_step
from repro_env.lock.dump import dump_lock
from repro_env.lock.model import DebianRoot, Environment, Lock, LockedBase
from repro_env.lock.request import request_digests, request_files

PYTHON = f"3.{sys.version_info.minor}"

TWO_STEPS = f"""\
[project]
name = "churn"

[base.slim]
debian = "bookworm"

[data.raw]
path = "raw.csv"

[step.clean]
base = "slim"
python = "{PYTHON}"
command = ["python", "clean.py", "{{data.raw}}", "{{output.table}}"]
inputs = ["raw"]
outputs = {{ table = "build/table.csv" }}
code = ["clean.py"]

[step.count]
base = "slim"
python = "{PYTHON}"
command = ["python", "count.py"]
inputs = ["clean.table"]
outputs = {{ number = "build/number.txt" }}
code = ["count.py"]
env = {{ GREETING = "hello" }}
"""

CLEAN = """\
import pathlib, sys
source, target = map(pathlib.Path, sys.argv[1:3])
target.write_text(source.read_text().upper())
print("cleaned", source.name)
"""

COUNT = """\
import os, pathlib
table = pathlib.Path(os.environ["REPRO_INPUT_CLEAN_TABLE"])
pathlib.Path(os.environ["REPRO_OUTPUT_NUMBER"]).write_text(str(len(table.read_text())))
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command answered, with everything that differs between machines and moments taken out."""

    status: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return f"exit status {self.status}\n--- stdout\n{self.stdout}--- stderr\n{self.stderr}"


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A project in a directory, with a store of its own."""

    root: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def repro(self, *words: str, before: Sequence[str] = ()) -> Answer:
        """Run `repro` there, as a process; `before` is a program that starts it."""
        own = {"REPRO_STORE": str(self.root.parent / "store"), "NO_COLOR": "1", "COLUMNS": "100", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [*before, sys.executable, "-m", "repro_env", *words],
            cwd=self.root,
            env={**os.environ, **own, **self.env},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Answer(done.returncode, self._steady(done.stdout), self._steady(done.stderr))

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def lock(self) -> Lock:
        """Lock the project without resolving anything."""
        text = (self.root / "repro.toml").read_text()
        project = read_project(text, file="repro.toml")
        sources = request_files(project, lambda name: _read(self.root / name))
        root = DebianRoot(glibc="2.36", python=f"{PYTHON}.2", sources=(), packages=())
        platform = project.platforms[0]
        environment = Environment(interpreter=root.python, wheels=())
        inputs = DataSupply(self.root, self.root.parent / "store", Silent(), {**os.environ, **self.env})
        data = {entry.name: inputs.lock(entry, None, keep=False) for entry in project.data.values()}
        lock = Lock(
            project=project.name,
            inputs=request_digests(project, sources),
            bases={
                name: LockedBase(name=name, suite=base.debian, roots={platform: root})
                for name, base in project.bases.items()
                if isinstance(base, DebianBase)
                if isinstance(base, DebianBase)
            },
            steps={name: locked_step(step, {platform: environment}) for name, step in project.steps.items()},
            data=data,
        )
        self.write("repro.lock", dump_lock(lock))
        return lock

    def _steady(self, text: str) -> str:
        text = text.replace(str(self.root.parent.resolve()), "TMP").replace(str(self.root.parent), "TMP")
        text = re.sub(r"\d{8}T\d{6}Z-(\w+)-[0-9a-f]{4}", r"RUN-\1", text)
        text = re.sub(r"\d+\.\d+ s\b", "N s", text)
        text = re.sub(r"\d+ (s|min) ago", "N s ago", text)
        return text.replace(f"Python {PYTHON}", "Python 3.N").replace(f"{PYTHON}.2", "3.N.2")


def _read(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


def two_steps(directory: Path) -> OnDisk:
    """Return a locked project of two steps, the second reading what the first makes."""
    project = OnDisk(directory / "churn")
    project.write("repro.toml", TWO_STEPS)
    project.write("raw.csv", "a,b\n1,2\n")
    project.write("clean.py", CLEAN)
    project.write("count.py", COUNT)
    project.lock()
    return project
