"""A whole project resolved: bases first, then every step's packages at once, with every pin kept that may stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field, replace

from repro_env.config.model import Base, Project, Step
from repro_env.config.versions import VersionRange, version
from repro_env.edges.pool import thread_pool
from repro_env.errors import ResolutionError
from repro_env.frozen import dataclass
from repro_env.lock.cuda import CudaCompat, CudaFacts, compat_words, cuda_facts
from repro_env.lock.drift import locked_step, stale_requests
from repro_env.lock.gpu_code import gpu_code_of
from repro_env.lock.model import Environment, ImageRoot, Interpreter, Lock, LockedBase, LockedData, Root, SourcePackage
from repro_env.lock.sources import PythonInputs, all_python_inputs
from repro_env.resolve.python.request import Packages, StepRequest
from repro_env.values import Digest, Platform, PythonVersion, normalise_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """Which pins may move though nothing asks for it: all of them, or those of some Python packages or data inputs."""

    everything: bool = False
    packages: frozenset[str] = frozenset()  # normalised names
    data: frozenset[str] = frozenset()

    @classmethod
    def of(cls, *, everything: bool, packages: Sequence[str], data: Sequence[str] = ()) -> Upgrade:
        """Return the upgrade asked for on the command line. Errors: `ResolutionError` for what is no package name."""
        try:
            return cls(everything=everything, packages=frozenset(map(normalise_name, packages)), data=frozenset(data))
        except ValueError as error:
            raise ResolutionError("cannot upgrade that", str(error)) from error

    def concerns(self, environment: Environment) -> bool:
        """Whether a step's packages have to be resolved for this."""
        return self.everything or not self.packages.isdisjoint(environment.names)


BaseResolver = Callable[[Base, LockedBase | None], LockedBase]
"""From a base as asked for, and its earlier pins where they are to be kept, to its pins."""

PythonResolver = Callable[[Sequence[StepRequest]], Mapping[tuple[str, Platform], Packages]]
"""From requests to the packages of each step on each platform."""

InterpreterResolver = Callable[[PythonVersion, Platform], Interpreter]
"""From a minor version to the Python that a step brings along where its base has none of it."""

