"""A lock as text: the same content always gives the same bytes.

Keys stand in a fixed order and names are sorted; each package is on lines of its own, so that a diff reads well and
two branches merge. What is empty or as by default is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

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
    LockedData,
    LockedStep,
    SourcePackage,
    Wheel,
)

HEADER = "# Written by repro lock, for review and for git. To change it, edit repro.toml and lock again."

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")
_ESCAPED = re.compile(r'[\x00-\x1f\x7f"\\]')
_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}

Value = str | int | bool


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
    blocks.extend(_wheel(wheel) for wheel in listed)
    for step_name in sorted(lock.steps):
        blocks.extend(_step(lock.steps[step_name], names))
    blocks.extend(_data(lock.data[name]) for name in sorted(lock.data))
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def references(wheels: Iterable[Wheel]) -> dict[tuple[str, str, str], str]:
    """Return how a step's list names each wheel, by name, version and hexadecimal hash.

    That is the wheel's short reference; where several wheels share one, all of these are named by their whole hash.
    """
    groups: dict[str, list[Wheel]] = {}
    for wheel in wheels:
        groups.setdefault(wheel.reference, []).append(wheel)
    return {
        (wheel.name, wheel.version, wheel.sha256.hex): short if len(group) == 1 else long_reference(wheel)
        for short, group in groups.items()
        for wheel in group
    }


def long_reference(wheel: Wheel) -> str:
    """Return a reference with the whole hash, for wheels that share the short one."""
    return f"{wheel.name}=={wheel.version} {wheel.sha256}"


def _head(lock: Lock) -> list[str]:
    lines = [HEADER, f"version = {lock.version}", f"project = {_string(lock.project)}", "", "[inputs]"]
    # A blank line between the requests of two steps: git merges changes that do not touch each other.
    for index, (_, names) in enumerate(groupby(sorted(lock.inputs, key=_parts), lambda name: _parts(name)[:2])):
        lines += [""] if index else []
        lines += [f"{_key(name)} = {_string(str(lock.inputs[name]))}" for name in names]
    return lines


def _parts(name: str) -> list[str]:
    return name.split(".")


def _base(base: LockedBase) -> Iterator[list[str]]:
    head = [_header("base", base.name)]
    head += [f"image = {_string(base.image)}"] if base.image else [f"suite = {_string(base.suite)}"]
    head += [f"index = {_string(str(base.index))}"] if base.index else []
    yield head
    for platform in sorted(base.roots):
        root, keys = base.roots[platform], ("base", base.name, str(platform))
        if isinstance(root, DebianRoot):
            yield [_header(*keys), *_debian_root(root)]
        else:
            yield [_header(*keys), *_image_root(root)]
            if root.env:
                yield [_header(*keys, "env"), *(f"{_key(k)} = {_string(root.env[k])}" for k in sorted(root.env))]


def _image_root(root: ImageRoot) -> Iterator[str]:
    yield f"manifest = {_string(str(root.manifest))}"
    yield f"config = {_string(str(root.config))}"
    yield f"glibc = {_string(root.glibc)}"
    yield f"python = {_string(root.python)}"
    if root.interpreter:
        yield f"interpreter = {_string(root.interpreter)}"
    if root.user:
        yield f"user = {_string(root.user)}"
    yield from _lines(
        "layers",
        (
            _inline(
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
    yield f"glibc = {_string(root.glibc)}"
    yield f"python = {_string(root.python)}"
    yield from _lines("sources", map(_source, root.sources))
    packages = sorted(root.packages)
    yield from _lines(
        "packages",
        (
            _inline(
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
    return _inline(
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
        f"version = {_string(interpreter.version)}",
        f"url = {_string(interpreter.url)}",
        f"sha256 = {_string(interpreter.sha256.hex)}",
        f"size = {interpreter.size}",
    ]


def _wheel(wheel: Wheel) -> list[str]:
    return [
        "[[package]]",
        f"name = {_string(wheel.name)}",
        f"version = {_string(wheel.version)}",
        f"file = {_string(wheel.file)}",
        f"url = {_string(wheel.url)}",
        f"sha256 = {_string(wheel.sha256.hex)}",
        f"size = {wheel.size}",
    ]


def _step(step: LockedStep, names: Mapping[tuple[str, str, str], str]) -> Iterator[list[str]]:
    lines = [
        _header("step", step.name),
        f"base = {_string(step.base)}",
        f"python = {_string(str(step.python))}",
        f"command = {_array(step.command)}",
    ]
    if step.inputs:
        lines.append(f"inputs = {_array(step.inputs)}")
    if step.outputs:
        lines.append(f"outputs = {_inline(step.outputs, in_order=False)}")
    if step.code is not None:
        lines.append(f"code = {_array(step.code)}")
    if step.env:
        lines.append(f"env = {_inline(step.env, in_order=False)}")
    if step.network:
        lines.append("network = true")
    if step.bytecode:
        lines.append("bytecode = true")
    yield lines
    for key, request in (("gpu", step.gpu), ("host", step.host)):
        if request is not None:
            yield [_header("step", step.name, key), *_settings(request.to_dict())]
    for platform in sorted(step.environments):
        environment, keys = step.environments[platform], ("step", step.name, str(platform))
        yield [_header(*keys), *_environment(environment, names)]
        yield from _builds(environment, keys, names)


def _builds(
    environment: Environment, keys: tuple[str, ...], names: Mapping[tuple[str, str, str], str]
) -> Iterator[list[str]]:
    """Yield the packages of an environment that are built, each a table below the environment's."""
    for source in sorted(environment.sources):
        yield [_header(*keys, "source", source.name), *_source_package(source, names)]
        if source.wheel is not None:
            yield [_header(*keys, "source", source.name, "wheel"), *_built_wheel(source.wheel)]
    for local in sorted(environment.local):
        yield [_header(*keys, "local", local.name), *_local_package(local, names)]


