"""Resolving every step at once, each on its own: two steps may need contradicting versions of anything."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from repro_env.config.torch import torch_index
from repro_env.edges import files, process
from repro_env.edges.http_pool import system_has_certificates
from repro_env.edges.pool import thread_pool
from repro_env.edges.report import Reporter, Task
from repro_env.edges.uv import uv_program
from repro_env.errors import FetchError, ReproError, ResolutionError, ToolError
from repro_env.frozen import dataclass
from repro_env.image.sdist import pyproject_of
from repro_env.image.store import Store
from repro_env.lock.local import build_requires, declared, metadata_digest
from repro_env.lock.model import LocalPackage, SourcePackage, Wheel
from repro_env.lock.sources import PYPROJECT, PythonInputs
from repro_env.resolve.python.complete import SizedHttp, complete, complete_source
from repro_env.resolve.python.failure import explain, no_wheel
from repro_env.resolve.python.local import find_local
from repro_env.resolve.python.pylock import Directory, Distribution, NoWheelError, Pylock, PylockError, parse_pylock
from repro_env.resolve.python.render import OUTPUT, asks_for_anything, render
from repro_env.resolve.python.request import Packages, StepRequest
from repro_env.resolve.python.target import glibc_minor, ranked_tags
from repro_env.resolve.python.torch import torch_pages
from repro_env.values import Digest, Platform

Resolved = dict[tuple[str, Platform], Packages]

_TIMEOUT = 1800.0  # seconds for one resolution: a slow index, not a hung program
_AT_ONCE = 8
_UNWANTED = (
    # What would make uv answer something else than what is asked of it here. Indexes, credentials, proxies,
    # certificates, the cache and the resolution's own settings are the user's and pass.
    *("UV_WORKING_DIR", "UV_WORKING_DIRECTORY", "UV_PROJECT", "UV_PYTHON", "UV_SYSTEM_PYTHON"),
    *("UV_NO_BINARY", "UV_NO_BINARY_PACKAGE", "UV_ONLY_BINARY", "UV_CUSTOM_COMPILE_COMMAND", "UV_NO_VERIFY_HASHES"),
    "UV_TORCH_BACKEND",  # "auto" would make a lock depend on the machine; a step says its own
    *("UV_UPGRADE", "UV_LOG_CONTEXT", "RUST_LOG", "FORCE_COLOR", "CLICOLOR_FORCE", "VIRTUAL_ENV", "PYTHONPATH"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """What a resolution needs besides its request.

    `project` is the project's root. `upgrade` lets go of every pin, `upgrade_packages` of those of these packages.
    `torch_mirror` is the root of a mirror of PyTorch's indexes, empty for PyTorch's own.
    """

    project: Path
    store: Store
    http: SizedHttp
    report: Reporter
    upgrade: bool = False
    upgrade_packages: frozenset[str] = frozenset()
    torch_mirror: str = ""

    def resolve(self, request: StepRequest) -> Packages:
        """Return the packages of one step on one platform.

        Errors: `ResolutionError` that names step, package, interpreter and platform; `FetchError` when an index cannot
        be reached; `ToolError` when uv is absent or misbehaves.
        """
        if not asks_for_anything(request):
            return Packages()
        _check_interpreter(request)
        found = self._run_uv(request)
        return Packages(
            wheels=tuple(complete(one, project=self.project, store=self.store, http=self.http) for one in found.wheels),
            sources=tuple(self._source(one, request) for one in found.sources),
            local=tuple(self._local(one, request) for one in found.directories),
        )

    def _source(self, found: Distribution, request: StepRequest) -> SourcePackage:
        """Return the pin of a package that is to be built from its source distribution."""
        package = complete_source(found, project=self.project, store=self.store, http=self.http)
        self.store.check(package.sha256, package.file)
        asked = build_requires(pyproject_of(self.store.blob(package.sha256), package.file))
        before = next((one.requires for one in request.previous_sources if one.name == package.name), ())
        return replace(package, requires=self._build_wheels(request, package.name, asked, before))

    def _local(self, found: Directory, request: StepRequest) -> LocalPackage:
        """Return what is pinned of a package of people's own."""
        metadata = metadata_digest(lambda name: files.read_loosely(found.path / name))
        pyproject = files.read_loosely(found.path / PYPROJECT) or ""
        if metadata is None:
            raise ResolutionError(f"step {request.step}: {found.name} has no pyproject.toml", f"in {found.path}")
        before = next((one.requires for one in request.previous_local if one.name == found.name), ())
        return LocalPackage(
            name=found.name,
            path=os.path.relpath(found.path, self.project.resolve()),
            metadata=metadata,
            version=declared(pyproject, "version"),
            requires=self._build_wheels(request, found.name, build_requires(pyproject), before),
        )

    def _build_wheels(
        self, request: StepRequest, name: str, asked: tuple[str, ...], before: tuple[Wheel, ...]
    ) -> tuple[Wheel, ...]:
        """Return the wheels that the build of a package needs: resolved as for a step of its own."""
        inner = StepRequest(
            step=f"{request.step}, to build {name}",
            python=request.python,
            platform=request.platform,
            glibc=request.glibc,
            interpreter=request.interpreter,
            inputs=PythonInputs(dependencies=asked, uv=request.inputs.uv),
            torch_backend=request.torch_backend,
            previous=before,
        )
        return self.resolve(inner).wheels

    def _run_uv(self, request: StepRequest) -> Pylock:
        tags = ranked_tags(request.python, request.platform, glibc_minor(request))
        with files.os_errors("use a temporary directory"), tempfile.TemporaryDirectory(prefix="repro-") as name:
            directory = Path(name).resolve()
            text = self._compile(request, directory)
            try:
                return parse_pylock(text, directory, tags, request.build)
            except NoWheelError as error:
                raise no_wheel(request, error) from error
            except PylockError as error:
                raise ToolError(f"step {request.step}: uv wrote what cannot be understood", str(error)) from error

    def _torch(self, request: StepRequest) -> Mapping[str, str] | None:
        """Return the mirror's pages of PyTorch's packages, None where no mirror is asked."""
        if not (self.torch_mirror and request.torch_backend):
            return None
        return torch_pages(torch_index(self.torch_mirror, request.torch_backend), self.http)

    def _compile(self, request: StepRequest, directory: Path) -> str:
        """Run uv and return the `pylock.toml` it wrote."""
        rendering = render(
            request,
            project=self.project,
            directory=directory,
            upgrade=self.upgrade,
            upgrade_packages=self.upgrade_packages,
            local=find_local(request.inputs, self.project),
            torch=self._torch(request),
        )
        for name, text in rendering.files.items():
            (directory / name).parent.mkdir(exist_ok=True, parents=True)
            (directory / name).write_text(text, encoding="utf-8")
        done = process.run(
            # Any interpreter does: nothing is built. Without one named, uv would look for the step's and warn.
            [uv_program(), *rendering.arguments, f"--python={sys.executable}"],
            timeout=_TIMEOUT,
            env=uv_environment(),
            cwd=self.project,
            check=False,
        )
        if done.status < 0:
            raise process.failure(done)
        if done.status != 0:
            raise explain(request, done.stderr, str(directory))
        return (directory / OUTPUT).read_text(encoding="utf-8")


