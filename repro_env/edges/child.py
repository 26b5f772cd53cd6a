"""A program that runs for as long as it likes: its streams go through live, our signals reach it, it dies with us.

`process.run` is for programs that answer a question; this is for the one a person asked to run.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from repro_env.edges.feeding import feeding
from repro_env.edges.output import Output
from repro_env.errors import ToolError
from repro_env.frozen import dataclass

FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,  # schedulers announce the end of an allocation with these two
    signal.SIGUSR2,
)

_KEYBOARD = frozenset((signal.SIGINT, signal.SIGQUIT))

_CHUNK = 1 << 16
_SIGNALLED = 128
_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended: `status` as a shell gives it, 128+N for signal N.

    `peak_memory` is the largest resident set of any one of its processes, in bytes, and `cpu_seconds` what they used
    together; None where that cannot be known.
    """

    status: int
    peak_memory: int | None = None
    cpu_seconds: float | None = None

    @property
    def signal(self) -> int | None:
        """The number of the signal that ended it, as far as the status tells."""
        return self.status - _SIGNALLED if _SIGNALLED < self.status < _SIGNALLED + signal.NSIG else None


class Signals:
    """The signals of `FORWARDED` that reached this process, and the one place that waits for them.

    A handler in Python runs between two instructions of the main thread, so one that comes just before a blocking call
    waits as long as the call does. The interpreter's wake-up descriptor knows no such moment.
    """

    def __init__(self, reader: int) -> None:
        self._reader = reader

    def deliver_until(self, end: int, deliver: Callable[[int], None]) -> None:
        """Hand each signal to `deliver`, once, until the descriptor `end` is at its end."""
        while end not in (ready := select.select([self._reader, end], [], [])[0]):
            for number in os.read(self._reader, _CHUNK) if ready else b"":
                if number in FORWARDED:
                    deliver(number)


@contextlib.contextmanager
def receiving() -> Iterator[Signals]:
    """Collect signals instead of acting on them; those that are ignored, as under nohup, stay so.

    Only the main thread may change what signals do; elsewhere none is ever received.
    """
    reader, writer = os.pipe()
    try:
        if threading.current_thread() is threading.main_thread():
            os.set_blocking(writer, False)
            with _handled(writer):
                yield Signals(reader)
        else:
            yield Signals(reader)
    finally:
        os.close(reader)
        os.close(writer)


@contextlib.contextmanager
def _handled(writer: int) -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in FORWARDED}
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number, handler in handlers.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)


def supervise(
    arguments: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    output: Output | None,
    deliver: Callable[[int, int], None],
    cwd: Path | None = None,
    pass_descriptors: Sequence[int] = (),
    first: bytes = b"",
) -> Ended:
    """Run a program in a session of its own, to the end of that session, and return how it ended.

    The session keeps a terminal's Ctrl-C from reaching it twice: signals come to us, and `deliver(pid, number)` brings
    each to where it belongs. With `output` None the program writes to our own streams directly. Standard input is ours,
    after `first` if there is that. If we are killed, so is its process group.
    Errors: `ToolError` when the program cannot be started.
    """
    with receiving() as signals, guarded("kill", "-KILL") as watch:
        with _announcing(watch) as announce:
            child = _start(
                arguments,
                env=env,
                output=output,
                cwd=cwd,
                pass_descriptors=pass_descriptors,
                piped=bool(first),
                before=announce,
            )
        with _copied(child, output):
            with _end_of(child.pid) as end, _fed(child, first):
                signals.deliver_until(end, lambda number: deliver(child.pid, number))
            send_to_group(child.pid, signal.SIGKILL)
            _pid, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
    return Ended(
        status=shell_status(child.returncode),
        peak_memory=usage.ru_maxrss * 1024,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
    )


@contextlib.contextmanager
def _announcing(watch: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Give what a child does before it becomes the program, if it is started in the block: it tells the guard its name.

    If we told, a kill of us between its start and that would leave it running. Until it is the program, no signal
    reaches the handlers that it has from us: one for both, as Ctrl-C is before it has its session, would count twice.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)

    def announce() -> None:
        watch(f"-{os.getpid()}")
        signal.set_wakeup_fd(-1)  # ours, which we deliver from
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    try:
        yield announce
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _fed(child: subprocess.Popen[bytes], first: bytes) -> Iterator[None]:
    """Feed a program whose standard input is a pipe, for as long as the block lasts."""
    if child.stdin is None:
        yield
        return
    pipe = child.stdin.fileno()
    os.set_blocking(pipe, False)
    with child.stdin, feeding(pipe, lambda data: os.write(pipe, data), child.stdin.close, first):
        yield


