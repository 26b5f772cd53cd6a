"""`repro.toml` to a checked `Project`: every problem at once, each with its file, line and key path."""

from __future__ import annotations

from typing import Any

from repro_env.config import checks
from repro_env.config.document import DocumentError, read_document
from repro_env.config.exports import read_exports
from repro_env.config.model import Base, DebianBase, ImageBase, Project, PythonRequest, Step
from repro_env.config.order import dependency_order
from repro_env.config.problems import Problems
from repro_env.config.read_data import read_data
from repro_env.config.read_machine import read_gpu, read_host
from repro_env.config.read_outputs import read_outputs
from repro_env.config.references import check_references
from repro_env.config.table import Table
from repro_env.config.torch import torch_backend
from repro_env.errors import ConfigError, Problem
from repro_env.values import Platform, PythonVersion, check_identifier, normalise_name

_PLATFORM = Platform("amd64")
_PYTHON = PythonVersion(11)

_DEBIAN_KEYS = ("debian", "packages", "mirror")
_IMAGE_KEYS = ("image", "glibc", "python")
_STEP_KEYS = (
    "base",
    "python",
    "dependencies",
    "requirements",
    "group",
    "script",
    "build",
    "torch-backend",
    "command",
    "inputs",
    "outputs",
    "code",
    "env",
    "secrets",
    "network",
    "bytecode",
    "deterministic",
    "gpu",
    "host",
)


def read_project(text: str, *, file: str, table: tuple[str, ...] = ()) -> Project:
    """Return the project that a TOML text describes.

    `file` is the file's name as messages show it; `table` the table inside it that holds the project,
    `("tool", "repro")` for `pyproject.toml`. Errors: `ConfigError` with every problem.
    """
    document = _document(text, file)
    problems = Problems(file=file, text=text, root=table)
    values = _inner_table(document, table)
    if values is None:
        problem = Problem(file=file, line=0, key=".".join(table), message="missing, or not a table")
        raise ConfigError.from_problems([problem])
    root = Table(values, (), problems)
    root.only(("project", "base", "data", "step", "export"), later=("target",))
    name, platforms = _project(root, default_name=_pyproject_name(document) if table else "")
    bases = {name: _base(name, inner) for name, inner in root.named("base")}
    data = {name: read_data(name, inner) for name, inner in root.named("data")}
    steps = {name: _step(name, inner) for name, inner in root.named("step")}
    if not root.has("step"):
        root.problem("step", "missing", "add a table [step.NAME] with base, python and command")
    exports = read_exports(root, name)
    check_references(platforms, bases, data, steps, problems)
    problems.check()
    order = dependency_order({name: step.upstream for name, step in steps.items()})
    return Project(
        name=name,
        file=file,
        platforms=platforms,
        bases=bases,
        data=data,
        steps={name: steps[name] for name in order},
        exports=exports,
        text=text,
        table=table,
    )


def _document(text: str, file: str) -> dict[str, Any]:
    try:
        return read_document(text)
    except DocumentError as error:
        problem = Problem(file=file, line=error.line, key="", message=f"not valid TOML: {error.message}")
        raise ConfigError.from_problems([problem]) from error


def _inner_table(document: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any] | None:
    values: Any = document
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values if isinstance(values, dict) else None


def _pyproject_name(document: dict[str, Any]) -> str:
    """Return the distribution's name of a `pyproject.toml`, where a project can be called that."""
    name = (_inner_table(document, ("project",)) or {}).get("name")
    try:
        return check_identifier(name.lower()) if isinstance(name, str) else ""
    except ValueError:
        return ""


def _project(root: Table, *, default_name: str) -> tuple[str, tuple[Platform, ...]]:
    if not root.has("project") and not default_name:
        root.problem("project", "missing", 'add [project] with name = "..."')
        return "", (_PLATFORM,)
    project = root.table("project")
    project.only(("name", "platforms"))
    required = "" if default_name else 'add name = "..."'
    name = project.text("name", check=check_identifier, required=required) or default_name
    texts = project.texts("platforms", check=Platform.parse, unique=True, some=True)
    return name, tuple(Platform.parse(text) for text in texts if text) or (_PLATFORM,)


def _base(name: str, table: Table) -> Base:
    table.only((*_DEBIAN_KEYS, *_IMAGE_KEYS))
    if table.has("image"):
        for key in _DEBIAN_KEYS:
            if table.has(key):
                table.problem(key, "does not go with image: a base is made of Debian packages or is an image")
        return ImageBase(
            name=name,
            image=table.text("image", check=checks.image),
            glibc=table.text("glibc", check=checks.glibc),
            python=_image_python(table),
        )
    for key in _IMAGE_KEYS:
        if table.has(key):
            table.problem(key, "is for a base that is an image: the packages decide it here")
    required = 'name a suite, such as debian = "bookworm", or an image = "REGISTRY/REPOSITORY:TAG"'
    return DebianBase(
        name=name,
        debian=table.text("debian", check=checks.suite, required=required),
        packages=table.texts("packages", check=checks.debian_package, unique=True),
        mirror=table.text("mirror", check=checks.mirror),
    )


def _image_python(table: Table) -> str:
    python = table.text("python", check=checks.full_python)
    if python and not table.has("glibc"):
        table.problem("python", "goes with glibc: say both, or neither, and both are read out of the image")
    return python


def _step(name: str, table: Table) -> Step:
    table.only(_STEP_KEYS)
    request = PythonRequest(
        version=table.parsed("python", PythonVersion.parse, _PYTHON, required='add python = "3.11" or another version'),
        dependencies=table.texts("dependencies", check=checks.requirement),
        files=table.texts("requirements", check=checks.relative_path, unique=True),
        group=table.text("group", check=normalise_name),
        script=table.parsed("script", checks.inside_path, ""),
        build=tuple(sorted(map(normalise_name, filter(None, table.texts("build", check=normalise_name, unique=True))))),
        torch_backend=table.text("torch-backend", check=torch_backend),
    )
    outputs = read_outputs(table)
    return Step(
        name=name,
        base=table.text("base", required="name one of the [base.NAME] tables"),
        python=request,
        command=table.texts("command", check=checks.word, required='add command = ["python", "SCRIPT.py"]', some=True),
        inputs=table.texts("inputs", unique=True),
        outputs=outputs.paths,
        compare=outputs.compare,
        keep=outputs.keep,
        code=table.texts("code", check=checks.glob) if table.has("code") else None,
        env=table.text_map("env", check_name=checks.variable_name, convert=checks.word),
        secrets=tuple(sorted(table.texts("secrets", check=checks.secret_name, unique=True))),
        network=table.flag("network"),
        bytecode=table.flag("bytecode"),
        deterministic=table.flag("deterministic"),
        gpu=read_gpu(table),
        host=read_host(table),
    )
