"""A project in a git repository whose two steps have run, made once and copied for each test that changes it."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from projects import Answer, OnDisk, two_steps

from repro_env.record.model import RunRecord
from repro_env.record.runs import list_runs

VENV = ("exec", "--runtime", "venv")
WARNING = "warning: runtime venv does not isolate:\n"


@dataclass(frozen=True, slots=True)
class Repeated:
    """The project, and git in it."""

    disk: OnDisk

    @property
    def root(self) -> Path:
        return self.disk.root

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """Every run, newest first."""
        return list_runs(self.root).records

    def write(self, name: str, text: str) -> None:
        self.disk.write(name, text)

    def repro(self, *words: str) -> Answer:
        """Run `repro`, without what the runtime says of itself."""
        answer = self.disk.repro(*words)
        lines, kept = answer.stderr.splitlines(keepends=True), []
        skipping = False
        for line in lines:
            skipping = line == WARNING or (skipping and line.startswith("  "))
            kept += [] if skipping else [line]
        return Answer(answer.status, answer.stdout, "".join(kept))

    def ran(self, *words: str, status: int = 0) -> RunRecord:
        """Run a step, and return the record."""
        answer = self.repro(*VENV, *words)
        assert answer.status == status, answer.stderr
        return self.records[0]

    def reproduced(self, *words: str, status: int = 0) -> dict[str, Any]:
        """Repeat runs, and return the document about it."""
        answer = self.repro("reproduce", "--json", *words)
        assert answer.status == status, answer.stderr
        return dict(json.loads(answer.stdout))

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        command = ["git", "-C", str(self.root), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self) -> str:
        """Commit everything, and return the commit."""
        self.git("add", "--all", ".")
        self.git("commit", "--quiet", "--allow-empty", "-m", "state")
        return self.git("rev-parse", "HEAD")

    def copied(self, directory: Path) -> Repeated:
        """Return the same project, with its runs, below another directory."""
        shutil.copytree(self.root.parent, directory, dirs_exist_ok=True, symlinks=True)
        return Repeated(OnDisk(directory / self.root.name, self.disk.env))


def committed(directory: Path) -> Repeated:
    """Make and commit the project."""
    project = Repeated(two_steps(directory))
    project.write(".gitignore", ".repro/\nbuild/\n")
    project.git("init", "--quiet", "-b", "main")
    project.commit()
    return project


def ran_once(directory: Path) -> Repeated:
    """Make the project, and run both steps."""
    project = committed(directory)
    project.ran("clean")
    project.ran("count")
    return project