def resolve_steps(requests: Sequence[StepRequest], resolver: Resolver, *, known: Iterable[Wheel] = ()) -> Resolved:
    """Resolve all requests in parallel and return the packages of each step on each platform.

    A wheel of the same file name and hash as one of `known`, the earlier lock's, is that one, URL included: a lock does
    not change because someone behind another mirror makes it anew. One step's failure does not stop the others.
    Errors: as `Resolver.resolve`, of all steps together.
    """
    failures: list[ReproError] = []
    found: Resolved = {}
    with (
        resolver.report.task("resolving Python packages", len(requests), unit="steps") as task,
        thread_pool(max(1, min(_AT_ONCE, len(requests))), "resolve") as pool,
    ):
        futures = [(request, pool.submit(_resolve_one, resolver, request, task)) for request in requests]
        for request, future in futures:
            try:
                found[request.step, request.platform] = future.result()
            except ReproError as error:
                failures.append(error)
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    if failures:
        raise _together(failures, len(requests))
    return _unified(found, () if resolver.upgrade else known)


def uv_environment() -> dict[str, str]:
    """Return the environment that uv runs in: the user's, without what would change the form of uv's answer.

    The machine's certificate authorities count, as they do for every other connection that is made here.
    """
    environment = process.base_environment(UV_NO_PROGRESS="1", UV_PYTHON_DOWNLOADS="never", NO_COLOR="1")
    if system_has_certificates():
        for name in ("UV_SYSTEM_CERTS", "UV_NATIVE_TLS"):  # the second is its name in older versions of uv
            environment.setdefault(name, "1")
    return {name: value for name, value in environment.items() if name not in _UNWANTED}


def _resolve_one(resolver: Resolver, request: StepRequest, task: Task) -> Packages:
    packages = resolver.resolve(request)
    task.advance(1)
    return packages


def _check_interpreter(request: StepRequest) -> None:
    """Check what the step's script says of its interpreter (PEP 723, requires-python)."""
    if not request.inputs.requires_python:
        return
    try:
        asked = SpecifierSet(request.inputs.requires_python)
    except InvalidSpecifier as error:
        raise ResolutionError(f"step {request.step}: requires-python of {request.script}", str(error)) from error
    if not asked.contains(request.interpreter or str(request.python), prereleases=True):
        raise ResolutionError(
            f"step {request.step}: {request.script} cannot run with Python {request.interpreter or request.python}",
            f"its header says requires-python = {request.inputs.requires_python!r}",
            "change the step's python, or the script's header",
        )


def _unified(found: Resolved, known: Iterable[Wheel]) -> Resolved:
    """Let every file be one `Wheel` in all steps, as it was known before or else as the first step has it."""
    wheels: dict[tuple[str, Digest], Wheel] = {(wheel.file, wheel.sha256): wheel for wheel in known}

    def one(many: Iterable[Wheel]) -> tuple[Wheel, ...]:
        return tuple(wheels.setdefault((wheel.file, wheel.sha256), wheel) for wheel in many)

    return {
        key: Packages(
            wheels=one(found[key].wheels),
            sources=tuple(replace(package, requires=one(package.requires)) for package in found[key].sources),
            local=tuple(replace(package, requires=one(package.requires)) for package in found[key].local),
        )
        for key in sorted(found)
    }


def _together(failures: Sequence[ReproError], total: int) -> ReproError:
    """Return one error for all steps that failed, of `total`."""
    if len(failures) == 1:
        return failures[0]
    unreachable = all(isinstance(error, FetchError) for error in failures)
    hints = {error.hint for error in failures}
    shared = hints.pop() if len(hints) == 1 else ""
    return (FetchError if unreachable else ResolutionError)(
        f"{len(failures)} of {total} steps could not be resolved",
        "\n".join(_told(error, with_hint=not shared) for error in failures),
        shared,
    )


def _told(error: ReproError, *, with_hint: bool) -> str:
    hint = f"hint: {error.hint}" if with_hint and error.hint else ""
    return "\n  ".join([error.what, *error.why.splitlines(), *filter(None, [hint])])