def _settings(values: Mapping[str, Value | list[str]]) -> Iterator[str]:
    for key, value in values.items():
        yield f"{key} = {_array(value) if isinstance(value, list) else _value(value)}"


def _environment(environment: Environment, names: Mapping[tuple[str, str, str], str]) -> Iterator[str]:
    yield f"interpreter = {_string(environment.interpreter)}"
    if environment.archive is not None:
        yield f"archive = {_string(str(environment.archive.sha256))}"
    yield f"layout = {environment.layout}"
    if environment.image is not None:
        yield f"environment = {_string(str(environment.image))}"
    yield from _references("packages", environment.wheels, names)


def _source_package(package: SourcePackage, names: Mapping[tuple[str, str, str], str]) -> Iterator[str]:
    yield f"version = {_string(package.version)}"
    yield f"file = {_string(package.file)}"
    yield f"url = {_string(package.url)}"
    yield f"sha256 = {_string(package.sha256.hex)}"
    yield f"size = {package.size}"
    yield from _references("requires", package.requires, names)


def _built_wheel(wheel: BuiltWheel) -> Iterator[str]:
    yield f"file = {_string(wheel.file)}"
    yield f"sha256 = {_string(wheel.sha256.hex)}"
    yield f"size = {wheel.size}"
    yield from _lines("contents", (_string(f"{digest} {path}") for path, digest in sorted(wheel.contents)))


def _local_package(package: LocalPackage, names: Mapping[tuple[str, str, str], str]) -> Iterator[str]:
    yield f"path = {_string(package.path)}"
    yield f"metadata = {_string(str(package.metadata))}"
    if package.version:
        yield f"version = {_string(package.version)}"
    yield from _references("requires", package.requires, names)


def _references(key: str, wheels: Iterable[Wheel], names: Mapping[tuple[str, str, str], str]) -> Iterator[str]:
    listed = (names[wheel.name, wheel.version, wheel.sha256.hex] for wheel in sorted(wheels))
    yield from _lines(key, map(_string, listed))


def _data(data: LockedData) -> list[str]:
    return [
        _header("data", data.name),
        f"path = {_string(data.path)}",
        f"kind = {_string(data.kind)}",
        f"digest = {_string(str(data.digest))}",
        f"files = {data.files}",
        f"size = {data.size}",
    ]


def _header(*keys: str) -> str:
    return f"[{'.'.join(map(_key, keys))}]"


def _key(key: str) -> str:
    return key if _BARE_KEY.match(key) else _string(key)


def _lines(key: str, items: Iterable[str]) -> Iterator[str]:
    """Yield an array with one item a line."""
    written = [f"  {item}," for item in items]
    if written:
        yield from (f"{key} = [", *written, "]")
    else:
        yield f"{key} = []"


def _array(items: Iterable[str]) -> str:
    return f"[{', '.join(map(_string, items))}]"


def _inline(values: Mapping[str, Value], *, in_order: bool = True) -> str:
    names = values if in_order else sorted(values)
    return "{ " + ", ".join(f"{_key(name)} = {_value(values[name])}" for name in names) + " }"


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else _string(value)


def _string(text: str) -> str:
    """Return a TOML basic string.

    Source: https://toml.io/en/v1.0.0#string
    """
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04x}"
