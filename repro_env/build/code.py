"""A step's own code: which files of the project belong to it, and the layer made of them."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from repro_env.edges import process
from repro_env.edges.files import os_errors
from repro_env.errors import BuildError
from repro_env.image import tar
from repro_env.image.layer import Layer, LayerWriter
from repro_env.image.store import Store
from repro_env.lock.model import Lock, LockedStep
from repro_env.lock.places import IMAGE_ROOTS

STEP_DOCUMENT = "repro/step.json"
"""Where an image holds its step's slice of the lock."""

_NEVER = {".git", ".repro", ".venv", "__pycache__"}
_GIT_TIMEOUT = 60.0
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class CodeFile:
    """One file of a step's code: its path in the project, where it is, its mode, and a symlink's target."""

    path: str
    source: Path
    executable: bool = False
    link: str = ""


def code_files(step: LockedStep, lock: Lock, root: Path) -> tuple[CodeFile, ...]:
    """Return the files of a step's code, sorted by path.

    They are those its `code` globs name, a directory standing for all below it; without `code`, those git tracks in the
    project, less the data. No step's outputs are among them. Paths are UTF-8 in the image, whatever the locale.
    Errors: `BuildError` when a glob matches nothing, when there is no git repository to ask, when a link leaves the
    project, or when a name is not UTF-8.
    """
    found = _globbed(step, root) if step.code is not None else _tracked(lock, root)
    names = _without(found, (path for other in lock.steps.values() for path in other.outputs.values()))
    with os_errors(f"read the code of step {step.name}"):
        return tuple(_code_file(name, root) for name in sorted(names))


def code_layer(files: Sequence[CodeFile], document: bytes, store: Store) -> Layer:
    """Return the layer that holds a step's code at `/repro/code` and its slice of the lock beside it."""
    prefix = IMAGE_ROOTS.code.lstrip("/")
    placed = {f"{prefix}/{file.path}": file for file in files}
    directories = tar.parents([*placed, f"{prefix}/x", STEP_DOCUMENT])
    with store.writing() as (stream, keep):
        writer = LayerWriter(stream)
        for path in sorted((*directories, *placed, STEP_DOCUMENT), key=str.encode):
            if path in directories:
                writer.add(tar.Entry(path=path, kind="directory", mode=0o755))
            elif path == STEP_DOCUMENT:
                writer.add(tar.Entry(path=path, size=len(document)), document)
            else:
                _write(writer, path, placed[path])
        layer = writer.finish("the step's code")
        keep(layer.digest)
    return layer


def copy_code(files: Sequence[CodeFile], directory: Path) -> None:
    """Copy a step's code into a new directory, for a runtime that mounts code instead of having it in the image.

    Modes are those of the code layer, so a step sees the same either way. Errors: `StoreError`.
    """
    with os_errors(f"copy the step's code to {directory}"):
        directory.mkdir(parents=True)
        for file in files:
            target = directory / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.link:
                target.symlink_to(file.link)
            else:
                shutil.copyfile(file.source, target)
                target.chmod(0o755 if file.executable else 0o644)


def _write(writer: LayerWriter, path: str, file: CodeFile) -> None:
    if file.link:
        writer.add(tar.Entry(path=path, kind="symlink", mode=0o777, link=file.link))
        return
    with os_errors(f"read {file.path}"), file.source.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        entry = tar.Entry(path=path, mode=0o755 if file.executable else 0o644, size=size)
        writer.add_chunks(entry, iter(lambda: stream.read(_CHUNK), b""))


def _globbed(step: LockedStep, root: Path) -> set[str]:
    names: set[str] = set()
    for pattern in step.code or ():
        matched = {name for path in _matching(pattern, root) for name in _below(path, root)}
        if not matched:
            hint = "correct the pattern, or create the file"
            raise BuildError(f"step {step.name} has no code at {pattern!r}", f"nothing in {root} matches", hint)
        names |= matched
    return names


def _matching(pattern: str, root: Path) -> Iterable[Path]:
    clean = str(PurePosixPath(pattern))  # glob itself refuses "." and "./"
    real = os.path.realpath(root)
    for path in [root] if clean == "." else sorted(root.glob(_local(clean))):
        relative = path.relative_to(root)
        if not _NEVER.isdisjoint(relative.parts):
            continue
        folder = os.path.realpath(path.parent) if path != root else real
        if os.path.commonpath((folder, real)) != real:
            hint = "name files of the project itself"
            raise BuildError(f"{relative} is reached through a link out of the project", f"it is in {folder}", hint)
        yield path


def _below(path: Path, root: Path) -> Iterable[str]:
    """Yield a file itself, or every file and link below a directory, without what is never code."""
    if path.is_symlink() or not path.is_dir():
        yield _named(path.relative_to(root).as_posix())
        return
    for directory, subdirectories, names in os.walk(path):
        here = Path(directory)
        links = [name for name in subdirectories if (here / name).is_symlink()]
        subdirectories[:] = sorted(set(subdirectories) - _NEVER)
        for name in (*names, *links):
            yield _named((here / name).relative_to(root).as_posix())


def _tracked(lock: Lock, root: Path) -> set[str]:
    """Return what git tracks below the project, less outputs and data."""
    words = ("git", "-C", root, "ls-files", "-z", "--cached", "--recurse-submodules")
    listed = process.run(words, timeout=_GIT_TIMEOUT, check=False)
    if listed.status:
        hint = 'name the step\'s files with code = ["..."], or make the project a git repository'
        raise BuildError("a step without `code` holds what git tracks, and git lists nothing", listed.stderr, hint)
    names = {name for name in listed.stdout.split("\0") if name}
    unreadable = sorted(name for name in names if "\ufffd" in name and not os.path.lexists(root / _local(name)))
    if unreadable:
        raise _not_text(unreadable[0])
    data = (data.path for data in lock.data.values())
    return {name for name in _without(names, data) if os.path.lexists(root / _local(name))}


def _without(names: set[str], paths: Iterable[str]) -> set[str]:
    """Return the names that are neither one of these paths nor below one."""
    excluded = [PurePosixPath(path) for path in paths]
    return {name for name in names if not any(PurePosixPath(name).is_relative_to(path) for path in excluded)}


def _code_file(name: str, root: Path) -> CodeFile:
    source = root / _local(name)
    mode = source.lstat().st_mode
    if stat.S_ISLNK(mode):
        target = _named(os.readlink(source))
        landed = PurePosixPath(os.path.normpath(os.path.join(os.path.dirname(name), target)))
        if landed.is_absolute() or landed.parts[:1] == ("..",):
            hint = "make the link relative and keep it inside the project, or leave it out of `code`"
            raise BuildError(f"{name} is a link out of the project", f"it points to {target}", hint)
        return CodeFile(name, source, link=target)
    if not stat.S_ISREG(mode):
        raise BuildError(f"{name} is not a regular file", hint="leave it out of `code`")
    return CodeFile(name, source, executable=bool(mode & stat.S_IXUSR))


def _local(name: str) -> str:
    """Return an image's name as this process names the file, whose locale need not be UTF-8."""
    return os.fsdecode(name.encode())


def _named(local: str) -> str:
    """Return a file's name as an image holds it. Errors: `BuildError` when it is not UTF-8."""
    try:
        return os.fsencode(local).decode()
    except UnicodeDecodeError:
        raise _not_text(ascii(local)) from None


def _not_text(name: str) -> BuildError:
    return BuildError(f"{name} is not named in UTF-8", hint="rename the file, or leave it out of `code`")
