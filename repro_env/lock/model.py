"""What `repro.lock` pins. Every value here was checked on the way in; see `lock.parse` for the door."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from repro_env.config.machine import GpuRequest, HostRequest
from repro_env.frozen import dataclass
from repro_env.lock.bases import DebianPackage, DebianRoot, DebianSource, ImageLayer, ImageRoot, LockedBase, Root
from repro_env.lock.gpu_code import GpuCode
from repro_env.values import Digest, Platform, PythonVersion

if TYPE_CHECKING:
    from repro_env.lock.cuda import CudaFacts

__all__ = [
    "LAYOUT",
    "VERSION",
    "BuiltWheel",
    "DebianPackage",
    "DebianRoot",
    "DebianSource",
    "Environment",
    "ImageLayer",
    "ImageRoot",
    "Interpreter",
    "LocalPackage",
    "Lock",
    "LockedBase",
    "LockedData",
    "LockedStep",
    "Root",
    "SourcePackage",
    "Wheel",
]

VERSION = 1
"""Of the lock's format. A reader refuses a newer one."""

LAYOUT = 1
"""Of the layers' bytes: how a wheel or a Debian package becomes a layer. Part of the lock, so that a later program
can still make the older layout's bytes."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Wheel:
    """One distribution file, shared by all steps that use it. `name` is normalised; `file` is the wheel's file name."""

    name: str
    version: str
    file: str
    url: str
    sha256: Digest
    size: int

    @property
    def reference(self) -> str:
        """How a step's list names this wheel: `numpy==1.26.4 sha256:666dbfb6ec68`."""
        return f"{self.name}=={self.version} sha256:{self.sha256.short}"

    @property
    def long_reference(self) -> str:
        """The reference with the whole hash, for wheels that share the short one."""
        return f"{self.name}=={self.version} {self.sha256}"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Interpreter:
    """A Python that a step brings along, shared by all steps that use it: one archive of python-build-standalone.

    `version` is the full one; `url` is a hint, `sha256` the identity of the archive, `size` in bytes.
    """

    version: str
    url: str
    sha256: Digest
    size: int

    @property
    def file(self) -> str:
        """The archive's file name, for people."""
        return unquote(self.url.rpartition("/")[2])


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class LocalPackage:
    """A package whose sources are people's own: the project's, or one beside it. It is built as they stand.

    Like a step's code, its content is not pinned here: an edit makes another image and leaves the lock as it is. What
    decides which packages it needs is: `metadata` is the digest of that, and `requires` are the wheels that its build
    needs. `path` is its directory, relative to the project; `version` is empty where only a build finds it out.
    """

    name: str
    path: str
    metadata: Digest
    version: str = ""
    requires: tuple[Wheel, ...] = ()  # sorted by name


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class BuiltWheel:
    """A wheel that was built from pinned sources. `contents` maps each of its files to its SHA-256.

    That is for people: where a later build gives other bytes, it tells which files differ.
    """

    file: str
    sha256: Digest
    size: int
    contents: tuple[tuple[str, Digest], ...]  # sorted by path


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SourcePackage:
    """A package that is built from its source distribution, because its step allows that by name.

    `url` is a hint, `sha256` the identity of the sources, `size` in bytes; `requires` are the wheels that the build
    needs, and `wheel` is what it gave, once built.
    """

    name: str
    version: str
    file: str
    url: str
    sha256: Digest
    size: int
    requires: tuple[Wheel, ...] = ()  # sorted by name
    wheel: BuiltWheel | None = None

    @property
    def built(self) -> Wheel:
        """The wheel that was built, as any other; it has no URL."""
        assert self.wheel is not None, "only once it was built"
        wheel = self.wheel
        return Wheel(
            name=self.name, version=self.version, file=wheel.file, url="", sha256=wheel.sha256, size=wheel.size
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A step's Python environment on one platform.

    `interpreter` is the full version; `archive` is where it comes from, None for the base's own; `sources` are the
    packages that are built from pinned sources and `local` those of people's own, which stand above the environment's
    image; `layout` is that of the layers; `image` the digest of the environment image's manifest, once built; `cuda`
    what CUDA the step brings along, with that of its base, None for none.
    """

    interpreter: str
    wheels: tuple[Wheel, ...]  # sorted by name
    sources: tuple[SourcePackage, ...] = ()  # sorted by name
    local: tuple[LocalPackage, ...] = ()  # sorted by name
    archive: Interpreter | None = None
    layout: int = LAYOUT
    image: Digest | None = None
    cuda: CudaFacts | None = None

    @property
    def installed(self) -> tuple[Wheel, ...]:
        """The wheels in the environment's image: those pinned as such, and those that pinned sources gave."""
        built = (source.built for source in self.sources if source.wheel is not None)
        return tuple(sorted((*self.wheels, *built)))

    @property
    def names(self) -> frozenset[str]:
        """The names of all packages, those included that only builds need."""
        named = {wheel.name for wheel in self.all_wheels} | {source.name for source in self.sources}
        return frozenset(named | {local.name for local in self.local})

    @property
    def versions(self) -> tuple[tuple[str, str], ...]:
        """Name and version of every package that is pinned to be installed, sorted."""
        wheels = [(wheel.name, wheel.version) for wheel in self.wheels]
        return tuple(sorted([*wheels, *((source.name, source.version) for source in self.sources)]))

    @property
    def all_wheels(self) -> Iterator[Wheel]:
        """The wheels that are installed, and those that only builds need."""
        yield from self.wheels
        for source in self.sources:
            yield from source.requires
        for local in self.local:
            yield from local.requires


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedStep:
    """Everything that decides what a step is, and `compare`: how its outputs are held against those of another run.

    `secrets` are the names of variables that whoever runs the step has to have; they are no part of what it is.
    `torch_backend` is the index of PyTorch's packages, empty for that of all others; `deterministic` are the variables
    that `deterministic = true` stands for, none without it.
    """

    name: str
    base: str
    python: PythonVersion
    command: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    compare: Mapping[str, str] = field(default_factory=dict)
    code: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    network: bool = False
    bytecode: bool = False
    torch_backend: str = ""
    deterministic: Mapping[str, str] = field(default_factory=dict)
    gpu: GpuRequest | None = None
    host: HostRequest | None = None
    environments: Mapping[Platform, Environment] = field(default_factory=dict)

    @property
    def variables(self) -> Mapping[str, str]:
        """What the step's environment is to say: what it declares itself goes before what it asks for by name."""
        return {**self.deterministic, **self.env}

    @property
    def overridden(self) -> Mapping[str, str]:
        """The variables of `deterministic` that the step's own `env` sets to something else."""
        return {
            name: self.env[name] for name, value in self.deterministic.items() if self.env.get(name, value) != value
        }

    @property
    def upstream(self) -> tuple[str, ...]:
        """The steps whose outputs this one takes, each once, in the order of `inputs`."""
        return tuple(dict.fromkeys(name.partition(".")[0] for name in self.inputs if "." in name))


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedData:
    """One data input: `kind` is `file` (digest of its content) or `directory` (of its manifest); `size` in bytes.

    `path` is where it stands: relative to the project, absolute for `file:` data. `source` is the kind of its source,
    `uri`, `query`, `connection` and `options` what that was asked, `revision` what it took that to mean, in its own
    words. `pin` is what the digest is made of: `sha256` of content, or the name of what is weaker, such as `etag`; then
    `digest` is of a list of those, and `content` the digest of the content where that was seen.
    """

    name: str
    path: str
    kind: str
    digest: Digest
    files: int
    size: int
    source: str = "path"
    uri: str = ""
    revision: str = ""
    query: str = ""
    connection: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    pin: str = "sha256"
    content: Digest | None = None

    @property
    def is_weak(self) -> bool:
        """Whether its pin is no hash of its content, which has to be said wherever the pin is shown."""
        return self.pin != "sha256"

    @property
    def content_digest(self) -> Digest | None:
        """The digest of its content, or None where nobody has seen it."""
        return self.content if self.is_weak else self.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A whole `repro.lock`.

    `inputs` maps what the lock was made from (`base.slim`, `data.raw`, `step.clean`, `step.clean.python`) to the digest
    of that request, so that `repro lock --check` needs neither network nor resolver. `gpu_code` maps a wheel's SHA-256
    to those of its libraries that carry code for GPUs, sorted; building finds them. A wheel that is not in it carries
    none, if it is of an environment with an `image`; else nobody has looked yet.
    """

    project: str
    inputs: Mapping[str, Digest]
    bases: Mapping[str, LockedBase]
    steps: Mapping[str, LockedStep]
    data: Mapping[str, LockedData]
    gpu_code: Mapping[Digest, tuple[GpuCode, ...]] = field(default_factory=dict)
    version: int = VERSION

    @property
    def wheels(self) -> tuple[Wheel, ...]:
        """Every distribution file that any step, or the build of one's packages, uses, each once, sorted."""
        return tuple(sorted({wheel for environment in self._environments for wheel in environment.all_wheels}))

    @property
    def installed(self) -> tuple[Wheel, ...]:
        """Every wheel in the image of any environment, each once, sorted; those included that pinned sources gave."""
        return tuple(sorted({wheel for environment in self._environments for wheel in environment.installed}))

    @property
    def interpreters(self) -> tuple[Interpreter, ...]:
        """Every Python that any step brings along, each once, sorted."""
        return tuple(sorted({one.archive for one in self._environments if one.archive is not None}))

    @property
    def _environments(self) -> Iterator[Environment]:
        return (environment for step in self.steps.values() for environment in step.environments.values())
