"""A step's slice of the lock, as far as it is about machines."""

from __future__ import annotations

from repro_env.lock.model import Environment, ImageRoot, Lock, LockedStep
from repro_env.values import Platform
from repro_env.verify.kernels import Library
from repro_env.verify.needs import Needs
from repro_env.verify.runtime import cuda_of, image_requirements


def needs_of(lock: Lock, step: LockedStep, platform: Platform, *, built: bool = False) -> Needs:
    """Return what a step needs of a machine of this platform.

    Which libraries carry code for GPUs is known once the environment was built: the lock records that then, and a build
    knows it before (`built`).
    """
    if step.gpu is None:
        return Needs(project=lock.project, step=step.name, platform=str(platform), host=step.host)
    root = lock.bases[step.base].roots[platform]
    environment = step.environments[platform]
    return Needs(
        project=lock.project,
        step=step.name,
        platform=str(platform),
        gpu=step.gpu,
        host=step.host,
        cuda=cuda_of(environment, root),
        compat=root.compat if isinstance(root, ImageRoot) else None,
        require=image_requirements(root),
        libraries=_libraries(lock, environment) if built or environment.image else None,
    )


def _libraries(lock: Lock, environment: Environment) -> tuple[Library, ...]:
    return tuple(
        Library(
            package=f"{wheel.name} {wheel.version}",
            path=code.path,
            sass=code.sass,
            ptx=code.ptx,
            amd=code.amd,
            unknown=code.unknown,
        )
        for wheel in environment.installed
        for code in lock.gpu_code.get(wheel.sha256, ())
    )
