"""Packages that have no wheel: built from pinned sources, inside the step's own base, with pinned tools, offline.

The build's environment is an image like a step's: the same base and interpreter, and the wheels that the lock pins for
the build. Sources and result stand at fixed places in it, so that no path of this machine gets into the wheel, and the
wheel is written anew (see `image.plain_wheel`). What compilers do is up to them: where a later build gives other bytes
than the lock records, it is an error that names the files that differ.
"""

from __future__ import annotations

import platform as machine
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from repro_env.build import wheel_script
from repro_env.build.environment import Assembler
from repro_env.build.local import BUILD_ENVIRONMENT, add_plain, only_wheel
from repro_env.config.document import DocumentError, read_document
from repro_env.edges.files import os_errors
from repro_env.edges.process import Completed
from repro_env.edges.report import Reporter
from repro_env.errors import BuildError
from repro_env.frozen import dataclass
from repro_env.image.oci import Image, write_image
from repro_env.image.plain_wheel import differing_files
from repro_env.image.sdist import pyproject_of, unpack_sdist
from repro_env.image.store import Store, canonical_json
from repro_env.image.unpack import root_filesystem
from repro_env.lock.model import BuiltWheel, Lock, LockedStep, SourcePackage
from repro_env.lock.places import ENVIRONMENT, IMAGE_ROOTS
from repro_env.values import Digest, Platform

_MANNER = 1
"""Of how a wheel is built and written. Raised when the same sources would give other bytes."""

_BUILD_SECONDS = 6 * 3600.0  # large extensions for GPUs take hours
_SHOWN = 40  # lines
_LEGACY = "setuptools.build_meta:__legacy__"  # PEP 517, "Source trees"
_DIFFERENCES = 12


class Sandbox(Protocol):
    """Something that runs a program in a root filesystem: `edges.sandbox.run_in_sandbox`."""

    def __call__(
        self,
        root: Path,
        command: Sequence[str],
        *,
        shown: Mapping[str, Path],
        written: Mapping[str, Path],
        env: Mapping[str, str],
        timeout: float,
    ) -> Completed:
        """Run it to its end."""


@dataclass(frozen=True, slots=True)
class SourceBuilds:
    """What building from pinned sources needs at hand. With `update`, what the lock records of a wheel is not held."""

    store: Store
    workers: int
    report: Reporter
    sandbox: Sandbox
    update: bool = False

    def build(self, lock: Lock, step: str, platform: Platform) -> Lock:
        """Return the lock with the wheel of each source package of a step recorded, and in the store.

        What the lock's sources, build requirements and base are made of is in the store. Errors: `BuildError` when a
        package cannot be built, or came out different from what the lock records.
        """
        locked = lock.steps[step]
        environment = locked.environments[platform]
        sources = tuple(self._built(lock, locked, platform, package) for package in environment.sources)
        environments = {**locked.environments, platform: replace(environment, sources=sources)}
        return replace(lock, steps={**lock.steps, step: replace(locked, environments=environments)})

    def _built(self, lock: Lock, step: LockedStep, platform: Platform, package: SourcePackage) -> SourcePackage:
        recorded = package.wheel
        if recorded is not None and self.store.has(recorded.sha256, recorded.size) and not self.update:
            return package
        _check_machine(package, step, platform)
        image = self._image(lock, step, platform, package)
        wheel = self._wheel(package, image)
        if recorded is not None and wheel.sha256 != recorded.sha256 and not self.update:
            raise _differs(package, recorded, wheel)
        return replace(package, wheel=wheel)

    def _image(self, lock: Lock, step: LockedStep, platform: Platform, package: SourcePackage) -> Image:
        """Return the image that a package is built in: the step's base and interpreter, with what its build needs."""
        own = replace(step.environments[platform], wheels=package.requires, sources=(), local=(), image=None)
        builder = replace(step, bytecode=False, environments={platform: own})
        return Assembler(self.store, self.workers, self.report).image(lock, builder, platform)

    def _wheel(self, package: SourcePackage, image: Image) -> BuiltWheel:
        content = [_MANNER, package.sha256.hex, str(write_image(image, self.store))]
        key = Digest.of(canonical_json(content)).hex
        with self.store.lock(f"source-{key}"):
            known = _from_document(self.store.recall("source-wheels", key))
            if known is not None and self.store.has(known.sha256, known.size):
                return known
            root = root_filesystem(self.store, image.layers, self.report)
            with self.report.task(f"building {package.name} {package.version}", 1, unit="packages") as task:
                built = self._run(package, image, root)
                task.advance(1)
            self.store.remember("source-wheels", key, _to_document(built))
        return built

    def _run(self, package: SourcePackage, image: Image, root: Path) -> BuiltWheel:
        self.store.check(package.sha256, package.file)  # nothing in an archive tells damage for certain
        sdist = self.store.blob(package.sha256)
        with os_errors(f"build {package.name}"), tempfile.TemporaryDirectory(prefix="repro-build-") as name:
            directory = Path(name).resolve()
            places = {part: directory / part for part in ("source", "given", "out", "tmp")}
            unpack_sdist(sdist, package.file, places["source"])
            for part in ("given", "out", "tmp"):
                places[part].mkdir()
            script = Path(wheel_script.__file__)
            (places["given"] / script.name).write_bytes(script.read_bytes())
            interpreter, program = f"{ENVIRONMENT}/bin/python", f"{IMAGE_ROOTS.input}/{script.name}"
            done = self.sandbox(
                root,
                [interpreter, program, IMAGE_ROOTS.code, IMAGE_ROOTS.output],
                shown={IMAGE_ROOTS.input: places["given"]},
                written={
                    IMAGE_ROOTS.code: places["source"],
                    IMAGE_ROOTS.output: places["out"],
                    "/tmp": places["tmp"],  # noqa: S108 - the sandbox's own
                },
                env={**image.env, **BUILD_ENVIRONMENT, **_backend(pyproject_of(sdist, package.file))},
                timeout=_BUILD_SECONDS,
            )
            if done.status:
                raise _failed(package, done, places["out"] / wheel_script.MISSING)
            return add_plain(only_wheel(places["out"], package.name), self.store)


