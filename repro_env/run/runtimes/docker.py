"""Docker, through its engine's API: the step image is loaded if the engine lacks it, layer by layer.

Source: Docker Engine API 1.41, `POST /containers/create`, `POST /containers/ID/attach`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repro_env.edges import child
from repro_env.edges.child import Ended
from repro_env.edges.container_use import ContainerUse
from repro_env.edges.feeding import feeding
from repro_env.edges.output import Output, output_to
from repro_env.edges.report import Reporter
from repro_env.errors import RuntimeUnavailableError
from repro_env.image.docker_engine import connect, engine_errors, engine_host, load_image
from repro_env.image.store import Store
from repro_env.lock.places import IMAGE_ROOTS, Roots
from repro_env.run import cdi
from repro_env.run.gpus import GpuGrant, Passing, selection
from repro_env.run.mounts import Mount
from repro_env.run.plan import HOSTNAME, RunPlan, User, shown
from repro_env.run.runtimes.base import Needs, Unavailable
from repro_env.run.runtimes.gpu_files import pass_files
from repro_env.run.secret_values import handed

_ANSWER_SECONDS = 10
_GONE = (404, 409)  # somebody has removed the container, or is at it

_HOOK_PATH = "/usr/bin:/usr/local/bin:/usr/sbin:/usr/local/nvidia/toolkit"

_REMOVE = """\
import http.client, socket, sys, time
for _ in range(20):
    connection = http.client.HTTPConnection("docker")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(sys.argv[1])
    connection.request("DELETE", f"/containers/{sys.argv[2]}?force=1")
    if connection.getresponse().status != 404:
        break
    time.sleep(0.2)
"""
"""What removes the container when this process was killed: a program of the standard library, since the engine's own
command may not be installed. It asks again for a while: the engine may be at making what we asked for last."""


def docker_options(plan: RunPlan, image: str, user: User) -> dict[str, Any]:
    """Return the body of the request that makes the container, from the image of this ID.

    The code is in the image. `user` is what the caller is inside the container.
    """
    return {
        "Image": image,
        "Entrypoint": [plan.argv[0]],
        "Cmd": list(plan.argv[1:]),
        "Env": [f"{name}={value}" for name, value in plan.variables.items()],
        "User": f"{user.uid}:{user.gid}",
        "WorkingDir": plan.roots.code,
        "Hostname": HOSTNAME,
        "Labels": {"org.repro.run": plan.run, "org.repro.step": plan.step.name},
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "NetworkDisabled": not plan.network,
        "HostConfig": _host_options(plan),
    }


def _host_options(plan: RunPlan) -> dict[str, Any]:
    temporary = "rw,exec,nosuid,nodev,mode={}"
    return {
        "NetworkMode": "default" if plan.network else "none",
        "ReadonlyRootfs": True,
        "Init": True,  # a first process that takes no signal for itself and reaps what is orphaned
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", "label=disable"],
        "IpcMode": "private",
        "ShmSize": plan.shared_memory,
        "Tmpfs": {"/tmp": temporary.format("1777"), "/run": temporary.format("0755")},  # noqa: S108 - the container's
        "Mounts": [*map(_mount, (*shown(plan), *plan.gpus.mounts))],
        "LogConfig": {"Type": "none"},
        **_gpu_options(plan.gpus),
    }


def _gpu_options(gpus: Passing) -> dict[str, Any]:
    """Return the devices: CDI's names and UUIDs as requests to the engine's drivers for these, nodes one by one."""
    by_cdi = [name for name in gpus.names if name.startswith(f"{cdi.KIND}=")]
    others = [name for name in gpus.names if name not in by_cdi]
    requests: list[dict[str, Any]] = []
    if by_cdi:
        requests.append({"Driver": "cdi", "DeviceIDs": by_cdi})
    if others:
        requests.append({"Driver": "nvidia", "DeviceIDs": others, "Capabilities": [["gpu"]]})
    devices = [
        {"PathOnHost": str(node.source), "PathInContainer": node.target, "CgroupPermissions": "rw"}
        for node in gpus.nodes
    ]
    return {key: value for key, value in (("DeviceRequests", requests), ("Devices", devices)) if value}


def engine_passing(
    grant: GpuGrant, info: Mapping[str, Any], described: Collection[str], *, hook: bool
) -> Passing | None:
    """Return how an engine brings in these GPUs by itself, or None where it cannot.

    `info` is what it answers to `GET /info`, `described` are the devices of its CDI specifications, and `hook` tells
    whether the program is installed by which engines before CDI bring in NVIDIA's devices.
    """
    if info.get("CDISpecDirs") and (found := cdi.passing(grant, described)):
        return found
    if not hook and "nvidia" not in (info.get("Runtimes") or {}):
        return None
    names = tuple(device.uuid or str(device.index) for device in grant.devices)
    variables = {"NVIDIA_VISIBLE_DEVICES": ",".join(names), **selection(grant, renumbered=True)}
    return Passing(how="by the engine's NVIDIA runtime", names=names, variables=variables)


def _mount(mount: Mount) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(mount.source), "Target": mount.target, "ReadOnly": mount.read_only}


class Docker:
    """Runs steps with the Docker engine that the caller's own `docker` command would talk to."""

    name = "docker"
    needs = Needs.STEP_IMAGE

    def __init__(
        self,
        store: Store,
        reporter: Reporter,
        environ: Mapping[str, str] = os.environ,
        driver: Path = Path("/"),
    ) -> None:
        """`driver` is the root below which NVIDIA's driver is installed."""
        self._store = store
        self._reporter = reporter
        self._environ = environ
        self._driver = driver

    def roots(self, *, code: Path, run: Path) -> Roots:  # noqa: ARG002 - the image's, whatever this machine has
        """Return the image's places."""
        return IMAGE_ROOTS

    def unavailable(self) -> Unavailable | None:
        """Return why no engine of this machine answers, or None."""
        host = engine_host(self._environ)
        if not host.startswith("unix://"):
            return Unavailable(
                f"the Docker engine at {host.partition('://')[0]}:// may be on another machine",
                "inputs and outputs are mounted from here: use an engine on a unix:// socket",
            )
        path = host.removeprefix("unix://")
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_ANSWER_SECONDS)
                connection.connect(path)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            return Unavailable(f"the Docker engine does not answer at {host}: {why}", _engine_hint(error))
        return None

    def pass_gpus(self, grant: GpuGrant) -> Passing | Unavailable:
        """Return the devices by CDI, else by the engine's NVIDIA runtime, else as nodes and the driver's files."""
        if silent := self.unavailable():
            return silent
        what, host = "the Docker engine does not tell what it can do", engine_host(self._environ)
        try:
            with engine_errors(what), contextlib.closing(connect(host)) as api:
                info = api.info()
        except RuntimeUnavailableError as error:
            return Unavailable(f"{error.what}: {error.why}", error.hint)
        described = cdi.described(map(Path, info.get("CDISpecDirs") or ()))
        hook = shutil.which("nvidia-container-runtime-hook", path=_HOOK_PATH) is not None
        found = engine_passing(grant, info, described, hook=hook)
        return found or pass_files(grant, self._driver, cdi.HINT)

    def not_isolated(self, plan: RunPlan) -> Sequence[str]:  # noqa: ARG002 - the engine's network is not this machine's
        """Return nothing: a container shares the kernel alone."""
        return ()

    def run(self, plan: RunPlan, *, log: Path | None) -> Ended:
        """Run the plan in a container that is removed at its end, or when this process dies."""
        plan, first = handed(plan)
        assert plan.image is not None, "docker needs the step image"
        host, what = engine_host(self._environ), f"the Docker engine could not run step {plan.step.name}"
        with engine_errors(what), contextlib.closing(connect(host)) as api:
            identity = load_image(api, self._store, plan.image, plan.tag, self._reporter)
            options = docker_options(plan, identity, _user_inside(api, plan.user))
            remove = (sys.executable, "-I", "-S", "-c", _REMOVE, host.removeprefix("unix://"))
            with child.guarded(*remove) as watch, output_to(log, plan.secrets.values()) as output:
                watch(plan.container)
                container = api.create_container_from_config(options, plan.container)["Id"]
                try:
                    return _attend(api, container, output, first)
                finally:
                    _remove(api, container)


