"""Assembling environment images: base, interpreter and packages, as layers made at once and stacked in one order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from repro_env.build.bytecode import compiled_layers
from repro_env.build.compiling import Compiler
from repro_env.build.interpreter import interpreter_layer
from repro_env.build.layout import group_wheels, most_alone
from repro_env.edges.pool import thread_pool
from repro_env.edges.report import Reporter
from repro_env.frozen import dataclass
from repro_env.image.base import base_image_layers
from repro_env.image.debian import build_base_layers
from repro_env.image.layer import Layer
from repro_env.image.oci import Image
from repro_env.image.python_archive import python_layer
from repro_env.image.store import Store
from repro_env.image.wheel_layer import WheelLayer, merge_paths, wheel_layer
from repro_env.lock.gpu_code import GpuCode
from repro_env.lock.model import DebianRoot, Environment, ImageRoot, Lock, LockedStep, Root, Wheel
from repro_env.lock.places import ENVIRONMENT, INTERPRETER
from repro_env.values import Digest, Platform, PythonVersion

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Assembled:
    """An environment image, and what its wheels carry for GPUs: the libraries of each that carries any, by SHA-256."""

    image: Image
    gpu_code: Mapping[Digest, tuple[GpuCode, ...]]


@dataclass(frozen=True, slots=True)
class Assembler:
    """What assembling needs at hand. `workers` make layers at once; no digest depends on how many there are."""

    store: Store
    workers: int
    report: Reporter

    def image(self, lock: Lock, step: LockedStep, platform: Platform) -> Image:
        """Return the image of a step's base, interpreter and packages. It names neither the step nor the project."""
        return self.assemble(lock, step, platform).image

    def assemble(self, lock: Lock, step: LockedStep, platform: Platform) -> Assembled:
        """Return the same image with what was found in its packages while their layers were made."""
        environment = step.environments[platform]
        root = lock.bases[step.base].roots[platform]
        with thread_pool(self.workers, "layer") as pool:
            beneath = pool.submit(self._base_layers, root)
            brought = pool.submit(self._brought_layers, environment)
            wheels = self._wheel_layers(environment, step, root, pool)
        packages: tuple[Layer, ...] = tuple(one.layer for one in wheels)
        program = _program(step.python, environment, root)
        interpreter = interpreter_layer(step.python, environment.interpreter, self.store, program=program)
        standing = (*beneath.result(), *brought.result())
        if step.bytecode:
            compiler = Compiler(
                version=environment.interpreter,
                program=program,
                platform=platform,
                layers=standing,
                store=self.store,
                workers=self.workers,
            )
            own = standing if isinstance(root, DebianRoot) else brought.result()
            packages = self._with_bytecode(own, packages, compiler)
        image = Image(
            platform=platform,
            layers=(*standing, interpreter, *packages),
            env=_variables(root),
            command=("python",),
            user=root.user if isinstance(root, ImageRoot) else "",
        )
        return Assembled(image, {wheel: code for one in wheels for wheel, code in one.gpu_code.items()})

    def _base_layers(self, root: Root) -> tuple[Layer, ...]:
        return base_image_layers(root) if isinstance(root, ImageRoot) else build_base_layers(root, self.store)

    def _brought_layers(self, environment: Environment) -> tuple[Layer, ...]:
        return () if environment.archive is None else (python_layer(environment.archive, self.store),)

    def _with_bytecode(
        self, standard: Sequence[Layer], packages: Sequence[Layer], compiler: Compiler
    ) -> tuple[Layer, ...]:
        """Return the packages' layers with those of byte code: a layer's own after it, what changes most at the end.

        `standard` are layers of which the standard library may be compiled, too.
        """
        bytecode = compiled_layers((*standard, *packages), compiler, self.store, self.report)
        first = [bytecode.beside[layer.diff_id] for layer in standard if layer.diff_id in bytecode.beside]
        pairs = [(layer, bytecode.beside.get(layer.diff_id)) for layer in packages]
        stacked = [one for pair in pairs for one in pair if one is not None]
        return (*first, *stacked, *([bytecode.together] if bytecode.together else []))

    def _wheel_layers(
        self, environment: Environment, step: LockedStep, root: Root, pool: ThreadPoolExecutor
    ) -> list[WheelLayer]:
        """Make the layers of an environment's wheels, the largest first, and check that none writes over another."""
        groups = _groups(environment.installed, most_alone(root, bytecode=step.bytecode))
        layers = self._packages(groups, environment, step.python, pool)
        merge_paths(layers)
        return layers

    def local_layer(self, wheels: Sequence[Wheel], step: LockedStep, platform: Platform) -> Layer:
        """Return the layer of people's own packages, which writes over nothing of the environment's.

        Errors: `BuildError` naming what two packages write.
        """
        environment = step.environments[platform]
        comment = ", ".join(f"{wheel.name} {wheel.version}" for wheel in wheels)
        made = wheel_layer(wheels, step.python, self.store, layout=environment.layout, comment=comment)
        groups = _groups(environment.installed, most_alone(None, bytecode=step.bytecode))
        with thread_pool(self.workers, "layer") as pool:
            merge_paths([*self._packages(groups, environment, step.python, pool), made])
        return made.layer

    def _packages(
        self, groups: Sequence[_Group], environment: Environment, python: PythonVersion, pool: ThreadPoolExecutor
    ) -> list[WheelLayer]:
        with self.report.task("making layers", sum(group.size for group in groups)) as task:

            def make(group: _Group) -> WheelLayer:
                made = wheel_layer(group.wheels, python, self.store, layout=environment.layout, comment=group.comment)
                task.advance(group.size)
                return made

            largest_first = sorted(groups, key=lambda group: -group.size)
            made = dict(zip(largest_first, pool.map(make, largest_first), strict=True))
        return [made[group] for group in groups]


def _program(python: PythonVersion, environment: Environment, root: Root) -> str:
    """Return where the interpreter stands in the image that `/opt/env` is a virtual environment of."""
    if environment.archive is not None:
        return f"{INTERPRETER}/bin/python{python}"
    return root.interpreter if isinstance(root, ImageRoot) else f"/usr/bin/python{python}"


def _variables(root: Root) -> dict[str, str]:
    """Return the environment of the image: the base's own, with ours before or over it."""
    given = root.env if isinstance(root, ImageRoot) else {}
    path = f"{ENVIRONMENT}/bin:{given.get('PATH') or SYSTEM_PATH}"
    return {"LANG": "C.UTF-8", **given, "PATH": path, "VIRTUAL_ENV": ENVIRONMENT}


@dataclass(frozen=True, slots=True)
class _Group:
    """The wheels of one layer, in the order the image holds the layers."""

    wheels: tuple[Wheel, ...]

    @property
    def size(self) -> int:
        return sum(wheel.size for wheel in self.wheels)

    @property
    def comment(self) -> str:
        return ", ".join(f"{wheel.name} {wheel.version}" for wheel in self.wheels)


def _groups(wheels: tuple[Wheel, ...], most: int) -> list[_Group]:
    alone, bundle = group_wheels(wheels, most)
    groups = [_Group((wheel,)) for wheel in alone]
    return [*groups, _Group(bundle)] if bundle else groups
