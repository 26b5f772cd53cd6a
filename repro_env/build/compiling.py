"""Running a step's own interpreter to compile modules: in its root filesystem, or an equal one of this machine."""

from __future__ import annotations

import functools
import itertools
import os
import platform as this_machine
import posixpath
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from repro_env.edges import process
from repro_env.edges.files import os_errors
from repro_env.edges.pool import thread_pool
from repro_env.edges.sandbox import find_bwrap, sandboxed
from repro_env.edges.uv import uv_program
from repro_env.errors import BuildError, ToolError
from repro_env.image.layer import Layer
from repro_env.image.store import Store
from repro_env.image.unpack import root_filesystem
from repro_env.values import Platform

_SCRIPT = Path(__file__).with_name("compile_in_image.py")
_TIMEOUT = 3600.0
_FIND_SECONDS = 60.0
_VERSION = "import platform; print(platform.python_implementation(), platform.python_version())"
_VARIABLES = {"LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin"}
_FLAGS = ("-s", "-S", "-B", "-X", "utf8", "-W", "ignore", "-c")
"""Nobody's site-packages, and nothing that an import would leave behind."""

_SOURCES, _OUTPUT = "/repro/input", "/repro/output"
"""Directories that every root filesystem has to mount on (`image.unpack`)."""

_SIZE = 8  # bytes before each module's byte code, as `compile_in_image` writes it


@dataclass(frozen=True, kw_only=True)
class Compiler:
    """The interpreter of one environment: its full `version`, its place in the image, and the layers it stands in."""

    version: str
    program: str
    platform: Platform
    layers: tuple[Layer, ...]
    store: Store
    workers: int

    def compile(self, tree: Path, paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield each path with its byte code, in order; files that are no Python of this version are left out.

        `tree` is the directory that the absolute `paths` are below. Files are compiled by `workers` processes at once;
        no byte depends on how many. Errors: `BuildError` where no such interpreter can be run here, `ToolError`.
        """
        python, shares = self._python, _shares(paths, self.workers)
        with (
            os_errors("compile Python modules"),
            tempfile.TemporaryDirectory(dir=self.store.temporary) as name,
            thread_pool(max(len(shares), 1), "compile") as pool,
        ):
            places = [Path(name, str(number)) for number in range(len(shares))]
            list(pool.map(python.run, itertools.repeat(tree), places, shares))
            found: dict[str, bytes] = {}
            for place, share in zip(places, shares, strict=True):
                found.update(_read(place / "compiled", share))
        return ((path, found[path]) for path in paths if found[path])

    @functools.cached_property
    def _python(self) -> _Python:
        return self._own() or self._equal()

    def _own(self) -> _Python | None:
        """Return the image's own interpreter in a sandbox, where this machine can run both."""
        bwrap = find_bwrap()
        here = self.platform.machine == os.uname().machine
        if bwrap is None or not here or not all(self.store.has(layer.digest, layer.size) for layer in self.layers):
            return None
        python = _Python(self.program, bwrap, root_filesystem(self.store, self.layers))
        return python if python.version() == self.version else None

    def _equal(self) -> _Python:
        """Return an interpreter of this machine that is of the very same version. Errors: `BuildError`."""
        here = sys.implementation.name == "cpython" and this_machine.python_version() == self.version
        found = _Python(sys.executable) if here else _installed(self.version)
        if found is None:
            raise BuildError(
                f"Python {self.version} for {self.platform} cannot be run on this machine, to compile modules",
                "bwrap cannot start the image's own, and none of exactly that version is installed",
                f"install bubblewrap on a {self.platform.machine} machine, or `uv python install {self.version}`, "
                "or leave bytecode out",
            )
        return found


@dataclass(frozen=True, slots=True)
class _Python:
    """One interpreter: its program, and the sandbox it is run in, if any."""

    program: str
    bwrap: Path | None = None
    root: Path | None = None

    def version(self) -> str:
        """Return the full version, "" of what is not CPython or cannot be run."""
        words = self._words((*_FLAGS, _VERSION))
        try:
            done = process.run(words, timeout=_FIND_SECONDS, env=_VARIABLES, cwd=Path("/"))
        except ToolError:
            return ""
        name, _, version = done.stdout.strip().partition(" ")
        return version if name == "CPython" else ""

    def run(self, tree: Path, output: Path, paths: Sequence[str]) -> None:
        """Compile files below `tree` into `compiled` in the new directory `output`. Errors: `ToolError`."""
        output.mkdir()
        sources, place = (_SOURCES, _OUTPUT) if self.bwrap else (str(tree), str(output))
        words = (*_FLAGS, _SCRIPT.read_text(encoding="utf-8"), sources, f"{place}/compiled")
        process.run(
            self._words(words, tree, output),
            timeout=_TIMEOUT,
            env=_VARIABLES,
            cwd=Path("/"),
            stdin="".join(f"{path}\n" for path in paths),
        )

    def _words(self, words: Sequence[str], tree: Path | None = None, output: Path | None = None) -> Sequence[str]:
        command = (self.program, *words)
        if self.bwrap is None or self.root is None:
            return command
        shown = {_SOURCES: tree} if tree else {}
        written = {_OUTPUT: output} if output else {}
        return sandboxed(self.bwrap, self.root, command, shown=shown, written=written, env=_VARIABLES)


def _installed(version: str) -> _Python | None:
    """Return an interpreter of this very version that uv finds on this machine."""
    words = ("python", "find", "--no-config", "--no-project", "--system", "--no-python-downloads", f"cpython@{version}")
    environ = {name: value for name, value in process.base_environment().items() if not name.startswith("UV_")}
    done = process.run([uv_program(), *words], env=environ, timeout=_FIND_SECONDS, check=False)
    found = _Python(done.stdout.strip())
    return found if done.status == 0 and found.version() == version else None


def _shares(paths: Sequence[str], workers: int) -> list[list[str]]:
    """Return the paths in as many parts as work at once; a directory's files stay together."""
    directories = [list(group) for _directory, group in itertools.groupby(paths, posixpath.dirname)]
    count = min(workers, len(directories))
    return [[path for group in directories[number::count] for path in group] for number in range(count)]


def _read(file: Path, paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield what `compile_in_image` wrote for these paths."""
    data = memoryview(file.read_bytes())
    for path in paths:
        end = _SIZE + int.from_bytes(data[:_SIZE], "little")
        yield path, bytes(data[_SIZE:end])
        data = data[end:]