def _remove(api: Any, container: str) -> None:
    from docker.errors import APIError  # noqa: PLC0415 - see `connect`

    try:
        api.remove_container(container, force=True)
    except APIError as error:
        if error.status_code not in _GONE:
            raise


def _user_inside(api: Any, user: User) -> User:
    """Return who the caller is inside: in an engine without root, root there is the caller here."""
    rootless = any("rootless" in option for option in api.info().get("SecurityOptions") or ())
    return User(uid=0, gid=0) if rootless else user


def _attend(api: Any, container: str, output: Output, first: bytes) -> Ended:
    """Start the container, pass streams and signals until it ends, and return how it ended.

    Its standard input is ours, after `first`.
    """
    from docker.errors import APIError  # noqa: PLC0415 - see `connect`

    def kill(number: int) -> None:
        with contextlib.suppress(APIError):  # it has ended meanwhile
            api.kill(container, number)

    with child.receiving() as signals, _attached(api, container) as connection:
        api.start(container)
        process = int(api.inspect_container(container)["State"]["Pid"])
        use = ContainerUse(lambda: (process, container))
        with _copying(connection, output) as end, _fed(connection, first), use:
            signals.deliver_until(end, kill)
    status = int(api.wait(container)["StatusCode"])
    return Ended(status=status, peak_memory=use.peak_memory, cpu_seconds=use.cpu_seconds)


@contextlib.contextmanager
def _attached(api: Any, container: str) -> Iterator[socket.socket]:
    """Give the connection that carries the container's three streams."""
    stream = api.attach_socket(container, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    connection: socket.socket = getattr(stream, "_sock", stream)
    try:
        yield connection
    finally:
        stream.close()
        connection.close()


def _fed(connection: socket.socket, first: bytes) -> contextlib.AbstractContextManager[None]:
    return feeding(
        connection.fileno(),
        lambda data: connection.send(data, socket.MSG_DONTWAIT),
        lambda: connection.shutdown(socket.SHUT_WR),
        first,
    )


@contextlib.contextmanager
def _copying(connection: socket.socket, output: Output) -> Iterator[int]:
    """Pass the container's output on in the background; the descriptor that is given ends when the output does."""
    from docker.utils.socket import frames_iter  # noqa: PLC0415 - see `connect`

    end, finish = os.pipe()

    def copy() -> None:
        try:
            with contextlib.suppress(OSError):
                for descriptor, data in frames_iter(connection, tty=False):
                    output.write(descriptor, data)
        finally:
            os.close(finish)

    copier = threading.Thread(target=copy, daemon=True)
    copier.start()
    try:
        yield end
        copier.join()
    finally:
        os.close(end)


def _engine_hint(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "add yourself to the group docker and log in again, or use --runtime bwrap"
    return "start the engine, or set DOCKER_HOST to where it listens"
