"""No image: the step's locked wheels in a virtual environment of this machine's own interpreter.

For machines that have no container runtime. The packages are the locked ones, by hash; what is around them is this
machine's, and `not_isolated` says so.
"""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from repro_env.edges import child, files, process
from repro_env.edges.child import Ended
from repro_env.edges.output import output_to
from repro_env.edges.report import Reporter
from repro_env.edges.uv import uv_program
from repro_env.errors import RuntimeUnavailableError, StoreError, ToolError
from repro_env.frozen import dataclass
from repro_env.image.seal import is_intact, seal
from repro_env.image.store import Store
from repro_env.lock.model import Wheel
from repro_env.lock.places import Roots
from repro_env.run.gpus import GpuGrant, Passing, selection
from repro_env.run.plan import RunPlan
from repro_env.run.runtimes.base import Needs, Unavailable
from repro_env.values import PythonVersion

_FIND_SECONDS = 60.0
_INSTALL_SECONDS = 3600.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_VERSION = "import platform; print(platform.python_version())"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python of this machine: where it is, and its full version."""

    path: Path
    version: str


def venv_requirements(wheels: Sequence[Wheel]) -> str:
    """Return the requirements file that names exactly these wheels, by hash."""
    return "".join(f"{wheel.name}=={wheel.version} --hash={wheel.sha256}\n" for wheel in wheels)


def venv_key(wheels: Sequence[Wheel], interpreter: Interpreter) -> str:
    """Return the name of the environment in the store: it depends on the wheels and the interpreter alone."""
    text = f"{interpreter.path}\n{interpreter.version}\n{venv_requirements(wheels)}"
    return hashlib.sha256(text.encode()).hexdigest()


def venv_variables(plan: RunPlan, environment: Path, home: Path) -> dict[str, str]:
    """Return the step's environment: the plan's, with the virtual environment's programs in place of the image's."""
    declared = plan.step.env.get("PATH")
    path = declared or f"{environment}/bin:{_PATH}"
    return {**plan.variables, "HOME": str(home), "PATH": path, "VIRTUAL_ENV": str(environment)}


def venv_install_arguments(environment: Path, wheels: Path, requirements: Path) -> tuple[str, ...]:
    """Return what follows `uv` to install exactly the files in `wheels`, with no index and no network."""
    return (
        "pip",
        "install",
        "--no-config",
        "--offline",
        "--no-index",
        "--no-deps",
        "--require-hashes",
        "--find-links",
        str(wheels),
        "--python",
        str(environment / "bin" / "python"),
        "--requirements",
        str(requirements),
    )


class Venv:
    """Runs steps as plain processes of the caller."""

    name = "venv"
    needs = Needs.WHEELS

    def __init__(self, store: Store, reporter: Reporter, driver: Path = Path("/")) -> None:
        """`driver` is the root below which NVIDIA's driver is installed."""
        self._store = store
        self._reporter = reporter
        self._driver = driver

    def roots(self, *, code: Path, run: Path) -> Roots:
        """Return directories of this machine, shaped like the image's."""
        return Roots(code=str(code), input=str(run / "input"), output=str(run / "output"))

    def unavailable(self) -> Unavailable | None:
        """Return None: whether there is an interpreter for a step is known only with the step."""
        return None

    def pass_gpus(self, grant: GpuGrant) -> Passing | Unavailable:
        """Return the variables by which CUDA leaves the other GPUs alone; a process can still reach them."""
        from repro_env.run.find_driver import find_driver  # noqa: PLC0415 - a step without GPUs does without

        unlisted = find_driver(grant, root=self._driver).unlisted
        return Passing(
            how="as devices of this machine",
            variables=selection(grant, renumbered=False),
            paths={"LD_LIBRARY_PATH": str(unlisted)} if unlisted else {},
        )

    def not_isolated(self, plan: RunPlan) -> Sequence[str]:
        """Return what a plain process can reach."""
        network = "is shared" if plan.network else "is open, although the step does not ask for it"
        locked = plan.environment.interpreter
        return (
            f"The network of this machine {network}.",
            "The file system is this machine's: the step can read and change whatever you can, its inputs included.",
            f"Operating system libraries, locales and time zones are this machine's, not base {plan.step.base}'s.",
            f"The interpreter is this machine's Python {plan.step.python}, which may not be the locked {locked}.",
            "Your other processes are within the step's reach.",
        )

    def run(self, plan: RunPlan, *, log: Path | None) -> Ended:
        """Run the plan as a process of this machine; when this process dies, so does its whole process group."""
        environment = self.environment(plan.environment.wheels, plan.step.python)
        home = plan.output.parent / "home"
        with files.os_errors(f"prepare {plan.output.parent}"):
            home.mkdir(exist_ok=True)
            for entry in plan.inputs:
                link = Path(entry.target)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(entry.source)
        try:
            return _run(plan, venv_variables(plan, environment, home), log)
        finally:
            files.remove_tree(home)
            files.remove_tree(Path(plan.roots.input))

    def environment(self, wheels: Sequence[Wheel], python: PythonVersion) -> Path:
        """Return the virtual environment with these wheels, made now if the store lacks it.

        Errors: `RuntimeUnavailableError` without such an interpreter, `StoreError` without a wheel, `ToolError`.
        """
        interpreter = find_interpreter(python)
        key = venv_key(wheels, interpreter)
        place = self._store.root / "venvs" / key
        with self._store.lock(f"venv-{key}"):
            if not is_intact(self._store, place):
                with self._reporter.task(f"installing packages for Python {python}: {len(wheels)}", None):
                    self._make(place, wheels, interpreter)
        return place

    def _make(self, place: Path, wheels: Sequence[Wheel], interpreter: Interpreter) -> None:
        temporary = self._store.temporary / secrets.token_hex(8)
        environment = temporary / "venv"
        with files.os_errors(f"write to the store at {self._store.root}"):
            try:
                self._name_wheels(wheels, temporary / "wheels")
                requirements = temporary / "requirements.txt"
                requirements.write_text(venv_requirements(wheels), encoding="utf-8")
                _uv("venv", "--no-config", "--relocatable", "--python", interpreter.path, environment, cache=temporary)
                self._install(wheels, temporary, environment, requirements)
                place.parent.mkdir(exist_ok=True)
                files.remove_tree(place)
                seal(self._store, place, environment)
                environment.rename(place)
            finally:
                files.remove_tree(temporary)

    def _install(self, wheels: Sequence[Wheel], temporary: Path, environment: Path, requirements: Path) -> None:
        if not wheels:
            return
        try:
            _uv(*venv_install_arguments(environment, temporary / "wheels", requirements), cache=temporary)
        except ToolError:
            for wheel in wheels:
                self._store.check(wheel.sha256, wheel.file)
            raise

    def _name_wheels(self, wheels: Sequence[Wheel], directory: Path) -> None:
        """Give the store's files the names that an installer reads a wheel's tags from."""
        directory.mkdir(parents=True)
        for wheel in wheels:
            if not self._store.has(wheel.sha256, wheel.size):
                raise StoreError(f"the store has no {wheel.file}", str(self._store.blob(wheel.sha256)))
            (directory / wheel.file).symlink_to(self._store.blob(wheel.sha256))


