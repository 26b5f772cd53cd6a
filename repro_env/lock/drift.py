"""In what a lock is not, or no longer, what its project asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from repro_env.config.model import Base, ImageBase, Project, Step
from repro_env.frozen import dataclass
from repro_env.lock.data import data_change
from repro_env.lock.determinism import SETTINGS
from repro_env.lock.model import DebianRoot, Environment, Lock, LockedBase, LockedStep
from repro_env.values import Digest, Platform

_COMPARED = (
    "base",
    "python",
    "command",
    "inputs",
    "outputs",
    "compare",
    "code",
    "env",
    "secrets",
    "network",
    "bytecode",
    "torch-backend",
    "gpu",
    "host",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One difference. `key` is that of the request in `[inputs]`, or `project`; `change` is in people's words."""

    key: str
    change: str

    def __str__(self) -> str:
        subject = " ".join(self.key.split(".")[:2])  # without the part of a step
        return f"{subject}: {self.change}"


def drift(
    lock: Lock, project: Project, digests: Mapping[str, Digest], local: Mapping[str, Digest | None] | None = None
) -> tuple[Drift, ...]:
    """Return every difference, none for a fresh lock. `digests` is what `request_digests` returned for the project.

    `local` are the digests of the metadata of people's own packages, by path; without it those are taken as fresh.
    """
    return (
        *_project(lock, project),
        *_bases(lock, project, digests),
        *_data(lock, project, digests),
        *_steps(lock, project, digests),
        *(_local(lock, project, local) if local is not None else ()),
    )


def stale_requests(lock: Lock, digests: Mapping[str, Digest]) -> frozenset[str]:
    """Return the keys of `digests` that the lock was not made from: what has to be resolved again."""
    return frozenset(key for key, digest in digests.items() if lock.inputs.get(key) != digest)


def stale_local(lock: Lock, digests: Mapping[str, Digest | None]) -> frozenset[str]:
    """Return the directories of people's own packages whose metadata is not what the lock was made from."""
    environments = (environment for step in lock.steps.values() for environment in step.environments.values())
    packages = {package for environment in environments for package in environment.local}
    return frozenset(package.path for package in packages if digests.get(package.path) != package.metadata)


def locked_step(step: Step, environments: Mapping[Platform, Environment]) -> LockedStep:
    """Return what the lock holds of a step whose packages were resolved to these environments."""
    return LockedStep(
        name=step.name,
        base=step.base,
        python=step.python.version,
        command=step.command,
        inputs=step.inputs,
        outputs=step.outputs,
        compare=step.compare,
        code=step.code,
        env=step.env,
        secrets=step.secrets,
        network=step.network,
        bytecode=step.bytecode,
        torch_backend=step.python.torch_backend,
        deterministic=SETTINGS if step.deterministic else {},
        gpu=step.gpu,
        host=step.host,
        environments=environments,
    )


def _project(lock: Lock, project: Project) -> Iterator[Drift]:
    if lock.project != project.name:
        yield Drift(key="project", change=f"name changed from {lock.project} to {project.name}")
    before, after = _locked_platforms(lock), set(project.platforms)
    if before:
        for platform in sorted(after - before):
            yield Drift(key="project", change=f"platform {platform} is new")
        for platform in sorted(before - after):
            yield Drift(key="project", change=f"platform {platform} was removed")


def _locked_platforms(lock: Lock) -> set[Platform]:
    return {platform for base in lock.bases.values() for platform in base.roots}


def _bases(lock: Lock, project: Project, digests: Mapping[str, Digest]) -> Iterator[Drift]:
    yield from _presence("base", lock.bases, project.bases)
    for name, base in project.bases.items():
        key, locked = f"base.{name}", lock.bases.get(name)
        if locked is not None and lock.inputs.get(key) != digests.get(key):
            change = _base_change(base, locked)
            if isinstance(base, ImageBase):
                otherwise = "glibc or python changed"
            else:
                change, otherwise = change or _interpreter_change(name, lock, project), "packages or mirror changed"
            if change or _same_platforms(lock, project):
                yield Drift(key=key, change=change or otherwise)