@contextlib.contextmanager
def _end_of(pid: int) -> Iterator[int]:
    """Give a descriptor that is at its end when our child is. A pidfd would do the same, from Linux 5.3 on."""
    reader, writer = os.pipe()

    def wait() -> None:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        os.close(writer)

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    try:
        yield reader
    finally:
        waiter.join()
        os.close(reader)


def shell_status(code: int) -> int:
    """Return 128+N for `code` -N, which stands for signal N, and any other code as it is."""
    return code if code >= 0 else _SIGNALLED - code


def _start(
    arguments: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    output: Output | None,
    cwd: Path | None,
    pass_descriptors: Sequence[int],
    piped: bool,
    before: Callable[[], None],
) -> subprocess.Popen[bytes]:
    streams = None if output is None else subprocess.PIPE
    words = [str(word) for word in arguments]
    try:
        return subprocess.Popen(
            words,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.PIPE if piped else None,
            stdout=streams,
            stderr=streams,
            pass_fds=tuple(pass_descriptors),
            start_new_session=True,
            preexec_fn=before,  # noqa: PLW1509 - it takes no lock that another thread may hold
        )
    except OSError as error:
        raise ToolError(f"cannot run {words[0]}", error.strerror or str(error)) from error


@contextlib.contextmanager
def _copied(child: subprocess.Popen[bytes], output: Output | None) -> Iterator[None]:
    """Pass on what a program prints until the block ends, and what is there by then.

    That is not always the end of its streams: what has left its session may hold them open for days.
    """
    if output is None:
        yield
        return
    assert child.stdout is not None
    assert child.stderr is not None
    ended, end = os.pipe()
    pairs = ((child.stdout, 1), (child.stderr, 2))
    threads = [threading.Thread(target=_copy, args=(stream, output, to, ended), daemon=True) for stream, to in pairs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        os.close(end)
        for thread in threads:
            thread.join()
        os.close(ended)


def _copy(stream: BinaryIO, output: Output, descriptor: int, ended: int) -> None:
    with stream:
        source = stream.fileno()
        while source in select.select([source, ended], [], [])[0] and (data := os.read(source, _CHUNK)):
            output.write(descriptor, data)


def send(pid: int, number: int) -> None:
    """Send a signal to one process; one that has ended is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def send_to_step(pid: int, number: int) -> None:
    """Send a signal to a step's first process; one of the keyboard to its whole group, as a terminal does.

    A shell that waits for a program puts Ctrl-C off until that ends, and the program must have got it for that.
    """
    if number not in _KEYBOARD:
        send(pid, number)
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(os.getpgid(pid), number)


def send_to_group(pid: int, number: int) -> None:
    """Send a signal to every process of the group that `pid` leads; a group that has ended is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


@contextlib.contextmanager
def adopting() -> Iterator[None]:
    """Become the parent of processes whose own parent ends, so that they can be waited for.

    Source: prctl(2), PR_SET_CHILD_SUBREAPER.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def wait_for_adopted(pid: int) -> resource.struct_rusage | None:
    """Wait for the end of a process that became ours and return what it used; None if it never did."""
    try:
        return os.wait4(pid, 0)[2]
    except ChildProcessError:
        return None


@contextlib.contextmanager
def guarded(*arguments: str) -> Iterator[Callable[[str], None]]:
    """Give a function that names what is to end with us: `arguments` and that name are run if we die in the block.

    Be it by SIGKILL: a shell waits on a pipe whose other end only we hold. A second line says that all is well, the end
    of the pipe after the first that we are gone.
    """
    with subprocess.Popen(
        ["/bin/sh", "-c", 'read -r name && [ "$name" ] && { read -r _ || "$@" "$name"; }', "sh", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as guard:
        assert guard.stdin is not None
        pipe = guard.stdin.fileno()
        try:
            yield lambda name: _write_line(pipe, name)
        finally:
            _write_line(pipe, "")


def _write_line(descriptor: int, text: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(descriptor, f"{text}\n".encode())
