"""The projects that are measured: one with many packages to lock, one with heavy wheels to build."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from measure import once

BIG = (
    ("numpy", "2.4.1"),
    ("pandas", "3.0.0"),
    ("pyarrow", "24.0.0"),
    ("scikit-learn", "1.8.0"),
    ("scipy", "1.17.0"),
)
_NEEDED = ("joblib==1.5.3", "python-dateutil==2.9.0.post0", "six==1.17.0", "threadpoolctl==3.6.0", "tzdata==2025.3")
_SMALL = ("idna==3.7", "idna==3.8", "idna==3.9", "idna==3.10", "idna==3.11")
_TORCH: tuple[str, ...] = (
    "filelock==3.20.3",
    "fsspec==2026.1.0",
    "jinja2==3.1.6",
    "markupsafe==3.0.3",
    "mpmath==1.3.0",
)
_TORCH += ("networkx==3.6.1", "setuptools==80.9.0", "sympy==1.14.0", "typing-extensions==4.15.0")
_NEWEST = "2026-10-01T00:00:00Z"
_MANY = ("dvc", "jupyterlab", "mlflow", "streamlit")


@dataclass(slots=True)
class Project:
    """A project on disk and the environment its commands run in."""

    root: Path
    env: Mapping[str, str]
    wheels: tuple[Path, ...] = ()
    packages: int = 0
    _edits: Iterator[int] = field(default_factory=itertools.count)
    _small: Iterator[str] = field(default_factory=lambda: itertools.cycle(_SMALL))

    def forget_images(self) -> None:
        """Let the lock forget which environment images were built, so that they are made again."""
        path = self.root / "repro.lock"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not line.startswith('environment = "sha256:')))

    def edit(self) -> None:
        """Change the one file of the code."""
        (self.root / "main.py").write_text(f"print({next(self._edits)})\n")

    def add_second_step(self) -> None:
        """Add a step with the big step's packages and one small one."""
        _write_project(self.root, [path.name for path in self.wheels], "")
        text = (self.root / "repro.toml").read_text()
        start = text.index("[step.big]")
        step = text[start : text.index("[step.", start + 1)]
        step = step.replace("[step.big]", "[step.second]").replace(
            "dependencies = [", f'dependencies = ["{_SMALL[0]}",'
        )
        (self.root / "repro.toml").write_text(text + "\n" + step)

    def swap_small_package(self) -> None:
        """Add a small package to the big step, another version each time."""
        _write_project(self.root, [path.name for path in self.wheels], next(self._small))


def wheel_directory(uv: Path, more: Path | None) -> Path:
    """Return a directory of wheels, fetched once; `more` is a directory whose wheels take part."""
    cache = Path(os.environ.get("REPRO_TEST_CACHE") or Path("~/.cache/repro-tests").expanduser()) / "benchmark-wheels"
    cache.mkdir(parents=True, exist_ok=True)
    wanted = [f"{name}=={version}" for name, version in BIG] + [*_NEEDED, *_SMALL]
    if more is not None:
        for wheel in more.glob("*.whl"):
            target = cache / wheel.name
            if not target.exists():
                target.write_bytes(wheel.read_bytes())
    if any(cache.glob("torch-*.whl")):
        wanted += _TORCH
    once((uv, "pip", "install", "--quiet", "--python", sys.executable, "pip"))
    for requirement in wanted:
        download = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:")
        name, _, version = requirement.partition("==")
        if not any(cache.glob(f"{name.replace('-', '_')}-{version}-*.whl")):
            once((*download, "--dest", cache, requirement))
    return cache


def big_project(root: Path, wheels: Path, repro: Path) -> Project:
    """Return a locked project whose step `big` needs every heavy wheel, and whose base is built."""
    root.mkdir(parents=True)
    small = {requirement.replace("==", "-") for requirement in _SMALL}
    heavy = sorted(path for path in wheels.glob("*.whl") if "-".join(path.name.split("-")[:2]) not in small)
    (root / "uv.toml").write_text(f'no-index = true\nfind-links = ["{wheels}"]\n')
    (root / "main.py").write_text("print()\n")
    env = {"REPRO_STORE": str(root.parent / "store")}
    project = Project(root, env, tuple(heavy))
    _write_project(root, [path.name for path in heavy], "")
    once((repro, "lock"), cwd=root, env=env)
    once((repro, "build", "bare"), cwd=root, env=env)
    return project


def starting_project(root: Path, big: Project, modules: Iterable[str], repro: Path) -> Project:
    """Return a built project with two steps for each module, `NAME` and `NAME-compiled`, that only import it."""
    root.mkdir(parents=True)
    (root / "uv.toml").write_text((big.root / "uv.toml").read_text())
    text = '[project]\nname = "starting"\n\n[base.slim]\ndebian = "bookworm"\n'
    for module in modules:
        for name, extra in ((module, ""), (f"{module}-compiled", "bytecode = true\n")):
            package = "scikit-learn" if module == "sklearn" else module
            text += f'\n[step.{name}]\nbase = "slim"\npython = "3.11"\ndependencies = ["{package}"]\n{extra}'
            text += f'code = ["uv.toml"]\ncommand = ["python", "-c", "import {module}"]\n'
    (root / "repro.toml").write_text(text)
    project = Project(root, big.env)
    once((repro, "lock"), cwd=root, env=project.env)
    once((repro, "build"), cwd=root, env=project.env)
    return project


def _write_project(root: Path, wheels: list[str], small: str) -> None:
    pins = ["==".join(name.split("-")[:2]).replace("_", "-") for name in wheels] + ([small] if small else [])
    listed = "".join(f'    "{pin}",\n' for pin in pins)
    step = 'base = "slim"\npython = "3.11"\ncode = ["main.py"]\n'
    text = '[project]\nname = "bench"\n\n[base.slim]\ndebian = "bookworm"\n\n'
    text += f'[step.big]\n{step}command = ["true"]\ndependencies = [\n{listed}]\n\n'
    text += f'[step.bare]\n{step}command = ["true"]\n\n[step.empty]\n{step}command = ["true"]\n'
    (root / "repro.toml").write_text(text)


def lock_project(root: Path, repro: Path, uv: Path) -> Project:
    """Return a project of many packages, locked by repro and, in `uv/`, by uv."""
    (root / "uv").mkdir(parents=True)
    listed = ", ".join(f'"{name}"' for name in _MANY)
    (root / "repro.toml").write_text(
        '[project]\nname = "bench"\n\n[base.slim]\ndebian = "bookworm"\n\n[step.many]\nbase = "slim"\n'
        f'python = "3.11"\ncommand = ["true"]\ncode = ["repro.toml"]\ndependencies = [{listed}]\n'
    )
    settings = f'exclude-newer = "{_NEWEST}"\n'
    (root / "uv.toml").write_text(settings)
    (root / "uv" / "uv.toml").write_text(settings)
    (root / "uv" / "pyproject.toml").write_text(
        f'[project]\nname = "bench"\nversion = "0"\nrequires-python = "==3.11.*"\ndependencies = [{listed}]\n'
    )
    env = {"REPRO_STORE": str(root.parent / "store")}
    once((repro, "lock"), cwd=root, env=env)
    subprocess.run((uv, "lock", "--quiet"), cwd=root / "uv", check=True)
    locked = tomllib.loads((root / "repro.lock").read_text())
    return Project(root, env, packages=len(locked["package"]))
