"""Whether what `repro.toml` names exists, and that its steps and paths do not run into each other."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath

from repro_env.config.lines import KeyPath
from repro_env.config.model import Base, Data, Step
from repro_env.config.order import CycleError, dependency_order
from repro_env.config.placeholders import misspelled, placeholders, spell, variable
from repro_env.config.problems import Problems, did_you_mean
from repro_env.values import Platform

_NOT_TO_TAKE = {".git": "git", ".repro": "the runs", "repro.lock": "the lock", "repro.toml": "the project"}
"""Places that are neither data's nor a step's, with what stands there."""


def check_references(
    platforms: Collection[Platform],
    bases: Mapping[str, Base],
    data: Mapping[str, Data],
    steps: Mapping[str, Step],
    problems: Problems,
) -> None:
    """Note every reference to nothing, every cycle, and every clash of paths, variables or processors.

    Where the thing referred to has a problem itself, only that one is told.
    """
    known = [*data, *(f"{step.name}.{output}" for step in steps.values() for output in step.outputs)]
    for step in steps.values():
        _check_base(step, bases, problems)
        _check_inputs(step, steps, known, problems)
        _check_command(step, known, problems)
        _check_variables(step, problems)
        _check_host(step, {platform.machine for platform in platforms}, problems)
    _check_cycles(steps, problems)
    _check_paths(data, steps, problems)


def _check_base(step: Step, bases: Mapping[str, Base], problems: Problems) -> None:
    if step.base and step.base not in bases and not problems.within(("base", step.base)):
        hint = did_you_mean(step.base, bases) or "there is no table [base.NAME]"
        problems.add(("step", step.name, "base"), f'unknown base "{step.base}"', hint)


def _check_host(step: Step, machines: Collection[str], problems: Problems) -> None:
    """Note a processor that none of the project's platforms has."""
    place: KeyPath = ("step", step.name, "host")
    if step.host is None or problems.within(place):
        return
    wanted = {"architecture": step.host.architecture, "cpu": "x86_64" if step.host.cpu else ""}
    for key, machine in wanted.items():
        if machine and machine not in machines:
            why = f"the project's platforms have {' and '.join(sorted(machines))} alone"
            problems.add((*place, key), why, "add a platform to [project] platforms")


def _check_inputs(step: Step, steps: Mapping[str, Step], known: list[str], problems: Problems) -> None:
    for index, name in enumerate(step.inputs):
        producer, dot, _ = name.partition(".")
        broken = ("step", producer, "outputs") if dot else ("data", name)
        if not name or name in known or problems.within(broken):
            continue
        place: KeyPath = ("step", step.name, "inputs", index)
        if name in steps:
            outputs = ", ".join(f'"{name}.{output}"' for output in steps[name].outputs)
            hint = f"name {outputs}" if outputs else f"give step.{name} outputs"
            problems.add(place, f'"{name}" is a step: an input is one of its outputs', hint)
        else:
            problems.add(place, f'unknown input "{name}"', did_you_mean(name, known))


def _check_command(step: Step, known: list[str], problems: Problems) -> None:
    for index, word in enumerate(step.command):
        place: KeyPath = ("step", step.name, "command", index)
        for kind, name in placeholders(word):
            if kind == "output":
                if name not in step.outputs and not problems.within(("step", step.name, "outputs")):
                    hint = did_you_mean(name, step.outputs) or f"step.{step.name} has no outputs"
                    problems.add(place, f"{spell(kind, name)} is not an output of this step", hint)
            elif name not in step.inputs:
                hint = f'add "{name}" to its inputs' if name in known else did_you_mean(name, known)
                problems.add(place, f"{spell(kind, name)} is not an input of this step", hint)
        for text in misspelled(word):
            hint = "write {data.NAME}, {output.NAME} or {output.NAME@STEP}"
            problems.add(place, f"{text} is not a placeholder", hint)


def _check_variables(step: Step, problems: Problems) -> None:
    """Refuse names that would be given to the command in the same environment variable."""
    for name in step.secrets:
        if name in step.env:
            hint = "leave it out of env, where its value is no secret"
            problems.add(("step", step.name, "secrets"), f"{name} is in env, too", hint)
    for prefix, key, names in (("DATA", "inputs", step.inputs), ("OUTPUT", "outputs", step.outputs)):
        seen: dict[str, str] = {}
        for name in filter(None, names):
            other = seen.setdefault(variable(prefix, name), name)
            if other != name:
                message = f'"{other}" and "{name}" would both be {variable(prefix, name)}'
                problems.add(("step", step.name, key), message, "rename one of them")


def _check_cycles(steps: Mapping[str, Step], problems: Problems) -> None:
    try:
        dependency_order({name: step.upstream for name, step in steps.items()})
    except CycleError as error:
        first = error.cycle[0]
        if len(error.cycle) == 2:  # noqa: PLR2004 - the step and itself again
            message = "a step cannot take its own output"
        else:
            message = f"steps wait for each other: {' -> '.join(error.cycle)}"
        problems.add(("step", first, "inputs"), message)


def _check_paths(data: Mapping[str, Data], steps: Mapping[str, Step], problems: Problems) -> None:
    """Refuse what is put at, in, or around the place of something else: data from elsewhere, and outputs."""
    here = {name: item for name, item in data.items() if item.path and not (item.uri or item.query)}
    taken = [(owner, PurePosixPath(path)) for path, owner in _NOT_TO_TAKE.items()]
    taken += [(f"data.{name}", PurePosixPath(item.path)) for name, item in here.items()]
    for place, path in itertools.chain(_pulled(data), _outputs(steps)):
        for owner, other in taken:
            if path == other:
                problems.add(place, f'"{path}" is the path of {owner} too')
            elif path.is_relative_to(other):
                problems.add(place, f'"{path}" lies inside "{other}", the path of {owner}')
            elif other.is_relative_to(path):
                problems.add(place, f'"{other}", the path of {owner}, lies inside "{path}"')
        taken.append((".".join(map(str, place)).removesuffix(".path"), path))


def _pulled(data: Mapping[str, Data]) -> Iterator[tuple[KeyPath, PurePosixPath]]:
    for name, item in data.items():
        if item.path and (item.uri or item.query):
            yield ("data", name, "path"), PurePosixPath(item.path)


def _outputs(steps: Mapping[str, Step]) -> Iterator[tuple[KeyPath, PurePosixPath]]:
    for step in steps.values():
        for name, path in step.outputs.items():
            yield ("step", step.name, "outputs", name), PurePosixPath(path)
