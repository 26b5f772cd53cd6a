"""What a record says of the machine and the checkout a run started from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from repro_env.errors import ToolError
from repro_env.record.model import GitState, HostFacts

_GIT_TIMEOUT = 30.0


class _Completed(Protocol):
    @property
    def stdout(self) -> str: ...


Run = Callable[..., _Completed]
"""`edges.process.run`, passed in."""


def git_state(project: Path, run: Run) -> GitState | None:
    """Return the commit checked out at the project, or None without git, a repository or a commit."""
    git = ["git", "-C", str(project), "--no-optional-locks"]
    try:
        commit = run([*git, "rev-parse", "--verify", "HEAD"], timeout=_GIT_TIMEOUT).stdout.strip()
        changes = run([*git, "status", "--porcelain", "--", "."], timeout=_GIT_TIMEOUT).stdout
    except ToolError:
        return None
    return GitState(commit=commit, dirty=bool(changes.strip()))


def host_facts(root: Path = Path("/")) -> HostFacts:
    """Return what the kernel and the distribution say of this machine; what they do not say is empty."""
    machine = os.uname()
    return HostFacts(
        system=_assignment(_text(root / "etc/os-release"), "PRETTY_NAME"),
        kernel=f"{machine.sysname} {machine.release}",
        architecture=machine.machine,
        processor=_field(_text(root / "proc/cpuinfo"), "model name"),
        cpus=len(os.sched_getaffinity(0)),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _assignment(text: str, name: str) -> str:
    found = (line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{name}="))
    return next(found, "").strip("\"'")


def _field(text: str, name: str) -> str:
    found = (line.partition(":")[2] for line in text.splitlines() if line.startswith(name))
    return next(found, "").strip()