def _base_change(base: Base, locked: LockedBase) -> str:
    before, after = _origin(locked), _asked_origin(base)
    if before != after:
        same_kind = bool(locked.image) == isinstance(base, ImageBase)
        kind = ("image" if locked.image else "suite") if same_kind else "root filesystem"
        return f"{kind} changed from {before} to {after}"
    if isinstance(base, ImageBase):
        return ""
    roots = [root for root in locked.roots.values() if isinstance(root, DebianRoot)]
    held = {package.name for root in roots for package in root.packages}
    new = [name for name in base.packages if name not in held]
    return f"packages changed: {', '.join(new)} {'is' if len(new) == 1 else 'are'} new" if new else ""


def _origin(locked: LockedBase) -> str:
    """Return what a base was made from, in one word."""
    return locked.image or locked.suite


def _asked_origin(base: Base) -> str:
    return base.image if isinstance(base, ImageBase) else base.debian


def _interpreter_change(name: str, lock: Lock, project: Project) -> str:
    before = sorted({step.python for step in lock.steps.values() if step.base == name})
    after = sorted({step.python.version for step in project.steps.values() if step.base == name})
    texts = (", ".join(map(str, versions)) or "none" for versions in (before, after))
    return f"interpreters of its steps changed from {' to '.join(texts)}" if before != after else ""


def _data(lock: Lock, project: Project, digests: Mapping[str, Digest]) -> Iterator[Drift]:
    yield from _presence("data", lock.data, project.data)
    for name, data in project.data.items():
        key, locked = f"data.{name}", lock.data.get(name)
        if locked is None:
            continue
        same = lock.inputs.get(key) == digests.get(key)
        if change := data_change(data, locked, same_request=same):
            yield Drift(key=key, change=change)


def _steps(lock: Lock, project: Project, digests: Mapping[str, Digest]) -> Iterator[Drift]:
    yield from _presence("step", lock.steps, project.steps)
    for name, step in project.steps.items():
        locked = lock.steps.get(name)
        if locked is None:
            continue
        changed = _changed_fields(step, locked)
        for field in changed:
            yield Drift(key=f"step.{name}", change=f"{field} changed")
        python, whole = f"step.{name}.python", f"step.{name}"
        if lock.inputs.get(python) != digests.get(python):
            if {"python", "torch-backend"}.isdisjoint(changed) and not _explained(step, lock, project):
                yield Drift(key=python, change="requirements changed")
        elif not changed and lock.inputs.get(whole) != digests.get(whole):
            yield Drift(key=whole, change="changed")


def _changed_fields(step: Step, locked: LockedStep) -> list[str]:
    now = locked_step(step, locked.environments)
    changed = [key for key in _COMPARED if getattr(now, _attribute(key)) != getattr(locked, _attribute(key))]
    # Which variables that means was up to the program that locked, so only whether it is asked for counts.
    return changed + ["deterministic"] * (bool(now.deterministic) != bool(locked.deterministic))


def _attribute(key: str) -> str:
    return key.replace("-", "_")


def _explained(step: Step, lock: Lock, project: Project) -> bool:
    """Whether another difference already says why the step's packages have to be resolved again."""
    base = lock.bases.get(lock.steps[step.name].base)
    same = base is not None and _origin(base) == _asked_origin(project.bases[step.base])
    return not same or not _same_platforms(lock, project)


def _same_platforms(lock: Lock, project: Project) -> bool:
    return _locked_platforms(lock) == set(project.platforms)


def _local(lock: Lock, project: Project, digests: Mapping[str, Digest | None]) -> Iterator[Drift]:
    stale = stale_local(lock, digests)
    for name in project.steps:
        step = lock.steps.get(name)
        environments = step.environments.values() if step else ()
        packages = {package.path: package for environment in environments for package in environment.local}
        for path in sorted(stale & packages.keys()):
            change = "changed" if digests.get(path) is not None else "is gone"
            yield Drift(key=f"step.{name}.python", change=f"the metadata of {packages[path].name}, at {path}, {change}")


def _presence(kind: str, locked: Mapping[str, object], asked: Mapping[str, object]) -> Iterator[Drift]:
    for name in asked:
        if name not in locked:
            yield Drift(key=f"{kind}.{name}", change="new")
    for name in sorted(locked):
        if name not in asked:
            yield Drift(key=f"{kind}.{name}", change="removed")
