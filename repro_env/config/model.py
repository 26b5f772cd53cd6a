"""What a person asked for: the checked content of `repro.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from repro_env.config.exports import Exports
from repro_env.config.machine import GpuRequest, HostRequest
from repro_env.frozen import dataclass
from repro_env.values import Platform, PythonVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class DebianBase:
    """A root filesystem of Debian packages: of suite `debian`, with `packages` beyond the standard set."""

    name: str
    debian: str
    packages: tuple[str, ...] = ()
    mirror: str = ""  # empty: the user's setting, else deb.debian.org


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBase:
    """A root filesystem that a registry has: the image called `image`, as people write a reference.

    `glibc` and `python` (a full version) say what is in the image; where `glibc` is empty both are read out of its
    layers. With `glibc` alone the image has no Python.
    """

    name: str
    image: str
    glibc: str = ""
    python: str = ""


Base = DebianBase | ImageBase


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """A named input outside the image.

    `path` is a file or directory, relative to the project; where the data comes from elsewhere, it is where it is put,
    and may be empty. Elsewhere is `uri`, or the `query` that the service answers whose address is in the environment
    variable `connection`. `source` names the kind of source where the URI's scheme does not, `revision` what of it is
    meant: a branch, a version; `options` are the source's own. `pin` is `content`, or `version` for data that is not to
    be downloaded when locking and is pinned by what its source calls it. `include` and `exclude` are globs relative to
    the data.
    """

    name: str
    path: str = ""
    source: str = ""
    uri: str = ""
    revision: str = ""
    query: str = ""
    connection: str = ""
    pin: str = "content"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The kind of its source: `path`, `s3`, `git`, `sql`, ..."""
        if self.source:
            return self.source
        if self.uri:
            return self.uri.partition(":")[0].partition("+")[0].lower()
        if self.query:
            return "sql"
        return "dvc" if self.path.endswith(".dvc") else "path"


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonRequest:
    """What a step asks of the Python index, before resolution.

    `files` are requirements files, `group` a PEP 735 group of `pyproject.toml`, `script` a file with a PEP 723 header.
    `build` are the normalised names of packages that are built from their sources; `torch_backend` is the index that
    PyTorch's packages come from, `cu128`, empty for that of all others.
    """

    version: PythonVersion
    dependencies: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    group: str = ""
    script: str = ""
    build: tuple[str, ...] = ()
    torch_backend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command with its own environment, inputs and outputs.

    `inputs` are data names and `STEP.OUTPUT` references; `outputs` maps a name to a path relative to the project;
    `compare` says how an output is held against another run's (see `comparison`), where not byte for byte; `keep` are
    the outputs of which each run keeps a copy; `code` are globs relative to the project, or None for what git tracks.
    `secrets` are the names, sorted, of variables that are taken from the environment of whoever runs the step.
    With `bytecode` the image holds its Python compiled, too; with `deterministic` its libraries are told to give the
    same numbers each time. `gpu` and `host` are what it asks of the machine, None for nothing.
    """

    name: str
    base: str
    python: PythonRequest
    command: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    compare: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    code: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    network: bool = False
    bytecode: bool = False
    deterministic: bool = False
    gpu: GpuRequest | None = None
    host: HostRequest | None = None

    @property
    def upstream(self) -> tuple[str, ...]:
        """The steps whose outputs this one takes, each once, in the order of `inputs`."""
        return tuple(dict.fromkeys(name.partition(".")[0] for name in self.inputs if "." in name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A whole `repro.toml`. `file` is its name as messages show it. Steps stand in dependency order.

    `exports` is no part of what is locked. `text` and the `table` inside it are what it was read from, so that a later
    problem can be given its line.
    """

    name: str
    file: str
    platforms: tuple[Platform, ...]
    bases: Mapping[str, Base]
    data: Mapping[str, Data]
    steps: Mapping[str, Step]
    exports: Exports = field(default_factory=Exports)
    text: str = field(default="", compare=False, repr=False)
    table: tuple[str, ...] = field(default=(), compare=False, repr=False)
