"""A lock as text: the same content always gives the same bytes.

Keys stand in a fixed order and names are sorted; each package is on lines of its own, so that a diff reads well and
two branches merge. What is empty or as by default is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from repro_env.lock import toml_text as toml
from repro_env.lock.cuda_text import compat_lines, cuda_lines
from repro_env.lock.data import data_lines
from repro_env.lock.gpu_code import GpuCode, gpu_code_lines
from repro_env.lock.model import (
    BuiltWheel,
    DebianRoot,
    DebianSource,
    Environment,
    ImageRoot,
    Interpreter,
    LocalPackage,
    Lock,
    LockedBase,
    LockedStep,
    SourcePackage,
    Wheel,
)
from repro_env.values import Digest

_Names = Mapping[tuple[str, str, str], str]
_GpuCode = Mapping[Digest, tuple[GpuCode, ...]]

HEADER = "# Written by repro lock, for review and for git. To change it, edit repro.toml and lock again."


def dump_lock(lock: Lock) -> str:
    """Return the canonical text. Two locks that are equal give equal texts, and `parse_lock` gives the lock back.

    One wheel (name, version, SHA-256) that is given with several URLs is written with the first of them in sorted
    order, and so is an interpreter: the hash is the identity.
    """
    wheels = {(wheel.name, wheel.version, wheel.sha256): wheel for wheel in reversed(lock.wheels)}
    listed = tuple(sorted(wheels.values()))
    names = references(listed)
    blocks = [_head(lock)]
    for base_name in sorted(lock.bases):
        blocks.extend(_base(lock.bases[base_name]))
    interpreters = {one.sha256: one for one in reversed(lock.interpreters)}
    blocks.extend(_interpreter(one) for one in sorted(interpreters.values()))
    blocks.extend([*_wheel(wheel), *gpu_code_lines(lock.gpu_code, wheel.sha256)] for wheel in listed)
    for step_name in sorted(lock.steps):
        blocks.extend(_step(lock.steps[step_name], names, lock.gpu_code))
    blocks.extend([*data_lines(lock.data[name])] for name in sorted(lock.data))
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def references(wheels: Iterable[Wheel]) -> dict[tuple[str, str, str], str]:
    """Return how a step's list names each wheel, by name, version and hexadecimal hash.

    That is the wheel's short reference; where several wheels share one, all of these are named by their whole hash.
    """
    groups: dict[str, list[Wheel]] = {}
    for wheel in wheels:
        groups.setdefault(wheel.reference, []).append(wheel)
    return {
        (wheel.name, wheel.version, wheel.sha256.hex): short if len(group) == 1 else wheel.long_reference
        for short, group in groups.items()
        for wheel in group
    }


def _head(lock: Lock) -> list[str]:
    lines = [HEADER, f"version = {lock.version}", f"project = {toml.string(lock.project)}", "", "[inputs]"]
    # A blank line between the requests of two steps: git merges changes that do not touch each other.
    for index, (_, names) in enumerate(groupby(sorted(lock.inputs, key=_parts), lambda name: _parts(name)[:2])):
        lines += [""] if index else []
        lines += [f"{toml.key(name)} = {toml.string(str(lock.inputs[name]))}" for name in names]
    return lines


def _parts(name: str) -> list[str]:
    return name.split(".")


def _base(base: LockedBase) -> Iterator[list[str]]:
    head = [toml.header("base", base.name)]
    head += [f"image = {toml.string(base.image)}"] if base.image else [f"suite = {toml.string(base.suite)}"]
    head += [f"index = {toml.string(str(base.index))}"] if base.index else []
    yield head
    for platform in sorted(base.roots):
        root, keys = base.roots[platform], ("base", base.name, str(platform))
        if isinstance(root, DebianRoot):
            yield [toml.header(*keys), *_debian_root(root)]
        else:
            yield [toml.header(*keys), *_image_root(root)]
            if root.env:
                yield [
                    toml.header(*keys, "env"),
                    *(f"{toml.key(k)} = {toml.string(root.env[k])}" for k in sorted(root.env)),
                ]


def _image_root(root: ImageRoot) -> Iterator[str]:
    yield f"manifest = {toml.string(str(root.manifest))}"
    yield f"config = {toml.string(str(root.config))}"
    yield f"glibc = {toml.string(root.glibc)}"
    yield f"python = {toml.string(root.python)}"
    if root.interpreter:
        yield f"interpreter = {toml.string(root.interpreter)}"
    if root.user:
        yield f"user = {toml.string(root.user)}"
    if root.compat is not None:
        yield from compat_lines(root.compat)
    yield from toml.lines(
        "layers",
        (
            toml.inline(
                {
                    "media_type": layer.media_type,
                    "digest": str(layer.digest),
                    "size": layer.size,
                    "diff_id": str(layer.diff_id),
                }
            )
            for layer in root.layers
        ),
    )


def _debian_root(root: DebianRoot) -> Iterator[str]:
    yield f"glibc = {toml.string(root.glibc)}"
    yield f"python = {toml.string(root.python)}"
    yield from toml.lines("sources", map(_source, root.sources))
    packages = sorted(root.packages)
    yield from toml.lines(
        "packages",
        (
            toml.inline(
                {
                    "name": package.name,
                    "version": package.version,
                    "architecture": package.architecture,
                    "url": package.url,
                    "sha256": package.sha256.hex,
                    "size": package.size,
                    **({"extra": True} if package.extra else {}),
                }
            )
            for package in packages
        ),
    )


def _source(source: DebianSource) -> str:
    return toml.inline(
        {
            "url": source.url,
            "suite": source.suite,
            "component": source.component,
            "date": source.date,
            "release": str(source.release),
            "index": str(source.index),
        }
    )


def _interpreter(interpreter: Interpreter) -> list[str]:
    return [
        "[[interpreter]]",
        f"version = {toml.string(interpreter.version)}",
        f"url = {toml.string(interpreter.url)}",
        f"sha256 = {toml.string(interpreter.sha256.hex)}",
        f"size = {interpreter.size}",
    ]


def _wheel(wheel: Wheel) -> list[str]:
    return [
        "[[package]]",
        f"name = {toml.string(wheel.name)}",
        f"version = {toml.string(wheel.version)}",
        f"file = {toml.string(wheel.file)}",
        f"url = {toml.string(wheel.url)}",
        f"sha256 = {toml.string(wheel.sha256.hex)}",
        f"size = {wheel.size}",
    ]


def _step(step: LockedStep, names: _Names, gpu_code: _GpuCode) -> Iterator[list[str]]:
    yield [toml.header("step", step.name), *_request(step)]
    for key, request in (("gpu", step.gpu), ("host", step.host)):
        if request is not None:
            yield [toml.header("step", step.name, key), *toml.settings(request.to_dict())]
    for platform in sorted(step.environments):
        environment, keys = step.environments[platform], ("step", step.name, str(platform))
        yield [toml.header(*keys), *_environment(environment, names)]
        if environment.cuda is not None:
            yield [toml.header(*keys, "cuda"), *cuda_lines(environment.cuda)]
        yield from _builds(environment, keys, names, gpu_code)


def _request(step: LockedStep) -> Iterator[str]:
    """Yield what was asked for, apart from tables."""
    yield f"base = {toml.string(step.base)}"
    yield f"python = {toml.string(str(step.python))}"
    if step.torch_backend:
        yield f"torch-backend = {toml.string(step.torch_backend)}"
    yield f"command = {toml.array(step.command)}"
    if step.inputs:
        yield f"inputs = {toml.array(step.inputs)}"
    for name, values in (("outputs", step.outputs), ("compare", step.compare)):
        if values:
            yield f"{name} = {toml.inline(values, in_order=False)}"
    if step.code is not None:
        yield f"code = {toml.array(step.code)}"
    for name, values in (("env", step.env), ("deterministic", step.deterministic)):
        if values:
            yield f"{name} = {toml.inline(values, in_order=False)}"
    if step.secrets:
        yield f"secrets = {toml.array(step.secrets)}"
    flags = (("network", step.network), ("bytecode", step.bytecode))
    yield from (f"{name} = true" for name, is_set in flags if is_set)


def _builds(environment: Environment, keys: tuple[str, ...], names: _Names, gpu_code: _GpuCode) -> Iterator[list[str]]:
    """Yield the packages of an environment that are built, each a table below the environment's."""
    for source in sorted(environment.sources):
        yield [toml.header(*keys, "source", source.name), *_source_package(source, names)]
        if source.wheel is not None:
            yield [
                toml.header(*keys, "source", source.name, "wheel"),
                *_built_wheel(source.wheel),
                *gpu_code_lines(gpu_code, source.wheel.sha256),
            ]
    for local in sorted(environment.local):
        yield [toml.header(*keys, "local", local.name), *_local_package(local, names)]