_OLDEST_GLIBC = 17
"""The N of glibc 2.N that the Pythons which steps bring along need.
Source: https://gregoryszorc.com/docs/python-build-standalone/main/running.html"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """One resolution of a project.

    `digests` are those of the project's requests and `sources` the texts they were taken from; `data` is what the data
    inputs are now; `previous` is the lock whose pins are kept, if there is one. `stale_local` are the directories of
    people's own packages whose metadata changed since then.
    """

    project: Project
    digests: Mapping[str, Digest]
    sources: Mapping[str, str]
    data: Mapping[str, LockedData]
    resolve_base: BaseResolver
    resolve_python: PythonResolver
    resolve_interpreter: InterpreterResolver
    previous: Lock | None = None
    stale_local: frozenset[str] = frozenset()
    upgrade: Upgrade = field(default_factory=Upgrade)

    def lock(self) -> Lock:
        """Return the lock. Errors: `ResolutionError`, `FetchError`, `IntegrityError`, `StoreError`."""
        bases = self._bases()
        environments = self._environments(bases)
        lock = Lock(
            project=self.project.name,
            inputs=self.digests,
            bases=bases,
            steps={
                name: locked_step(step, {platform: environments[name, platform] for platform in self.project.platforms})
                for name, step in self.project.steps.items()
            },
            data=self.data,
        )
        known = self.previous.gpu_code if self.previous else {}
        return replace(lock, gpu_code=gpu_code_of(known, (wheel.sha256 for wheel in lock.installed)))

    def is_stale(self, key: str) -> bool:
        """Whether the previous lock was not made from the request of this key."""
        return self.previous is None or key in stale_requests(self.previous, self.digests)

    def _bases(self) -> dict[str, LockedBase]:
        kept = {} if self.previous is None or self.upgrade.everything else self.previous.bases
        stale = [name for name in self.project.bases if name not in kept or self.is_stale(f"base.{name}")]
        with thread_pool(4, "base") as pool:
            fresh = dict(
                zip(
                    stale, pool.map(lambda n: self.resolve_base(self.project.bases[n], kept.get(n)), stale), strict=True
                )
            )
        return {name: fresh.get(name) or kept[name] for name in self.project.bases}

    def _environments(self, bases: Mapping[str, LockedBase]) -> dict[tuple[str, Platform], Environment]:
        inputs = all_python_inputs(self.project, self.sources)
        archives = self._interpreters(bases)
        kept: dict[tuple[str, Platform], Environment] = {}
        requests: dict[tuple[str, Platform], StepRequest] = {}
        for name, step in self.project.steps.items():
            for platform in self.project.platforms:
                root, before = bases[step.base].roots[platform], self._before(name, platform)
                archive = archives[name, platform]
                request = _request(step, platform, root, before, inputs[name], archive)
                if before is not None and before.archive == archive and self._stands(request, before):
                    kept[name, platform] = before
                else:
                    requests[name, platform] = request
        resolved = self.resolve_python(tuple(requests.values())) if requests else {}
        fresh = {
            key: Environment(
                interpreter=requests[key].interpreter,
                wheels=packages.wheels,
                sources=packages.sources,
                local=packages.local,
                archive=archives[key],
            )
            for key, packages in resolved.items()
        }
        built = {key: self._with_built(key, environment, bases) for key, environment in {**kept, **fresh}.items()}
        roots = {(name, platform): bases[self.project.steps[name].base].roots[platform] for name, platform in built}
        found = {key: _with_cuda(environment, roots[key]) for key, environment in built.items()}
        unserved = {key: _unserved(self.project.steps[key[0]], found[key], roots[key]) for key in found}
        _check_drivers({name: why for (name, _platform), why in unserved.items() if why})
        return found

    def _interpreters(self, bases: Mapping[str, LockedBase]) -> dict[tuple[str, Platform], Interpreter | None]:
        """Return the Python that each step brings along on each platform, None where it takes its base's own."""
        known = {} if self.previous is None or self.upgrade.everything else pinned_interpreters(self.previous)
        found: dict[tuple[str, Platform], Interpreter | None] = {}
        for name, step in self.project.steps.items():
            for platform in self.project.platforms:
                root, wanted = bases[step.base].roots[platform], (step.python.version, platform)
                if root.python.startswith(f"{step.python.version}."):
                    found[name, platform] = None
                    continue
                _check_glibc(step, root)
                if wanted not in known:
                    known[wanted] = self.resolve_interpreter(*wanted)
                found[name, platform] = known[wanted]
        return found

    def _before(self, name: str, platform: Platform) -> Environment | None:
        step = self.previous.steps.get(name) if self.previous else None
        return step.environments.get(platform) if step else None

    def _stands(self, request: StepRequest, before: Environment) -> bool:
        """Whether a step's packages stand: neither its request nor what its wheels must fit changed."""
        base = self._base_before(request.step, request.platform)
        fits = base is not None and (base.glibc, before.interpreter) == (request.glibc, request.interpreter)
        fits = fits and self.stale_local.isdisjoint(package.path for package in before.local)
        return fits and not self.is_stale(f"step.{request.step}.python") and not self.upgrade.concerns(before)

    def _base_before(self, name: str, platform: Platform) -> Root | None:
        step = self.previous.steps.get(name) if self.previous else None
        base = self.previous.bases.get(step.base) if self.previous and step else None
        return base.roots.get(platform) if base else None

    def _bytecode_before(self, name: str) -> bool:
        """Whether the step's Python was compiled, or not, as it is to be now."""
        step = self.previous.steps.get(name) if self.previous else None
        return step is not None and step.bytecode == self.project.steps[name].bytecode

    def _with_built(
        self, key: tuple[str, Platform], environment: Environment, bases: Mapping[str, LockedBase]
    ) -> Environment:
        """Keep what was recorded of builds, of wheels and of the image, where it is still of these pins."""
        before = self._before(*key)
        root = bases[self.project.steps[key[0]].base].roots[key[1]]
        if before is None or self._base_before(*key) != root or before.interpreter != environment.interpreter:
            return replace(environment, image=None, sources=_with_wheels(environment.sources, ()))
        environment = replace(environment, image=None, sources=_with_wheels(environment.sources, before.sources))
        same = replace(before, image=None, local=(), cuda=None) == replace(environment, local=(), cuda=None)
        return replace(environment, image=before.image if same and self._bytecode_before(key[0]) else None)


