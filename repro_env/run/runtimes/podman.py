"""Podman: reads the step image from the store's own files and skips the layers that it has.

Source: podman-run(1) and podman-pull(1), version 4.3; containers-transports(5), `oci:`.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from repro_env.edges import child, process
from repro_env.edges.child import Ended
from repro_env.edges.container_use import ContainerUse
from repro_env.edges.host import read_text
from repro_env.edges.output import output_to
from repro_env.edges.report import Reporter
from repro_env.errors import RuntimeUnavailableError, ToolError
from repro_env.image.podman_engine import load_image
from repro_env.image.store import Store
from repro_env.lock.places import IMAGE_ROOTS, Roots
from repro_env.run import cdi
from repro_env.run.gpus import GpuGrant, Passing
from repro_env.run.mounts import Mount
from repro_env.run.plan import HOSTNAME, RunPlan, shown
from repro_env.run.runtimes.base import Needs, Unavailable
from repro_env.run.runtimes.gpu_files import pass_files
from repro_env.run.secret_values import handed

_ANSWER_SECONDS = 60.0
_RETRY_SECONDS = 0.1
_OWN_FAILURE = 125
"""The exit status for podman's own failures (podman-run(1), "Exit Status")."""

_CDI_VERSION = (4, 1)

_INITS = (
    "/usr/libexec/podman/catatonit",
    "/usr/bin/catatonit",
    "/usr/bin/tini-static",
    "/usr/libexec/docker/docker-init",
)


def podman_arguments(plan: RunPlan, image: str, *, rootless: bool, init: str | None) -> tuple[str, ...]:
    """Return what follows `podman` on its command line, for the image of this ID.

    The code is in the image. `init` is a program that becomes the container's first process and passes signals on.
    """
    words = ["run", "--rm", "--name", plan.container, "--pull", "never", "--interactive", "--sig-proxy=false"]
    words += ["--log-driver", "none", "--hostname", HOSTNAME, "--user", f"{plan.user.uid}:{plan.user.gid}"]
    words += ["--userns", "keep-id"] if rootless else []
    words += ["--init", "--init-path", init] if init else []
    words += [] if plan.network else ["--network", "none"]
    words += ["--cap-drop", "all", "--security-opt", "no-new-privileges", "--security-opt", "label=disable"]
    words += ["--read-only", "--read-only-tmpfs=false", "--shm-size", str(plan.shared_memory)]
    for place, mode in (("/tmp", "1777"), ("/run", "0755")):  # noqa: S108 - the container's own
        words += ["--tmpfs", f"{place}:rw,exec,nosuid,nodev,notmpcopyup,mode={mode}"]
    for mount in shown(plan):
        words += ["--mount", _mount(mount)]
    words += _gpu_arguments(plan)
    words += ["--workdir", plan.roots.code, "--http-proxy=false", "--unsetenv-all"]
    for name, value in plan.variables.items():
        words += ["--env", f"{name}={value}"]
    return (*words, "--entrypoint", json.dumps([plan.argv[0]]), image, *plan.argv[1:])


def _gpu_arguments(plan: RunPlan) -> list[str]:
    """Return the devices: those that podman knows by name, else nodes and the driver's files."""
    words = []
    for device in (*plan.gpus.names, *(f"{node.source}:{node.target}:rw" for node in plan.gpus.nodes)):
        words += ["--device", device]
    for mount in plan.gpus.mounts:
        words += ["--mount", _mount(mount)]
    return words


def knows_cdi(said: str) -> bool:
    """Whether a podman that says this of its version takes CDI's names for devices: from 4.1 on."""
    match = re.search(r"(\d+)\.(\d+)", said)
    return match is not None and (int(match[1]), int(match[2])) >= _CDI_VERSION


def _mount(mount: Mount) -> str:
    """Return a mount as podman reads it: one line of comma-separated values, quoted where a path has a comma."""
    text = io.StringIO()
    fields = ["type=bind", f"source={mount.source}", f"destination={mount.target}"]
    csv.writer(text, lineterminator="").writerow([*fields, f"ro={str(mount.read_only).lower()}"])
    return text.getvalue()


