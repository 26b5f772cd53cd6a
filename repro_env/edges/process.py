"""One `run` for every external program: argument list, explicit environment, captured output, a time limit."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from repro_env.errors import ToolError
from repro_env.frozen import dataclass

_TAIL_LINES = 40

_running: set[subprocess.Popen[str]] = set()
"""The programs that threads of this process wait for."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What an external program did: exit status (negative: the signal that ended it) and its output."""

    arguments: tuple[str, ...]
    status: int
    stdout: str
    stderr: str


def run(
    arguments: Sequence[str | Path],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str = "",
    check: bool = True,
) -> Completed:
    """Run a program to its end and return what it printed.

    `timeout` is in seconds. `env` is the whole environment; None passes this process's own. With `check`, an exit
    status other than 0 raises. Errors: `ToolError` when the program is absent, fails, or runs past its limit; its last
    lines of output are in the error.
    """
    words = tuple(str(word) for word in arguments)
    with _started(words, env, cwd) as child:
        try:
            stdout, stderr = child.communicate(stdin, timeout)
        except subprocess.TimeoutExpired as error:
            raise ToolError(f"{Path(words[0]).name} did not finish within {timeout:g} s", shlex.join(words)) from error
    completed = Completed(words, child.returncode, stdout, stderr)
    if check and completed.status != 0:
        raise failure(completed)
    return completed


@contextlib.contextmanager
def reading(
    arguments: Sequence[str | Path], *, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> Iterator[IO[bytes]]:
    """Give a program's standard output, byte for byte as it comes; it is killed where the block does not read it all.

    The caller's reading is not limited in time. Errors: `ToolError` when the program is absent, and at the end of the
    block when it failed.
    """
    words = tuple(str(word) for word in arguments)
    with contextlib.ExitStack() as held:
        fed, said = (held.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        fed.write(stdin)
        fed.seek(0)
        try:
            child = subprocess.Popen(words, env=env, stdin=fed, stdout=subprocess.PIPE, stderr=said)
        except OSError as error:
            raise ToolError(f"cannot start {words[0]}", error.strerror or str(error)) from error
        assert child.stdout is not None, "it is a pipe"
        try:
            yield child.stdout
            done = not child.stdout.read(1)
        except BaseException:
            done = False
            raise
        finally:
            child.stdout.close()
            if not done:
                child.kill()
            child.wait()
        said.seek(0)
        if done and child.returncode:
            stderr = said.read().decode(errors="replace")
            raise failure(Completed(words, child.returncode, "", stderr))


class Asked:
    """A program that answers request after request, such as `git cat-file --batch`; it ends with this object.

    For one thread at a time. Errors: `ToolError` when it is absent.
    """

    def __init__(self, arguments: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> None:
        words = [str(word) for word in arguments]
        try:
            child = subprocess.Popen(
                words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise ToolError(f"cannot start {words[0]}", error.strerror or str(error)) from error
        self._child = child
        weakref.finalize(self, _dismiss, child)

    def ask(self, request: bytes) -> IO[bytes]:
        """Send a request, and return where the answer is to be read. Errors: `ToolError` when it has ended."""
        stdin, stdout = self._child.stdin, self._child.stdout
        assert stdin is not None, "a pipe"
        assert stdout is not None, "a pipe"
        try:
            stdin.write(request)
            stdin.flush()
        except OSError as error:
            raise ToolError("a program ended before it had answered", error.strerror or str(error)) from error
        return stdout


def _dismiss(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError):
        child.communicate()


@contextlib.contextmanager
def _started(words: Sequence[str], env: Mapping[str, str] | None, cwd: Path | None) -> Iterator[subprocess.Popen[str]]:
    """Start a program, which does not outlive the block. Errors: `ToolError`."""
    try:
        child = subprocess.Popen(
            words,
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",  # whatever the locale: names in it go into images
            errors="replace",
        )
    except FileNotFoundError as error:
        raise ToolError(f"cannot run {words[0]}", str(error), f"install {Path(words[0]).name}") from error
    except OSError as error:
        raise ToolError(f"cannot run {words[0]}", str(error)) from error
    with child:
        _running.add(child)
        try:
            yield child
        except BaseException:
            child.kill()
            raise
        finally:
            _running.discard(child)


def stop_all() -> None:
    """Kill the programs that threads still wait for, because this process is about to end."""
    for child in list(_running):
        child.kill()


def failure(completed: Completed) -> ToolError:
    """Return the error that shows a program's command line, exit status and last lines of output."""
    name = Path(completed.arguments[0]).name
    said = (completed.stderr.strip() or completed.stdout.strip()).splitlines()[-_TAIL_LINES:]
    ended = f"exit status {completed.status}" if completed.status >= 0 else f"signal {-completed.status}"
    return ToolError(f"{name} failed with {ended}", "\n".join([shlex.join(completed.arguments), *said]))


def base_environment(**extra: str) -> dict[str, str]:
    """Return this process's environment with `extra` on top and a locale that keeps output stable."""
    return {**os.environ, "LC_ALL": "C.UTF-8", **extra}
