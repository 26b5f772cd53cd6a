"""The files of a project, besides `repro.toml`, that decide what its lock is made from."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Any

from repro_env.config.document import DocumentError, read_document
from repro_env.config.lines import KeyPath
from repro_env.config.model import Project, PythonRequest, Step
from repro_env.config.problems import Problems
from repro_env.errors import ConfigError, Problem
from repro_env.frozen import dataclass
from repro_env.lock.groups import group_dependencies
from repro_env.lock.requirements import nested_files
from repro_env.lock.script import script_header

PYPROJECT = "pyproject.toml"
UV_CONFIG = "uv.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonInputs:
    """All that a step asks of the Python index, with what its files say.

    `dependencies` are the step's own, `group` those of its dependency group, `script` those of its script's header.
    `files` maps each requirements file, the nested ones too, to its text; the step names the first `roots` of them.
    `uv` maps where a uv configuration stands (`uv.toml`, `pyproject.toml`, the script) to its content.
    """

    dependencies: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    script: tuple[str, ...] = ()
    requires_python: str = ""  # of the script
    roots: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    uv: Mapping[str, Any] = field(default_factory=dict)


def request_files(project: Project, read: Callable[[str], str | None]) -> Mapping[str, str]:
    """Return the text of every file that the project's steps are made from, by path relative to the project.

    `read` gives the text of such a path, or None where there is no such file. Errors: `ConfigError` that names each
    missing file with the step and key, or the file, that asks for it.
    """
    problems = Problems(file=project.file, text=project.text, root=project.table)
    found: dict[str, str] = {}
    for name in (PYPROJECT, UV_CONFIG):
        if (text := read(name)) is not None:
            found[name] = text
    nested: list[Problem] = []
    for step in project.steps.values():
        for path, file in _named_files(step):
            if _gather(file, read, found):
                if path[2] == "requirements":
                    nested += _gather_nested(file, read, found)
            else:
                problems.add(path, f'there is no file "{file}"')
    everything = problems.listed() + list(dict.fromkeys(nested))
    if everything:
        raise ConfigError.from_problems(everything)
    return found


def python_inputs(project: Project, step: Step, sources: Mapping[str, str]) -> PythonInputs:
    """Return what a step asks of the index. `sources` is what `request_files` returned. Errors: `ConfigError`."""
    problems = Problems(file=project.file, text=project.text, root=project.table)
    found = _Reader(sources, problems).inputs(step)
    problems.check()
    return found


def all_python_inputs(project: Project, sources: Mapping[str, str]) -> Mapping[str, PythonInputs]:
    """Return `python_inputs` of every step, with every problem in one `ConfigError`."""
    problems = Problems(file=project.file, text=project.text, root=project.table)
    reader = _Reader(sources, problems)
    found = {step.name: reader.inputs(step) for step in project.steps.values()}
    problems.check()
    return found


def _named_files(step: Step) -> Iterator[tuple[KeyPath, str]]:
    for index, file in enumerate(step.python.files):
        yield ("step", step.name, "requirements", index), posixpath.normpath(file)
    if step.python.script:
        yield ("step", step.name, "script"), step.python.script
    if step.python.group:
        yield ("step", step.name, "group"), PYPROJECT


def _gather(file: str, read: Callable[[str], str | None], found: dict[str, str]) -> bool:
    if file not in found:
        text = read(file)
        if text is None:
            return False
        found[file] = text
    return True


def _gather_nested(file: str, read: Callable[[str], str | None], found: dict[str, str]) -> Iterator[Problem]:
    """Gather what a requirements file names, and so on; each file once, so a cycle ends."""
    waiting, seen = [file], {file}
    while waiting:
        current = waiting.pop(0)
        for name in nested_files(found[current], current):
            if not _gather(name, read, found):
                yield Problem(
                    file=current,
                    line=_line_of(name, current, found[current]),
                    key="",
                    message=f'there is no file "{name}"',
                )
            elif name not in seen:
                seen.add(name)
                waiting.append(name)


def _line_of(name: str, file: str, text: str) -> int:
    lines = text.splitlines()
    return next((number for number, line in enumerate(lines, 1) if name in nested_files(line, file)), 0)


class _Reader:
    """Reads each source file once for all steps."""

    def __init__(self, sources: Mapping[str, str], problems: Problems) -> None:
        self._sources = sources
        self._problems = problems
        self._pyproject = self._document(PYPROJECT)
        self._uv: dict[str, Any] = {}
        if UV_CONFIG in sources:
            self._uv[UV_CONFIG] = self._document(UV_CONFIG)
        if isinstance(tool := self._pyproject.get("tool"), dict) and "uv" in tool:
            self._uv[PYPROJECT] = tool["uv"]

    def inputs(self, step: Step) -> PythonInputs:
        request = step.python
        header = self._header(step)
        dependencies = header.get("dependencies", [])
        if not isinstance(dependencies, list) or not all(isinstance(item, str) for item in dependencies):
            self._problem(step, "script", "the script's dependencies are not a list of strings")
            dependencies = []
        tool = header.get("tool")
        script_uv = tool.get("uv") if isinstance(tool, dict) else None
        return PythonInputs(
            dependencies=request.dependencies,
            group=self._group(step),
            script=tuple(dependencies),
            requires_python=str(header.get("requires-python", "")),
            roots=tuple(map(posixpath.normpath, request.files)),
            files=self._files(request),
            uv=self._uv | ({request.script: script_uv} if script_uv is not None else {}),
        )

    def _document(self, file: str) -> dict[str, Any]:
        try:
            return read_document(self._sources.get(file, ""))
        except DocumentError as error:
            problem = Problem(file=file, line=error.line, key="", message=f"not valid TOML: {error.message}")
            raise ConfigError.from_problems([problem]) from error

    def _group(self, step: Step) -> tuple[str, ...]:
        if not step.python.group:
            return ()
        try:
            return group_dependencies(self._pyproject, step.python.group)
        except ValueError as error:
            self._problem(step, "group", f"{PYPROJECT}: {error}")
            return ()

    def _header(self, step: Step) -> dict[str, Any]:
        script = step.python.script
        if not script:
            return {}
        try:
            header = script_header(self._sources[script])
        except ValueError as error:
            self._problem(step, "script", f"the header of {script}: {error}")
            return {}
        if header is None:
            hint = "see https://packaging.python.org/specifications/inline-script-metadata/"
            self._problem(step, "script", f"{script} has no # /// script header", hint)
        return header or {}

    def _files(self, request: PythonRequest) -> Mapping[str, str]:
        waiting = [posixpath.normpath(file) for file in request.files]
        found: dict[str, str] = {}
        while waiting:
            name = waiting.pop(0)
            if name not in found:
                found[name] = self._sources[name]
                waiting.extend(nested_files(found[name], name))
        return found

    def _problem(self, step: Step, key: str, message: str, hint: str = "") -> None:
        self._problems.add(("step", step.name, key), message, hint)