def _run(plan: RunPlan, variables: Mapping[str, str], log: Path | None) -> Ended:
    argv = (_program(plan.argv[0], variables["PATH"]), *plan.argv[1:])
    with output_to(log, plan.secrets.values()) as output:
        return child.supervise(
            argv,
            env={**variables, **plan.secrets},
            cwd=plan.code,
            output=None if log is None else output,
            deliver=child.send_to_step,
        )


def _program(name: str, path: str) -> str:
    """Return the program that the step's own PATH, not ours, means. Errors: `RuntimeUnavailableError`."""
    if "/" in name:
        return name
    for directory in path.split(":"):
        place = os.path.join(directory, name)
        if os.path.isfile(place) and os.access(place, os.X_OK):
            return place
    raise RuntimeUnavailableError(
        f"venv could not start {name}",
        "neither the step's packages nor this machine have such a program",
        "run the step in its image: --runtime bwrap",
    )


def find_interpreter(python: PythonVersion) -> Interpreter:
    """Return this machine's interpreter of a minor version: the one this program runs on, where that is it.

    Errors: `RuntimeUnavailableError`, naming it.
    """
    own = _own_interpreter()
    if own.version.startswith(f"{python}."):
        return own
    words = ("python", "find", "--no-config", "--no-project", "--system", "--no-python-downloads", f"cpython@{python}")
    try:
        path = Path(_uv(*words, timeout=_FIND_SECONDS))
        version = process.run([path, "-I", "-c", _VERSION], timeout=_FIND_SECONDS).stdout.strip()
    except ToolError as error:
        raise RuntimeUnavailableError(
            f"venv needs Python {python}, which this machine does not have",
            _said(error.why) or error.what,
            f"install it (`uv python install {python}` needs no root), or use a runtime that brings the step's image",
        ) from error
    return Interpreter(path=path, version=version)


def _said(why: str) -> str:
    """Return all that uv said, without its command line: it folds lines, and quotes what a version manager says."""
    return why.partition("\n")[2].removeprefix("error: ")


def _own_interpreter() -> Interpreter:
    """Return the interpreter beneath this program's own virtual environment, which need not be on PATH."""
    path = Path(getattr(sys, "_base_executable", "") or sys.executable)
    return Interpreter(path=path, version=platform.python_version())


def _uv(*words: str | Path, cache: Path | None = None, timeout: float = _INSTALL_SECONDS) -> str:
    extra = {} if cache is None else {"UV_CACHE_DIR": str(cache / "cache")}
    environ = {name: value for name, value in process.base_environment().items() if not name.startswith("UV_")}
    return process.run([uv_program(), *words], env={**environ, **extra}, timeout=timeout).stdout.strip()
