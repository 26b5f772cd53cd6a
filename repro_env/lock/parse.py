"""The one door for a lock's text: it is a whole, consistent lock, or a `LockError` says where it is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from repro_env.config import checks
from repro_env.config.comparison import Comparison
from repro_env.config.document import DocumentError, read_document
from repro_env.config.lines import key_lines, nearest_line
from repro_env.config.problems import key_text
from repro_env.config.torch import torch_backend
from repro_env.errors import LockError, Problem
from repro_env.lock import words
from repro_env.lock.canonical import read_canonical
from repro_env.lock.data import read_data
from repro_env.lock.fields import Fields, InvalidLockError
from repro_env.lock.machine import read_gpu, read_host
from repro_env.lock.model import (
    LAYOUT,
    VERSION,
    DebianPackage,
    DebianRoot,
    DebianSource,
    Environment,
    ImageLayer,
    ImageRoot,
    Interpreter,
    Lock,
    LockedBase,
    LockedData,
    LockedStep,
    Root,
)
from repro_env.lock.parse_builds import read_local, read_sources
from repro_env.lock.parse_packages import Packages, read_packages
from repro_env.values import Digest, Platform, PythonVersion, check_identifier

if TYPE_CHECKING:
    from repro_env.lock.cuda import CudaCompat, CudaFacts

_CONFLICT = re.compile(r"^(?:<{7}|\|{7}|={7}|>{7})(?: |\r?$)", re.MULTILINE)

_RESTORE = "restore it from version control, or remove it and run repro lock"
_UPGRADE = "upgrade it: pip install --upgrade repro-env"


def parse_lock(text: str, *, file: str = "repro.lock") -> Lock:
    """Return the lock that a text holds. `file` is its name as messages show it.

    `parse_lock(dump_lock(lock)) == lock`, and for a text that `dump_lock` wrote, the reverse. Errors: `LockError` for
    what is not TOML, holds a merge conflict, is of a newer version, or has a wrong, missing, unknown or dangling entry.
    """
    try:
        document = read_canonical(text) or read_document(text)
    except DocumentError as error:
        raise _unreadable(text, file, error) from error
    _refuse_newer("version", document.get("version"), VERSION, file)
    try:
        return _lock(Fields(document, ()), file)
    except InvalidLockError as error:
        line = nearest_line(key_lines(text), error.path)
        problem = Problem(file=file, line=line, key=key_text(error.path), message=error.message)
        raise LockError(f"{file} is damaged", str(problem), _RESTORE) from error


def _unreadable(text: str, file: str, error: DocumentError) -> LockError:
    conflict = _CONFLICT.search(text)
    if conflict is None:
        problem = Problem(file=file, line=error.line, key="", message=f"not valid TOML: {error.message}")
        return LockError(f"{file} is damaged", str(problem), _RESTORE)
    line = text.count("\n", 0, conflict.start()) + 1
    problem = Problem(file=file, line=line, key="", message=f"{conflict[0].strip()} is git's mark of a conflict")
    hint = "take either side, such as with git checkout --ours repro.lock, then run repro lock"
    return LockError(f"{file} holds an unresolved merge conflict", str(problem), hint)


def _refuse_newer(what: str, found: object, known: int, file: str) -> None:
    if type(found) is int and found > known:
        why = f"{what} {found}, this one knows {known}"
        raise LockError(f"{file} was written by a newer repro: {why}", "", _UPGRADE)


def _lock(fields: Fields, file: str) -> Lock:
    version = fields.number("version")
    if version != VERSION:
        raise fields.fail("version", f"expected {VERSION}, found {version}")
    project = fields.parsed("project", check_identifier)
    inputs = _inputs(fields)
    bases = {name: _base(name, inner) for name, inner in fields.tables("base")}
    packages = read_packages(fields)
    steps = {name: _step(name, inner, packages, file) for name, inner in fields.tables("step")}
    data = {name: _data(name, inner) for name, inner in fields.tables("data")}
    fields.done()
    lock = Lock(
        project=project,
        inputs=inputs,
        bases=bases,
        steps=steps,
        data=data,
        gpu_code=packages.gpu_code,
        version=version,
    )
    _check_references(lock)
    return lock


def _inputs(fields: Fields) -> Mapping[str, Digest]:
    inner = fields.table("inputs")
    return {name: inner.parsed(name, Digest.parse) for name in inner.names()}


def _base(name: str, fields: Fields) -> LockedBase:
    _check_name(name, fields)
    image = fields.parsed("image", words.reference) if fields.has("image") else ""
    index = fields.parsed("index", Digest.parse) if image and fields.has("index") else None
    suite = "" if image else fields.text("suite")
    read: Callable[[Fields], Root] = _image_root if image else _debian_root
    roots = {_platform(key, inner): read(inner) for key, inner in fields.rest()}
    fields.done()
    return LockedBase(name=name, roots=roots, suite=suite, image=image, index=index)


def _compat(fields: Fields) -> CudaCompat:
    from repro_env.lock.cuda_text import read_compat  # noqa: PLC0415 - a check of what has no CUDA does without

    return read_compat(fields)


def _cuda(fields: Fields) -> CudaFacts:
    from repro_env.lock.cuda_text import read_cuda  # noqa: PLC0415 - same

    return read_cuda(fields)


def _image_root(fields: Fields) -> ImageRoot:
    root = ImageRoot(
        manifest=fields.parsed("manifest", Digest.parse),
        config=fields.parsed("config", Digest.parse),
        glibc=fields.text("glibc"),
        python=fields.text("python"),
        layers=tuple(_each(fields, "layers", _image_layer)),
        interpreter=fields.parsed("interpreter", words.absolute) if fields.has("interpreter") else "",
        user=fields.text("user") if fields.has("user") else "",
        env=fields.text_map("env", check_name=words.env_name, check=checks.word) if fields.has("env") else {},
        compat=_compat(fields.table("compat")) if fields.has("compat") else None,
    )
    if bool(root.python) != bool(root.interpreter):
        raise fields.fail("interpreter", "stands where python is not empty, and only there")
    fields.done()
    return root


def _image_layer(fields: Fields) -> ImageLayer:
    layer = ImageLayer(
        media_type=fields.text("media_type"),
        digest=fields.parsed("digest", Digest.parse),
        size=fields.number("size"),
        diff_id=fields.parsed("diff_id", Digest.parse),
    )
    fields.done()
    return layer


def _debian_root(fields: Fields) -> DebianRoot:
    root = DebianRoot(
        glibc=fields.text("glibc"),
        python=fields.text("python"),
        sources=tuple(_each(fields, "sources", _source)),
        packages=tuple(sorted(_each(fields, "packages", _debian_package))),
    )
    fields.done()
    return root


def _source(fields: Fields) -> DebianSource:
    source = DebianSource(
        url=fields.text("url"),
        suite=fields.text("suite"),
        component=fields.text("component"),
        date=fields.parsed("date", words.date),
        release=fields.parsed("release", Digest.parse),
        index=fields.parsed("index", Digest.parse),
    )
    fields.done()
    return source


def _debian_package(fields: Fields) -> DebianPackage:
    package = DebianPackage(
        name=fields.parsed("name", words.word),
        version=fields.parsed("version", words.word),
        architecture=fields.parsed("architecture", words.word),
        url=fields.text("url"),
        sha256=fields.parsed("sha256", Digest),
        size=fields.number("size"),
        extra=fields.flag("extra"),
    )
    fields.done()
    return package


def _step(name: str, fields: Fields, packages: Packages, file: str) -> LockedStep:
    _check_name(name, fields)
    python = fields.parsed("python", PythonVersion.parse)
    outputs = _outputs(fields) if fields.has("outputs") else {}
    step = LockedStep(
        name=name,
        base=fields.text("base"),
        python=python,
        command=fields.texts("command", check=checks.word),
        inputs=fields.texts("inputs") if fields.has("inputs") else (),
        outputs=outputs,
        compare=_compare(fields, outputs) if fields.has("compare") else {},
        code=fields.texts("code", check=checks.glob) if fields.has("code") else None,
        env=(env := _variables(fields, "env")),
        secrets=_secrets(fields, env) if fields.has("secrets") else (),
        deterministic=_variables(fields, "deterministic"),
        network=fields.flag("network"),
        bytecode=fields.flag("bytecode"),
        torch_backend=fields.parsed("torch-backend", torch_backend) if fields.has("torch-backend") else "",
        gpu=read_gpu(fields),
        host=read_host(fields),
        environments={
            _platform(key, inner): _environment(inner, python, packages, file) for key, inner in fields.rest()
        },
    )
    fields.done()
    return step


def _outputs(fields: Fields) -> Mapping[str, str]:
    return fields.text_map("outputs", check_name=check_identifier, check=checks.inside_path)


def _compare(fields: Fields, outputs: Mapping[str, str]) -> Mapping[str, str]:
    found = fields.text_map("compare", check=Comparison.parse)
    for name in found:
        if name not in outputs:
            raise fields.fail("compare", f'the step has no output "{name}"')
    return found


def _variables(fields: Fields, key: str) -> Mapping[str, str]:
    if not fields.has(key):
        return {}
    return fields.text_map(key, check_name=checks.variable_name, check=checks.word)


def _secrets(fields: Fields, env: Mapping[str, str]) -> tuple[str, ...]:
    names = fields.texts("secrets", check=checks.secret_name)
    if list(names) != sorted(set(names)):
        raise fields.fail("secrets", "expected sorted names, none of them twice")
    for name in names:
        if name in env:
            raise fields.fail("secrets", f"{name} is in env, too")
    return names


def _environment(fields: Fields, python: PythonVersion, packages: Packages, file: str) -> Environment:
    layout = fields.number("layout")
    _refuse_newer("layout", layout, LAYOUT, file)
    interpreter = fields.text("interpreter")
    if not interpreter.startswith(f"{python}."):
        raise fields.fail("interpreter", f'expected a version of {python}, found "{interpreter}"')
    environment = Environment(
        interpreter=interpreter,
        wheels=packages.listed(fields, "packages"),
        sources=read_sources(fields, packages.listed, packages.gpu_code),
        local=read_local(fields, packages.listed),
        archive=_archive(fields, interpreter, packages) if fields.has("archive") else None,
        layout=layout,
        image=fields.parsed("environment", Digest.parse) if fields.has("environment") else None,
        cuda=_cuda(fields.table("cuda")) if fields.has("cuda") else None,
    )
    fields.done()
    return environment


def _archive(fields: Fields, version: str, packages: Packages) -> Interpreter:
    found = packages.interpreters.get(fields.parsed("archive", Digest.parse))
    if found is None or found.version != version:
        raise fields.fail("archive", f'there is no [[interpreter]] of it that is Python "{version}"')
    return found


def _data(name: str, fields: Fields) -> LockedData:
    _check_name(name, fields)
    return read_data(name, fields)


def _check_references(lock: Lock) -> None:
    """Refuse names of what is not in the lock, which is also how a file that was cut short shows itself."""
    for name, step in lock.steps.items():
        base = lock.bases.get(step.base)
        if base is None:
            raise InvalidLockError(("step", name, "base"), f"there is no [base.{step.base}]")
        for platform in base.roots:
            if platform not in step.environments:
                raise InvalidLockError(("step", name), f"has no environment for {platform}, which base.{base.name} has")
        for index, reference in enumerate(step.inputs):
            if not _is_input(reference, lock):
                raise InvalidLockError(("step", name, "inputs", index), f'nothing in the lock is called "{reference}"')
    requests = {f"base.{name}" for name in lock.bases} | {f"data.{name}" for name in lock.data}
    requests |= {f"step.{name}{part}" for name in lock.steps for part in ("", ".python")}
    for key in lock.inputs:
        if key not in requests:
            raise InvalidLockError(("inputs", key), "nothing in the lock is called so")


def _is_input(reference: str, lock: Lock) -> bool:
    name, dot, output = reference.partition(".")
    if not dot:
        return name in lock.data
    return name in lock.steps and output in lock.steps[name].outputs


def _each(fields: Fields, key: str, read: Any) -> Iterable[Any]:
    return (read(Fields(values, (*fields.path, key, index))) for index, values in enumerate(fields.items(key)))


def _check_name(name: str, fields: Fields) -> None:
    try:
        check_identifier(name)
    except ValueError as error:
        raise InvalidLockError(fields.path, str(error)) from error


def _platform(key: str, fields: Fields) -> Platform:
    try:
        return Platform.parse(key)
    except ValueError as error:
        raise InvalidLockError(fields.path, str(error)) from error
