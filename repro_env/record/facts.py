"""What a record says of the machine and the checkout a run started from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from repro_env.edges.host import read_machine
from repro_env.errors import ToolError
from repro_env.record.model import GitState, HostFacts

_GIT_TIMEOUT = 30.0
_COMMIT = "# branch.oid "  # git-status(1), "Porcelain Format Version 2"


class _Completed(Protocol):
    @property
    def stdout(self) -> str: ...


Run = Callable[..., _Completed]
"""`edges.process.run`, passed in."""


def git_state(project: Path, run: Run) -> GitState | None:
    """Return the commit checked out at the project, or None without git, a repository or a commit."""
    words = ["git", "-C", str(project), "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--", "."]
    try:
        lines = run(words, timeout=_GIT_TIMEOUT).stdout.splitlines()
    except ToolError:
        return None
    commit = next((line.removeprefix(_COMMIT) for line in lines if line.startswith(_COMMIT)), "")
    if not commit or commit == "(initial)":
        return None
    return GitState(commit=commit, dirty=any(not line.startswith("#") for line in lines))


def host_facts(root: Path = Path("/")) -> HostFacts:
    """Return what the kernel and the distribution say of this machine; what they do not say is empty."""
    machine = read_machine(root)
    return HostFacts(
        system=machine.system,
        kernel=f"Linux {machine.kernel}",
        architecture=machine.architecture,
        processor=machine.processor,
        cpus=machine.cpus,
        memory=machine.memory,
    )
