"""People's own packages: their sources, and the wheels that uv builds of them.

A package is built as its directory stands, once for each state of its sources. The build sees a copy of them, the
wheels that the lock pins for it, and no index. What comes out is written anew (see `image.plain_wheel`), so that the
same sources give the same bytes on every machine; a package whose wheel is for one machine alone is refused.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from repro_env.build.code import Code, content_digest, copy_code, files_below
from repro_env.edges import process
from repro_env.edges.files import os_errors
from repro_env.edges.report import Reporter
from repro_env.edges.uv import uv_program
from repro_env.errors import BuildError, StoreError, ToolError
from repro_env.frozen import dataclass
from repro_env.image.plain_wheel import write_plain
from repro_env.image.store import Store, canonical_json
from repro_env.lock.local import local_paths
from repro_env.lock.model import BuiltWheel, Environment, LocalPackage, Lock, Wheel
from repro_env.values import Digest, PythonVersion, normalise_name

_MANNER = 1
"""Of how a wheel is built and written. Raised when the same sources would give other bytes."""

_BUILD_SECONDS = 3600.0
_FIND_SECONDS = 60.0
_EPOCH = "315532800"  # 1980-01-01, the time of everything in a layer
_KEPT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "SSL_CERT_FILE")


@dataclass(frozen=True, slots=True)
class Sources:
    """What a package is built from: its files, and a digest of their paths, modes and contents."""

    code: Code
    digest: Digest


class LocalBuilds:
    """The packages of people's own in a project, whose sources are looked at once."""

    def __init__(self, lock: Lock, root: Path, store: Store, report: Reporter) -> None:
        self._root, self._store, self._report = root, store, report
        self._sources: dict[str, Sources] = {}
        own = [path for step in lock.steps.values() for path in step.outputs.values()]
        self._excluded = [root / path for path in (*own, *(data.path for data in lock.data.values()))]
        self._packages = [root / path for path in local_paths(lock)]

    def sources(self, package: LocalPackage) -> Sources:
        """Return what a package is built from now. Errors: `BuildError` when its directory is gone."""
        if package.path not in self._sources:
            directory = Path(os.path.normpath(self._root / package.path))
            if not directory.is_dir():
                hint = "restore it, or run `repro lock` without it"
                raise BuildError(f"the package {package.name} is gone", f"there is no directory {directory}", hint)
            # A package below another one is no part of it: an edit there builds that one alone.
            others = [path for path in self._packages if path != self._root / package.path]
            self._sources[package.path] = package_sources(directory, [*self._excluded, *others])
        return self._sources[package.path]

    def wheels(
        self, environment: Environment, python: PythonVersion, here: Environment | None = None
    ) -> tuple[Wheel, ...]:
        """Return the wheels of an environment's local packages, built now where the store lacks them.

        `here` is the step's environment on this machine's platform, if it is locked for that: backends may be for one
        platform, and a pure wheel is the same on all. Errors: `BuildError` when one cannot be built, `StoreError`.
        """
        own = {package.name: package for package in here.local} if here else {}
        return tuple(self._wheel(own.get(package.name, package), python) for package in environment.local)

    def digests(self, environment: Environment) -> dict[str, Digest]:
        """Return the digest of the sources of each local package, by name."""
        return {package.name: self.sources(package).digest for package in environment.local}

    def _wheel(self, package: LocalPackage, python: PythonVersion) -> Wheel:
        sources = self.sources(package)
        key = _key(package, sources)
        known = self._known(key)
        if known is None:
            with self._store.lock(f"local-{key}"):
                known = self._known(key) or self._build(package, sources, python)
                self._store.remember("local-wheels", key, _to_document(known))
        return Wheel(
            name=package.name,
            version=known.file.split("-")[1],
            file=known.file,
            url=package.path,
            sha256=known.sha256,
            size=known.size,
        )

    def _known(self, key: str) -> BuiltWheel | None:
        known = _from_document(self._store.recall("local-wheels", key))
        return known if known is not None and self._store.has(known.sha256, known.size) else None

    def _build(self, package: LocalPackage, sources: Sources, python: PythonVersion) -> BuiltWheel:
        left_out = ", ".join(secret.path for secret in sources.code.secrets)
        if left_out:
            self._report.warn(f"left out of the package {package.name}, because it looks like a secret: {left_out}")
        with self._report.task(f"building {package.name}", 1, unit="packages") as task:
            built = self._build_quietly(package, sources, python)
            task.advance(1)
        if all(".dist-info/" in path for path, _digest in built.contents):
            why = "see which files its build backend takes; some take no directory that is named as this one"
            self._report.warn(f"the package {package.name} holds nothing to import: {why}")
        return built

    def _build_quietly(self, package: LocalPackage, sources: Sources, python: PythonVersion) -> BuiltWheel:
        with os_errors(f"build {package.name}"), tempfile.TemporaryDirectory(prefix="repro-build-") as name:
            directory = Path(name).resolve()
            copy_code(sources.code.files, directory / "source")
            lay_out_wheels(package.requires, self._store, directory / "wheels")
            (directory / "requires.txt").write_text(requirements(package.requires), encoding="utf-8")
            _run_uv(package, python, directory)
            built = only_wheel(directory / "out", package.name)
            _check_pure(built, package)
            return add_plain(built, self._store)


