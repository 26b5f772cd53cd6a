"""Apptainer, and Singularity: containers without a daemon or root, as clusters have them.

The root filesystem is the one that bwrap uses, a directory of the store: nothing is converted into a SIF file first.
Source: apptainer-exec(1), version 1.3; its user guide, "Environment and Metadata" and "GPU Support".
"""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from repro_env.edges import child, files, process
from repro_env.edges.child import Ended
from repro_env.edges.output import output_to
from repro_env.edges.report import Reporter
from repro_env.errors import RuntimeUnavailableError, ToolError
from repro_env.image.oci import read_image
from repro_env.image.store import Store
from repro_env.image.unpack import root_filesystem
from repro_env.lock.places import IMAGE_ROOTS, Roots
from repro_env.run.gpus import NOTHING, GpuGrant, Passing, selection
from repro_env.run.mounts import Mount
from repro_env.run.plan import HOSTNAME, RunPlan, mounts
from repro_env.run.runtimes.base import Needs, Unavailable

PROGRAMS = ("apptainer", "singularity")
HOME = "/home/repro"
"""The step's own home. Neither program lets `HOME` be set to anything but a directory that it mounts."""

_ANSWER_SECONDS = 60.0
_OWN_FAILURE = 255
_KEPT = ("PATH", "TMPDIR", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
"""What of our environment the program itself gets. Its own variables would add mounts, or turn what is closed open."""


def apptainer_arguments(plan: RunPlan, root: Path, work: Path, *, as_root: bool) -> tuple[str, ...]:
    """Return what follows `apptainer`: `root` is the root filesystem, `work` a fresh directory for temporary files."""
    words = ["exec", "--containall", "--cleanenv", "--no-eval", "--no-umask", "--hostname", HOSTNAME]
    words += ["--no-privs"] if as_root else []
    words += [] if plan.network else ["--net", "--network", "none"]
    # Without a directory of ours, everything temporary shares 64 MiB (apptainer.conf, `sessiondir max size`).
    words += ["--workdir", str(work), "--scratch", "/run", "--home", f"{work / 'home'}:{HOME}"]
    words += ["--nv"] if plan.gpus != NOTHING else []
    for mount in mounts(plan):
        words += ["--mount", _mount(mount)]
    return (*words, "--pwd", plan.roots.code, str(root), *plan.argv)


def apptainer_environment(plan: RunPlan, program: str, own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that the program is started in: `APPTAINERENV_X` becomes the step's `X`.

    As options, values would be split at their commas.
    """
    prefix = f"{program.upper()}ENV_"
    kept = {name: own[name] for name in _KEPT if name in own}
    given = {**plan.variables, **plan.secrets}
    return {**kept, **{prefix + name: value for name, value in given.items() if name != "HOME"}}


def _mount(mount: Mount) -> str:
    """Return a mount as one line of comma-separated values, quoted where a path has a comma."""
    text = io.StringIO()
    fields = ["type=bind", f"source={mount.source}", f"destination={mount.target}"]
    csv.writer(text, lineterminator="").writerow([*fields, *(["ro"] if mount.read_only else [])])
    return text.getvalue()


class Apptainer:
    """Runs steps with apptainer, else with singularity."""

    name = "apptainer"
    needs = Needs.ENVIRONMENT_IMAGE

    def __init__(self, store: Store, reporter: Reporter) -> None:
        self._store = store
        self._reporter = reporter

    def roots(self, *, code: Path, run: Path) -> Roots:  # noqa: ARG002 - the image's, whatever this machine has
        """Return the image's places."""
        return IMAGE_ROOTS

    def unavailable(self) -> Unavailable | None:
        """Return why it cannot be used here, or None."""
        program = _program()
        if program is None:
            return Unavailable(
                "apptainer is not installed",
                "install apptainer; on a cluster it may be a module: module load apptainer",
            )
        try:
            process.run([program, "--version"], timeout=_ANSWER_SECONDS)
        except ToolError as error:
            return Unavailable(error.why.splitlines()[-1] if error.why else error.what)
        return None

    def pass_gpus(self, grant: GpuGrant) -> Passing | Unavailable:
        """Return the variables by which CUDA keeps to these GPUs: `--nv` brings in the driver and every device."""
        return Passing(how="by --nv", variables=selection(grant, renumbered=False))

    def not_isolated(self, plan: RunPlan) -> Sequence[str]:
        """Return what the container shares with this machine."""
        shared = ["The step shares this machine's network."] if plan.network else []
        if plan.gpus != NOTHING:
            shared.append("Every GPU of this machine is within the step's reach; CUDA_VISIBLE_DEVICES names its own.")
        return shared

    def run(self, plan: RunPlan, *, log: Path | None) -> Ended:
        """Run the plan in a container that ends when this process dies."""
        assert plan.image is not None, "apptainer needs the environment image"
        program = _program()
        if program is None:
            raise RuntimeUnavailableError("cannot run with apptainer", "it is not installed")
        root = root_filesystem(self._store, read_image(self._store, plan.image).layers, self._reporter)
        work = plan.output.parent / "temporary"
        with files.os_errors(f"make {work}"):
            (work / "home").mkdir(parents=True)
        try:
            with output_to(log, plan.secrets.values()) as output:
                ended = child.supervise(
                    [program, *apptainer_arguments(plan, root, work, as_root=os.geteuid() == 0)],
                    env=apptainer_environment(plan, program.name, os.environ),
                    output=None if log is None else output,
                    deliver=child.send,
                )
        finally:
            files.remove_tree(work)
        if ended.status == _OWN_FAILURE:
            self._reporter.warn(f"{program.name} gives 255 for failures of its own, too: see its last lines above")
        return ended


def _program() -> Path | None:
    return next((Path(found) for found in map(shutil.which, PROGRAMS) if found), None)