def build_sources(lock: Lock, pairs: Iterable[tuple[str, Platform]], builds: SourceBuilds) -> Lock:
    """Return the lock with every source package of these steps and platforms built. Errors: `BuildError`."""
    for step, platform in pairs:
        lock = builds.build(lock, step, platform)
    return lock


def _backend(pyproject: str) -> dict[str, str]:
    """Return what tells the script which backend to ask, and where else to look for it (PEP 517)."""
    try:
        system = read_document(pyproject).get("build-system")
    except DocumentError:
        system = None
    table: dict[str, Any] = system if isinstance(system, dict) else {}
    paths = table.get("backend-path")
    return {
        "HOME": "/tmp",  # noqa: S108 - the sandbox's own
        "REPRO_BUILD_BACKEND": str(table.get("build-backend") or _LEGACY),
        "REPRO_BUILD_PATH": ":".join(map(str, paths if isinstance(paths, list) else ())),
    }


def _check_machine(package: SourcePackage, step: LockedStep, platform: Platform) -> None:
    if machine.machine() != platform.machine:
        hint = "run `repro build` on such a machine; the wheel's digest goes into the lock there"
        why = f"step {step.name} is for {platform}, this machine is {machine.machine()}"
        raise BuildError(f"{package.name} {package.version} cannot be built on this machine", why, hint)


def _failed(package: SourcePackage, done: Completed, missing: Path) -> BuildError:
    if missing.exists():
        asked = ", ".join(missing.read_text(encoding="utf-8").splitlines())
        why = f"its build asks for {asked}, which its build-system.requires does not name"
        hint = "choose another version of it, or put a wheel of it into a directory and name that in find-links"
        return BuildError(f"cannot build {package.name} {package.version}", why, hint)
    said = [line.rstrip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
    hint = 'if it lacks a compiler or headers, add them to its base: packages = ["gcc", "libc6-dev", "python3-dev"]'
    return BuildError(f"cannot build {package.name} {package.version}", "\n".join(said[-_SHOWN:]), hint)


def _differs(package: SourcePackage, recorded: BuiltWheel, built: BuiltWheel) -> BuildError:
    found = list(differing_files(recorded, built)) or [f"its name, {recorded.file} and {built.file}"]
    more = [f"and {len(found) - _DIFFERENCES} more"] if len(found) > _DIFFERENCES else []
    why = [f"the lock records {recorded.sha256}", f"this build gave  {built.sha256}", *found[:_DIFFERENCES], *more]
    hint = "run `repro build --update` to record this one; its build depends on more than its sources and tools"
    return BuildError(f"{package.name} {package.version} came out different", "\n".join(why), hint)


def _to_document(wheel: BuiltWheel) -> dict[str, Any]:
    contents = {path: str(digest) for path, digest in wheel.contents}
    return {"file": wheel.file, "sha256": str(wheel.sha256), "size": wheel.size, "contents": contents}


def _from_document(document: Any) -> BuiltWheel | None:
    try:
        return BuiltWheel(
            file=str(document["file"]),
            sha256=Digest.parse(document["sha256"]),
            size=int(document["size"]),
            contents=tuple(sorted((path, Digest.parse(text)) for path, text in document["contents"].items())),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