def package_sources(directory: Path, excluded: Iterable[Path]) -> Sources:
    """Return the files of a package's directory, less what no package is made of and what is `excluded`."""
    code = files_below(directory, excluded)
    digest = hashlib.sha256()
    for file in code.files:
        content = file.link or content_digest(file).hex
        digest.update(canonical_json([file.path, content, bool(file.link), file.executable]))
    return Sources(code, Digest(digest.hexdigest()))


def requirements(wheels: Iterable[Wheel]) -> str:
    """Return the requirements file that names exactly these wheels, by hash."""
    return "".join(f"{wheel.name}=={wheel.version} --hash={wheel.sha256}\n" for wheel in wheels)


def lay_out_wheels(wheels: Sequence[Wheel], store: Store, directory: Path) -> None:
    """Give the store's files, in a new directory, the names that an installer reads a wheel's tags from."""
    directory.mkdir()
    for wheel in wheels:
        if not store.has(wheel.sha256, wheel.size):
            raise StoreError(f"the store has no {wheel.file}", str(store.blob(wheel.sha256)))
        (directory / wheel.file).symlink_to(store.blob(wheel.sha256))


def add_plain(wheel: Path, store: Store) -> BuiltWheel:
    """Write a wheel that was built into the store, in its plain form."""
    with tempfile.TemporaryFile(dir=store.temporary) as target:
        built = write_plain(wheel, wheel.name, target)
        target.seek(0)
        with store.writing() as (stream, keep):
            while chunk := target.read(1 << 20):
                stream.write(chunk)
            keep(built.sha256)
    return built


def build_variables(home: Path) -> dict[str, str]:
    """Return the environment of a build on this machine: nothing of the caller's but where programs are."""
    return {
        **{name: os.environ[name] for name in _KEPT if name in os.environ},
        **BUILD_ENVIRONMENT,
        "HOME": str(home),
    }


BUILD_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    # The copy has no repository to ask for a version, and a commit is no part of a package's sources.
    "SETUPTOOLS_SCM_PRETEND_VERSION": "0",
    "SOURCE_DATE_EPOCH": _EPOCH,
    "TZ": "UTC",
}


def _run_uv(package: LocalPackage, python: PythonVersion, directory: Path) -> None:
    words: list[str | Path] = [
        *(uv_program(), "build", "--wheel", "--force-pep517", "--no-config", "--no-sources", "--no-create-gitignore"),
        *("--offline", "--no-index", "--find-links", directory / "wheels"),
        *("--build-constraints", directory / "requires.txt", "--require-hashes"),
        *("--python", _interpreter(python), "--cache-dir", directory / "cache"),
        *("--out-dir", directory / "out", directory / "source"),
    ]
    done = process.run(words, timeout=_BUILD_SECONDS, env=build_variables(directory), cwd=directory, check=False)
    if done.status:
        raise build_failure(package.name, package.path, f"{done.stdout}\n{done.stderr}", directory)


def build_failure(name: str, place: str, said: str, directory: Path) -> BuildError:
    """Return the error for a build that failed, with the last lines it said."""
    lines = [line.rstrip() for line in said.replace(f"{directory}/", "").splitlines() if line.strip()]
    hint = f"see whether `uv build --wheel {place}` succeeds"
    if "not found in the provided package locations" in said:
        hint = "its build asks for more than its build-system.requires names: add that there, and run `repro lock`"
    return BuildError(f"cannot build the package {name}, at {place}", "\n".join(lines[-_SHOWN:]), hint)


_SHOWN = 30  # lines


def _interpreter(python: PythonVersion) -> str:
    """Return an interpreter to build with: of the step's version if this machine has one, else our own."""
    if sys.version_info[:2] == (3, python.minor):
        return sys.executable
    words = (
        uv_program(),
        "python",
        "find",
        "--no-config",
        "--no-project",
        "--no-python-downloads",
        f"cpython@{python}",
    )
    try:
        return process.run(words, timeout=_FIND_SECONDS).stdout.strip()
    except ToolError:
        return sys.executable


def only_wheel(directory: Path, name: str) -> Path:
    """Return the one wheel that a build left in its output. Errors: `BuildError` when there is another, or none."""
    found = sorted(directory.glob("*.whl"))
    if len(found) != 1 or normalise_name(found[0].name.split("-")[0]) != name:
        names = ", ".join(path.name for path in found) or "nothing"
        raise BuildError(f"the build of {name} gave {names}", "one wheel of that name was expected")
    return found[0]


def _check_pure(wheel: Path, package: LocalPackage) -> None:
    """Refuse a wheel for one machine alone: it was built by this one's compiler, for this one's libraries."""
    if not wheel.name.endswith("-none-any.whl"):
        hint = (
            f"build it inside the image: put a source distribution of it (`uv build --sdist {package.path}`) into a "
            f'directory named in [tool.uv] find-links, depend on "{package.name}", and add build = ["{package.name}"]'
        )
        raise BuildError(f"{package.name} is not pure Python", f"its build gave {wheel.name}", hint)


def _key(package: LocalPackage, sources: Sources) -> str:
    content = [_MANNER, package.name, str(sources.digest), [wheel.sha256.hex for wheel in package.requires]]
    return Digest.of(canonical_json(content)).hex


def _to_document(wheel: BuiltWheel) -> dict[str, Any]:
    return {"file": wheel.file, "sha256": str(wheel.sha256), "size": wheel.size}


def _from_document(document: Any) -> BuiltWheel | None:
    try:
        sha256 = Digest.parse(document["sha256"])
        return BuiltWheel(file=str(document["file"]), sha256=sha256, size=int(document["size"]), contents=())
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
