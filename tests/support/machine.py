"""What this machine has that tests need, and what to do where it has not.

On a person's machine a test whose need is absent is skipped with the reason. In CI (`CI` set in the environment)
everything that `make test` can install must be there, so the same absence fails the test.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

_TIMEOUT = 30.0
_SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))


def require(name: str) -> None:
    """Skip or fail the running test unless the machine has `name`: a key of `PROBES`, or a program."""
    reason = absence(name)
    if reason is None:
        return
    if os.environ.get("CI") and name not in _NOT_INSTALLABLE:
        pytest.fail(f"{reason}; in CI nothing that `make prepare` installs may be absent", pytrace=False)
    pytest.skip(reason)


@functools.cache
def absence(name: str) -> str | None:
    """Return why `name` cannot be used on this machine, or None if it can."""
    probe = PROBES.get(name)
    if probe is not None:
        return probe()
    return None if find_program(name) else f"{name} is not installed"


def find_program(name: str) -> Path | None:
    """Return a program's path, looking where daemons are installed as well."""
    found = shutil.which(name, path=_SYSTEM_PATH)
    return Path(found) if found else None


def _answers(*command: str) -> Callable[[], str | None]:
    """Make a probe that runs a command which does nothing but show that the thing works."""

    def probe() -> str | None:
        program = find_program(command[0])
        if program is None:
            return f"{command[0]} is not installed"
        try:
            done = subprocess.run(
                [program, *command[1:]], capture_output=True, text=True, timeout=_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            return f"`{' '.join(command)}` did not answer within {_TIMEOUT:g} s"
        if done.returncode == 0:
            return None
        said = (done.stderr or done.stdout).strip().splitlines()
        return f"`{' '.join(command)}` failed: {said[-1] if said else f'exit status {done.returncode}'}"

    return probe


def _network() -> str | None:
    """Ask the configured Python index for its root; any answer is a network."""
    settings = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
    index = next((os.environ[key] for key in settings if os.environ.get(key)), "https://pypi.org/simple/")
    request = urllib.request.Request(index.rstrip("/") + "/pip/", method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_TIMEOUT).close()
    except urllib.error.HTTPError as error:
        error.close()
    except OSError as error:
        return f"no Python index answers: {getattr(error, 'reason', error)}"
    return None


def _gpu() -> str | None:
    return None if Path("/dev/nvidiactl").exists() else "this machine has no NVIDIA GPU"


PROBES: dict[str, Callable[[], str | None]] = {
    "docker": _answers("docker", "info"),
    "podman": _answers("podman", "info"),
    "bwrap": _answers("bwrap", "--ro-bind", "/", "/", "--unshare-all", "--proc", "/proc", "--dev", "/dev", "true"),
    "network": _network,
    "gpu": _gpu,
}

_NOT_INSTALLABLE = {"gpu"}