class Podman:
    """Runs steps with podman, as root or as an ordinary user."""

    name = "podman"
    needs = Needs.STEP_IMAGE

    def __init__(self, store: Store, reporter: Reporter, driver: Path = Path("/")) -> None:
        """`driver` is the root below which NVIDIA's driver is installed."""
        self._store = store
        self._reporter = reporter
        self._driver = driver

    def roots(self, *, code: Path, run: Path) -> Roots:  # noqa: ARG002 - the image's, whatever this machine has
        """Return the image's places."""
        return IMAGE_ROOTS

    def unavailable(self) -> Unavailable | None:
        """Return why podman cannot be used here, or None."""
        if shutil.which("podman") is None:
            return Unavailable("podman is not installed", "install podman with the system's package manager")
        try:
            process.run(["podman", "info", "--format", "{{.Version.Version}}"], timeout=_ANSWER_SECONDS)
        except ToolError as error:
            return Unavailable(error.why.splitlines()[-1] if error.why else error.what, "see what `podman info` says")
        return None

    def pass_gpus(self, grant: GpuGrant) -> Passing | Unavailable:
        """Return the devices by their CDI names where all are described, else nodes and the driver's files."""
        asked = process.run(["podman", "--version"], timeout=_ANSWER_SECONDS, check=False)
        described = cdi.described() if knows_cdi(asked.stdout) else ()
        return cdi.passing(grant, described) or pass_files(grant, self._driver, cdi.HINT)

    def not_isolated(self, plan: RunPlan) -> Sequence[str]:  # noqa: ARG002 - podman's network is not this machine's
        """Return nothing: a container shares the kernel alone."""
        return ()

    def run(self, plan: RunPlan, *, log: Path | None) -> Ended:
        """Run the plan in a container that is removed at its end, or when this process dies."""
        plan, given = handed(plan)
        assert plan.image is not None, "podman needs the step image"
        image = load_image(self._store, plan.image, plan.tag, self._reporter)
        rootless = os.geteuid() != 0
        created, first = plan.output.parent / "podman.id", plan.output.parent / "podman.pid"
        for path in (created, first):
            path.unlink(missing_ok=True)
        command, *rest = podman_arguments(plan, image, rootless=rootless, init=_init())
        use = ContainerUse(lambda: _first_process(first, created))
        with (
            child.guarded("podman", "rm", "--force", "--time", "0") as watch,
            output_to(log, plan.secrets.values()) as output,
            use,
        ):
            watch(plan.container)
            ended = child.supervise(
                ["podman", command, "--cidfile", created, "--pidfile", first, *rest],
                env=process.base_environment(),
                output=None if log is None else output,
                deliver=lambda pid, number: _deliver(pid, plan.container, number),
                first=given,
            )
        started = created.exists()
        for path in (created, first):
            path.unlink(missing_ok=True)
        if ended.status == _OWN_FAILURE and not started:
            raise RuntimeUnavailableError(
                f"podman could not run step {plan.step.name}", "its own message is the last line above"
            )
        return Ended(status=ended.status, peak_memory=use.peak_memory, cpu_seconds=use.cpu_seconds)


def _first_process(pid: Path, container: Path) -> tuple[int, str] | None:
    """Return the container's first process and its id, as podman writes them to these files."""
    number, name = read_text(pid).strip(), read_text(container).strip()
    return (int(number), name) if number and name else None


def _deliver(pid: int, container: str, number: int) -> None:
    """Send a signal to the container's command, as soon as there is one, in the background.

    Not by way of `podman run`, whose process `pid` is: in its first moments a signal ends it and leaves the container.
    """
    threading.Thread(target=_kill, args=(pid, container, number), daemon=True).start()


def _kill(pid: int, container: str, number: int) -> None:
    words = ["podman", "kill", "--signal", str(number), container]
    with contextlib.suppress(ToolError):  # podman hangs or is gone, and this thread can tell nobody
        while process.run(words, timeout=_ANSWER_SECONDS, check=False).status != 0 and os.path.exists(f"/proc/{pid}"):
            time.sleep(_RETRY_SECONDS)


def _init() -> str | None:
    return next((path for path in _INITS if os.access(path, os.X_OK)), None)