def _environment(environment: Environment, names: _Names) -> Iterator[str]:
    yield f"interpreter = {toml.string(environment.interpreter)}"
    if environment.archive is not None:
        yield f"archive = {toml.string(str(environment.archive.sha256))}"
    yield f"layout = {environment.layout}"
    if environment.image is not None:
        yield f"environment = {toml.string(str(environment.image))}"
    yield from _references("packages", environment.wheels, names)


def _source_package(package: SourcePackage, names: _Names) -> Iterator[str]:
    yield f"version = {toml.string(package.version)}"
    yield f"file = {toml.string(package.file)}"
    yield f"url = {toml.string(package.url)}"
    yield f"sha256 = {toml.string(package.sha256.hex)}"
    yield f"size = {package.size}"
    yield from _references("requires", package.requires, names)


def _built_wheel(wheel: BuiltWheel) -> Iterator[str]:
    yield f"file = {toml.string(wheel.file)}"
    yield f"sha256 = {toml.string(wheel.sha256.hex)}"
    yield f"size = {wheel.size}"
    yield from toml.lines("contents", (toml.string(f"{digest} {path}") for path, digest in sorted(wheel.contents)))


def _local_package(package: LocalPackage, names: _Names) -> Iterator[str]:
    yield f"path = {toml.string(package.path)}"
    yield f"metadata = {toml.string(str(package.metadata))}"
    if package.version:
        yield f"version = {toml.string(package.version)}"
    yield from _references("requires", package.requires, names)


def _references(key: str, wheels: Iterable[Wheel], names: _Names) -> Iterator[str]:
    listed = (names[wheel.name, wheel.version, wheel.sha256.hex] for wheel in sorted(wheels))
    yield from toml.lines(key, map(toml.string, listed))
