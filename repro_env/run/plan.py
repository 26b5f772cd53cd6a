"""What one run of a step is, before anything is started: command, environment, mounts, limits.

A plan says what the step sees and is the same for every runtime that isolates; `runtimes/` turns it into each one's
own words. Nothing of the caller's environment gets in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from types import MappingProxyType

from repro_env.frozen import dataclass
from repro_env.lock import places
from repro_env.lock.model import Environment, LockedStep
from repro_env.run.gpus import NOTHING, Passing, with_paths
from repro_env.run.mounts import Mount
from repro_env.values import Digest

SHARED_MEMORY = 8 * 2**30
"""Bytes that `/dev/shm` may hold. It costs nothing until it is used, and the 64 MiB that Docker gives break a
`DataLoader` with workers."""

PATH = f"{places.ENVIRONMENT}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

HOSTNAME = "repro"

ENVIRONMENT: Mapping[str, str] = {
    "HOME": "/tmp",  # noqa: S108 - the step's own, a fresh one each run
    "LANG": "C.UTF-8",
    # getpass.getuser() fails where the user has no entry in /etc/passwd; PyTorch's compiler calls it.
    "LOGNAME": "repro",
    "PATH": PATH,
    # Output goes through a pipe to be kept; a line should still be seen when it is printed.
    "PYTHONUNBUFFERED": "1",
    "TZ": "UTC",
    "USER": "repro",
}
"""What every step's environment starts from. The image and the step may override it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input of a step.

    `name` is as the step lists it (`raw`, `clean.table`), `declared` the path that `repro.toml` gives it, which decides
    its base name in the image, and `source` where it is on this machine.
    """

    name: str
    declared: str
    source: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Whose files the outputs become."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """Everything that starting a step takes.

    `image` is the manifest's digest of what the runtime needs (see `runtimes.base.Runtime.needs`): the environment
    image or the step image, or None without one. `outputs` maps an output's name to its path below `output`, which is
    also its path in the project. `shared_memory` is in bytes. `beside` is what is mounted that is no input. `secrets`
    are the step's, with their values, which no runtime puts where anybody but the step can read them.
    """

    run: str
    project: str
    step: LockedStep
    environment: Environment
    image: Digest | None
    argv: tuple[str, ...]
    variables: Mapping[str, str]
    roots: places.Roots
    code: Path
    inputs: tuple[Mount, ...]
    output: Path
    user: User
    shared_memory: int = SHARED_MEMORY
    gpus: Passing = NOTHING
    beside: tuple[Mount, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def network(self) -> bool:
        """Whether the step may reach beyond this machine's loopback."""
        return self.step.network

    @property
    def tag(self) -> str:
        """The name that an engine's users see the image under: `repro/churn-train:0123456789ab`."""
        assert self.image is not None, "only an image has a name"
        return f"repro/{self.project}-{self.step.name}:{self.image.short}"

    @property
    def container(self) -> str:
        """The name of the container, the same in every engine."""
        return f"repro-{self.run}"


def plan_run(
    step: LockedStep,
    environment: Environment,
    *,
    run: str,
    project: str,
    image: Digest | None,
    image_environment: Mapping[str, str],
    inputs: Sequence[Input],
    code: Path,
    output: Path,
    user: User,
    arguments: Sequence[str] = (),
    roots: places.Roots = places.IMAGE_ROOTS,
    gpus: Passing = NOTHING,
    secrets: Mapping[str, str] = MappingProxyType({}),
) -> RunPlan:
    """Return the plan of one run.

    `code` is the directory that holds the step's code and `output` the run's own fresh directory; `arguments` are
    appended to the command; `image_environment` is what the image's config declares. `roots` are the places as the step
    sees them; `gpus` is how the runtime passes what the step is given; `secrets` are the values of the step's secrets.
    Errors: `KeyError` when the command names an input or output that the step does not have, which the lock's door has
    refused before.
    """
    seen = {entry.name: places.input_place(roots, entry.name, entry.declared) for entry in inputs}
    made = {name: places.output_place(roots, declared) for name, declared in step.outputs.items()}
    variables = _variables(step, run, {**image_environment, **_unasked(image_environment)}, gpus.variables, seen, made)
    given = with_paths(variables, gpus.paths)
    return RunPlan(
        run=run,
        project=project,
        step=step,
        environment=environment,
        image=image,
        argv=(*places.expand(step.command, inputs=seen, outputs=made), *arguments),
        variables={name: value for name, value in sorted(given.items()) if name not in secrets},
        roots=roots,
        code=code,
        inputs=tuple(Mount(source=entry.source, target=seen[entry.name]) for entry in inputs),
        output=output,
        user=user,
        shared_memory=max(SHARED_MEMORY, step.host.shm if step.host else 0),
        gpus=gpus,
        secrets=dict(sorted(secrets.items())),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What verifies a machine where the step runs: a command, before the step's own, that becomes that one.

    It gets `variables` beside the step's, and `mounts` is what it reads and writes.
    """

    command: tuple[str, ...]
    variables: Mapping[str, str]
    mounts: tuple[Mount, ...]


def checked(plan: RunPlan, check: Check) -> RunPlan:
    """Return a plan whose command is started by a check."""
    return replace(
        plan,
        argv=(*check.command, *plan.argv),
        variables=dict(sorted({**plan.variables, **check.variables}.items())),
        beside=(*plan.beside, *check.mounts),
    )


def mounts(plan: RunPlan) -> tuple[Mount, ...]:
    """Return what an isolating runtime mounts beside the image: code and inputs read-only, the output writable."""
    return (
        Mount(source=plan.code, target=plan.roots.code),
        *shown(plan),
    )


def shown(plan: RunPlan) -> tuple[Mount, ...]:
    """Return the same without the code, for a runtime that has it in the image."""
    return (*plan.inputs, *plan.beside, Mount(source=plan.output, target=plan.roots.output, read_only=False))


def _unasked(image_environment: Mapping[str, str]) -> dict[str, str]:
    """Return what keeps an engine whose default runtime is NVIDIA's from giving the GPUs that an image asks it for.

    A step has those it is given, or none. Source: NVIDIA's container toolkit, "GPU enumeration".
    """
    name = "NVIDIA_VISIBLE_DEVICES"
    return {name: "void"} if name in image_environment else {}


def _variables(
    step: LockedStep,
    run: str,
    image_environment: Mapping[str, str],
    gpus: Mapping[str, str],
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
) -> dict[str, str]:
    """Return the step's whole environment; what `repro` says of places and of the GPUs cannot be overridden."""
    own = {"REPRO_STEP": step.name, "REPRO_RUN": run}
    own |= {places.input_variable(name): place for name, place in inputs.items()}
    own |= {places.variable("OUTPUT", name): place for name, place in outputs.items()}
    return {**ENVIRONMENT, **image_environment, **step.variables, **gpus, **own}