def _with_cuda(environment: Environment, root: Root) -> Environment:
    """Say anew what CUDA follows from the pins: a later program may know more than the one that wrote the lock."""
    env = root.env if isinstance(root, ImageRoot) else {}
    return replace(environment, cuda=cuda_facts(environment.versions, env))


def _unserved(step: Step, environment: Environment, root: Root) -> str:
    """Return why no driver that a step asks for can run the CUDA that it brings along, or nothing."""
    cuda, asked = environment.cuda, step.gpu.driver if step.gpu else None
    if cuda is None or not asked or not cuda.driver or asked.meets(f">={cuda.driver}"):
        return ""
    compat = root.compat if isinstance(root, ImageRoot) else None
    if compat is not None and _may_bridge(compat, asked, cuda):
        return ""
    told = f"; the base's cuda-compat is of {compat_words(compat)}" if compat is not None else ""
    return f"gpu.driver is {asked}, and CUDA {cuda.runtime}, from {cuda.origin}, needs {cuda.driver} or newer{told}"


def _check_drivers(unserved: Mapping[str, str]) -> None:
    """Refuse steps that ask for drivers which cannot run their CUDA, and say why of each. Errors: `ResolutionError`."""
    if not unserved:
        return
    [name, *others] = unserved
    what = f"step {name} asks for a driver that cannot run its CUDA"
    raise ResolutionError(
        f"steps {', '.join(unserved)} ask for drivers that cannot run their CUDA" if others else what,
        "\n".join(f"{name}: {why}" for name, why in unserved.items()) if others else unserved[name],
        "ask for a newer driver, or for packages made for an older CUDA",
    )


def _may_bridge(compat: CudaCompat, asked: VersionRange, cuda: CudaFacts) -> bool:
    """Whether a base's package may bring a CUDA to a driver of a range; one that names no drivers may to any."""
    if version(compat.cuda) < version(cuda.runtime)[:2]:
        return False
    return not compat.branches or any(asked.meets(f"=={branch}.*") for branch in compat.branches)


def _with_wheels(sources: Iterable[SourcePackage], before: Iterable[SourcePackage]) -> tuple[SourcePackage, ...]:
    """Return packages with the wheels that were built of the same sources before, and no others."""
    built = {replace(package, wheel=None): package.wheel for package in before}
    bare = (replace(package, wheel=None) for package in sources)
    return tuple(replace(package, wheel=built.get(package)) for package in bare)


def pinned_interpreters(lock: Lock) -> dict[tuple[PythonVersion, Platform], Interpreter]:
    """Return what the steps of a lock bring along, by minor version and platform: the newest of several."""
    found: dict[tuple[PythonVersion, Platform], Interpreter] = {}
    for step in lock.steps.values():
        for platform, environment in step.environments.items():
            archive, other = environment.archive, found.get((step.python, platform))
            if archive is not None and (other is None or _patch(other) < _patch(archive)):
                found[step.python, platform] = archive
    return found


def _patch(interpreter: Interpreter) -> int:
    number = interpreter.version.rpartition(".")[2]
    return int(number) if number.isdecimal() else -1


def _request(
    step: Step,
    platform: Platform,
    root: Root,
    before: Environment | None,
    inputs: PythonInputs,
    archive: Interpreter | None,
) -> StepRequest:
    return StepRequest(
        step=step.name,
        python=step.python.version,
        platform=platform,
        glibc=root.glibc,
        interpreter=archive.version if archive else root.python,
        inputs=inputs,
        group=step.python.group,
        script=step.python.script,
        build=step.python.build,
        torch_backend=step.python.torch_backend,
        previous=before.wheels if before else (),
        previous_sources=before.sources if before else (),
        previous_local=before.local if before else (),
    )


def _check_glibc(step: Step, root: Root) -> None:
    """Check that a Python that is brought along can run on a base. Errors: `ResolutionError`."""
    minor = root.glibc.removeprefix("2.").partition(".")[0]
    if not minor.isdecimal() or int(minor) < _OLDEST_GLIBC:
        has = f"glibc {root.glibc}" if root.glibc else "no glibc"
        raise ResolutionError(
            f"step {step.name} cannot have Python {step.python.version} on base {step.base}",
            f"the base has no Python {step.python.version}, and one brought along needs glibc 2.{_OLDEST_GLIBC}; "
            f"the base has {has}",
            "use a base with a newer glibc, or one that has that Python",
        )
