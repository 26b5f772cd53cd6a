"""Finding and reading what a command works on: the project, its lock, the store."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from repro_env.config.model import Project, Step
from repro_env.config.read import read_project
from repro_env.edges.files import os_errors, read_loosely
from repro_env.errors import ConfigError, LockError
from repro_env.frozen import dataclass
from repro_env.lock.model import Lock
from repro_env.lock.request import request_digests, request_files
from repro_env.values import Digest

if TYPE_CHECKING:
    from repro_env.lock.drift import Drift

LOCK_FILE = "repro.lock"
PROJECT_FILE = "repro.toml"
PYPROJECT = "pyproject.toml"
_TABLE = ("tool", "repro")
_HEADER = re.compile(r"^\s*\[\s*tool\s*\.\s*repro\s*[\].]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Workspace:
    """A project on disk: where it is, what it says, and the digests of what its lock is made from."""

    root: Path
    project: Project
    sources: Mapping[str, str]
    digests: Mapping[str, Digest]

    @property
    def lock_path(self) -> Path:
        """Where the lock is, or will be."""
        return self.root / LOCK_FILE

    def changes(self, lock: Lock) -> tuple[Drift, ...]:
        """Return in what a lock is not of this project as it stands."""
        from repro_env.lock.drift import drift  # noqa: PLC0415 - only once there is a lock

        return drift(lock, self.project, self.digests, self.local_digests(lock))

    def local_digests(self, lock: Lock) -> Mapping[str, Digest | None]:
        """Return what the metadata of the lock's packages of people's own is now, by path."""
        from repro_env.lock.local import local_paths, metadata_digest  # noqa: PLC0415 - same

        def digest(place: Path) -> Digest | None:
            return metadata_digest(lambda name: read_loosely(place / name))

        return {path: digest(self.root / path) for path in local_paths(lock)}

    def step(self, name: str) -> Step:
        """Return the step of that name. Errors: `ConfigError` naming the nearest one."""
        self.check_steps((name,))
        return self.project.steps[name]

    def check_steps(self, names: tuple[str, ...]) -> None:
        """Check that every name is a step's. Errors: `ConfigError` naming the nearest one."""
        for name in names:
            if name not in self.project.steps:
                raise _unknown("step", name, self.project.steps, self.project)

    def check_data(self, names: Iterable[str]) -> None:
        """Check that every name is a data input's. Errors: `ConfigError` naming the nearest one."""
        for name in names:
            if name not in self.project.data:
                raise _unknown("data", name, self.project.data, self.project)


def open_workspace(start: Path | None = None) -> Workspace:
    """Read the project that `start`, by default the current directory, is in. Errors: `ConfigError`, every problem."""
    root, path, table = _find(start or _here())
    text = _read(path)
    project = read_project(text, file=path.name, table=table)
    sources = request_files(project, lambda name: _read_optional(root / name))
    return Workspace(root, project, sources, request_digests(project, sources))


def project_root(start: Path | None = None) -> Path:
    """Return the directory of the project that `start`, by default the current directory, is in. Errors: `ConfigError`.

    What only looks back needs no more than that: a mistake in `repro.toml` hides no history.
    """
    return _find(start or _here())[0]


def read_lock(workspace: Workspace) -> Lock | None:
    """Return the project's lock, or None if there is none. Errors: `LockError` when it is damaged or too new."""
    from repro_env.lock.parse import parse_lock  # noqa: PLC0415 - not needed where there is no lock

    try:
        text = _read_optional(workspace.lock_path)
    except ConfigError as error:
        hint = "restore it from version control, or remove it and run repro lock"
        raise LockError(error.what, error.why, hint) from error
    return None if text is None else parse_lock(text, file=LOCK_FILE)


def fresh_lock(workspace: Workspace) -> Lock:
    """Return the lock, which is of this project as it stands. Errors: `LockError` when missing or stale."""
    lock = read_lock(workspace)
    if lock is None:
        raise LockError(f"there is no {LOCK_FILE}", f"in {workspace.root}", "run `repro lock`")
    changes = workspace.changes(lock)
    if changes:
        raise LockError(f"{LOCK_FILE} is out of date", "\n".join(map(str, changes)), "run `repro lock`")
    return lock


def store_root() -> Path:
    """Return where the store is: `$REPRO_STORE`, else `repro` in the user's cache directory (XDG base directories)."""
    if chosen := os.environ.get("REPRO_STORE"):
        return Path(chosen).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(cache) / "repro"


def near(path: Path) -> str:
    """Return a path as a person standing here would write it: what is below the working directory, from there."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _here() -> Path:
    with os_errors("look at the current directory"):
        return Path.cwd()


def _find(start: Path) -> tuple[Path, Path, tuple[str, ...]]:
    for directory in (start, *start.parents):
        if (directory / PROJECT_FILE).is_file():
            return directory, directory / PROJECT_FILE, ()
        pyproject = directory / PYPROJECT
        if pyproject.is_file() and _HEADER.search(_read(pyproject)):
            return directory, pyproject, _TABLE
    why = f"neither {start} nor a directory above it has {PROJECT_FILE}, or [tool.repro] in {PYPROJECT}"
    raise ConfigError("this is not a repro project", why, "write a repro.toml, or try `repro demo`")


def _read(path: Path) -> str:
    with os_errors(f"read {path}"):
        data = path.read_bytes()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path.name} is not UTF-8", f"line {line}: {error}", "save it as UTF-8") from error


def _read_optional(path: Path) -> str | None:
    return _read(path) if path.is_file() else None


def _unknown(kind: str, name: str, known: Iterable[str], project: Project) -> ConfigError:
    from difflib import get_close_matches  # noqa: PLC0415 - only for a mistake

    names = list(known)
    near = get_close_matches(name, names, n=1)
    are = "its steps are" if kind == "step" else "its data inputs are"
    hint = f"did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"there is no {kind} {name!r} in {project.file}", f"{are} {', '.join(names) or 'none'}", hint)
