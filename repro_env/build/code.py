"""A step's own code: which files of the project belong to it, and the layer made of them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import posixpath
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from repro_env.build.secret_files import Secret, secret_in
from repro_env.edges import process
from repro_env.edges.files import os_errors, store_error
from repro_env.edges.git import local_git_environment
from repro_env.errors import BuildError, IntegrityError, ToolError
from repro_env.frozen import dataclass
from repro_env.image import tar
from repro_env.image.layer import Layer, LayerWriter
from repro_env.image.store import Store
from repro_env.lock.model import Lock, LockedStep
from repro_env.lock.places import IMAGE_ROOTS, NEEDS
from repro_env.values import Digest

STEP_DOCUMENT = "repro/step.json"
"""Where an image holds its step's slice of the lock."""

_NEVER = {
    *(".git", ".hg", ".svn", ".repro", ".venv", ".tox", ".nox", "__pycache__", ".ipynb_checkpoints"),
    *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"),
}
_OWN = {"repro.toml", "repro.lock"}
"""What describes every step. Its slice is in the image already, and with the whole, an edit of one step would make all
others new; recording an image's digest in the lock would change that image."""

_ENVIRONMENT_MARK = "pyvenv.cfg"  # PEP 405
_GIT_TIMEOUT = 60.0
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class CodeFile:
    """One file of a step's code: its path in the project, where it is, its mode, a symlink's target, bytes."""

    path: str
    source: Path
    executable: bool = False
    link: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Code:
    """A step's code: its files, sorted by path, and what looks like a secret, in them or left out."""

    files: tuple[CodeFile, ...]
    secrets: tuple[Secret, ...] = ()

    @property
    def size(self) -> int:
        """What the files weigh, in bytes."""
        return sum(file.size for file in self.files)

    def largest(self, count: int) -> list[CodeFile]:
        """Return the heaviest files, the heaviest first."""
        return sorted(self.files, key=lambda file: (-file.size, file.path))[:count]


def find_code(step: LockedStep, lock: Lock, root: Path) -> Code:
    """Return a step's code.

    It is the files its `code` globs name, a directory standing for all below it; without `code`, those git tracks in
    the project, less the data. No step's outputs are among them, no virtual environment, and neither `repro.toml` and
    `repro.lock` nor what looks like a secret, unless `code` names that very file. Paths are UTF-8 in the image,
    whatever the locale. Errors: `BuildError` when a glob matches nothing, when there is no git repository to ask, when
    a link leaves the project, when a name is not UTF-8, or when a file vanishes meanwhile.
    """
    outputs = [path for other in lock.steps.values() for path in other.outputs.values()]
    found = _globbed(step, root, outputs) if step.code is not None else _tracked(lock, root)
    asked = {str(PurePosixPath(pattern)) for pattern in step.code or ()}
    names = _without(found, outputs) - (_OWN - asked)
    files = [_code_file(name, root) for name in sorted(names)]
    return _without_secrets(files, asked)


def files_below(directory: Path, excluded: Iterable[Path]) -> Code:
    """Return the files of a directory outside of any step's code: a package's.

    They are those git tracks or would track, or all where there is no repository, less what is never code, what a build
    leaves behind, what looks like a secret and what is `excluded`. Errors: as `find_code`.
    """
    try:
        listed = _list_git(directory, "--cached", "--others", "--exclude-standard")
    except ToolError:
        listed = set()
    outside = [os.path.relpath(path, directory) for path in excluded]
    # Git lists nothing of a directory that is ignored as a whole.
    names = _present(listed, directory) if listed else set(_below(directory, directory, outside))
    own = {name for name in names if not _is_build_output(name) and not _is_directory(directory / _local(name))}
    files = [_code_file(name, directory) for name in sorted(_without(own, outside) - _OWN)]
    return _without_secrets(files, set())


def code_layer(files: Sequence[CodeFile], document: bytes, store: Store, *, needs: bytes | None = None) -> Layer:
    """Return the layer that holds a step's code at `/repro/code` and its slice of the lock beside it.

    `needs` is what of that the check of the machine reads, for a step whose image begins with it.
    """
    prefix = IMAGE_ROOTS.code.lstrip("/")
    placed = {f"{prefix}/{file.path}": file for file in files}
    documents = {STEP_DOCUMENT: document, **({NEEDS.lstrip("/"): needs} if needs is not None else {})}
    directories = tar.parents([*placed, f"{prefix}/x", *documents])
    with store.writing() as (stream, keep):
        writer = LayerWriter(stream)
        for path in sorted((*directories, *placed, *documents), key=str.encode):
            if path in directories:
                writer.add(tar.Entry(path=path, kind="directory", mode=0o755))
            elif path in documents:
                writer.add(tar.Entry(path=path, size=len(documents[path])), documents[path])
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
            target = directory / _local(file.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.link:
                target.symlink_to(_local(file.link))
            else:
                with reading(file.path):
                    shutil.copyfile(file.source, target)
                target.chmod(0o755 if file.executable else 0o644)


def _without_secrets(files: Sequence[CodeFile], asked: Collection[str]) -> Code:
    """Return files as code, without those that look like secrets and are not asked for by name."""
    secrets = [
        Secret(file.path, what, left_out=file.path not in asked)
        for file in files
        if not file.link and (what := secret_in(file.path, functools.partial(_head, file)))
    ]
    left_out = {secret.path for secret in secrets if secret.left_out}
    return Code(tuple(file for file in files if file.path not in left_out), tuple(secrets))


def content_digest(file: CodeFile) -> Digest:
    """Return the digest of a regular file's content. Errors: as `reading`."""
    with reading(file.path), file.source.open("rb") as stream:
        return Digest(hashlib.file_digest(stream, "sha256").hexdigest())


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Read a file of the code inside. Errors: `BuildError` when it is no longer there, `StoreError` otherwise."""
    with os_errors(f"read {path}"):
        try:
            yield
        except FileNotFoundError as error:
            raise _moving(path, "vanished") from error


def _moving(path: str, what: str) -> BuildError:
    hint = "run again once nothing writes there, or leave it out of `code`"
    return BuildError(f"{path} {what} while the step's code was read", hint=hint)


def _head(file: CodeFile, count: int) -> bytes:
    with reading(file.path), file.source.open("rb") as stream:
        return stream.read(count)


def _write(writer: LayerWriter, path: str, file: CodeFile) -> None:
    if file.link:
        writer.add(tar.Entry(path=path, kind="symlink", mode=0o777, link=file.link))
        return
    with reading(file.path), file.source.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        entry = tar.Entry(path=path, mode=0o755 if file.executable else 0o644, size=size)
        try:
            writer.add_chunks(entry, iter(lambda: stream.read(_CHUNK), b""))
        except IntegrityError as error:
            raise _moving(file.path, "changed") from error


def _globbed(step: LockedStep, root: Path, outputs: Collection[str]) -> set[str]:
    names: set[str] = set()
    for pattern in step.code or ():
        matched = {name for path in _matching(pattern, root) for name in _below(path, root, outputs)}
        if not matched:
            hint = "correct the pattern, or create the file"
            raise BuildError(f"step {step.name} has no code at {pattern!r}", f"nothing in {root} matches", hint)
        names |= matched
    return names


def _matching(pattern: str, root: Path) -> Iterable[Path]:
    clean = str(PurePosixPath(pattern))  # glob itself refuses "." and "./"
    real = os.path.realpath(root)
    is_environment = functools.cache(lambda folder: os.path.lexists(root / folder / _ENVIRONMENT_MARK))
    for path in [root] if clean == "." else sorted(root.glob(_local(clean))):
        relative = path.relative_to(root)
        if not _NEVER.isdisjoint(relative.parts) or any(map(is_environment, relative.parents[:-1])):
            continue
        folder = os.path.realpath(path.parent) if path != root else real
        if os.path.commonpath((folder, real)) != real:
            hint = "name files of the project itself"
            raise BuildError(f"{relative} is reached through a link out of the project", f"it is in {folder}", hint)
        yield path


def _below(path: Path, root: Path, left_out: Collection[str]) -> Iterable[str]:
    """Yield a file itself, or every file and link below a directory, without what is never code.

    Directories below it that are `left_out`, which are named from the root, are not looked into.
    """
    if path.is_symlink() or not path.is_dir():
        yield _named(path.relative_to(root).as_posix())
        return
    for directory, subdirectories, names in os.walk(path, onerror=_unreadable):
        here = Path(directory)
        if _ENVIRONMENT_MARK in names and here != root:
            subdirectories.clear()
            continue
        links = [name for name in subdirectories if (here / name).is_symlink()]
        relative = here.relative_to(root)
        wanted = set(subdirectories) - _NEVER
        subdirectories[:] = sorted(name for name in wanted if (relative / name).as_posix() not in left_out)
        for name in (*names, *links):
            yield _named((here / name).relative_to(root).as_posix())


def _unreadable(error: OSError) -> None:
    """Refuse a directory that cannot be listed: what is in it would be missing without a word."""
    raise store_error("read the step's code", error)


def _tracked(lock: Lock, root: Path) -> set[str]:
    """Return what git tracks below the project, less outputs and data."""
    try:
        names = _list_git(root, "--cached", "--recurse-submodules")
    except ToolError as error:
        what = "a step without `code` holds what git tracks, and git lists nothing here"
        hint = 'name the step\'s files with code = ["..."], or make the project a git repository'
        raise BuildError(what, error.why, hint) from error
    return _without(_present(names, root), (data.path for data in lock.data.values()))


def _list_git(directory: Path, *options: str) -> set[str]:
    """Return what git lists below a directory. Errors: `ToolError` without git or a repository that it trusts."""
    words = ["git", "-C", str(directory), "ls-files", "-z", *options]
    listed = process.run(words, timeout=_GIT_TIMEOUT, env=local_git_environment())
    # A repository inside this one that it does not know ends in a slash.
    return {name for name in listed.stdout.split("\0") if name and not name.endswith("/")}


def _present(names: set[str], root: Path) -> set[str]:
    """Return those of git's names that are there, without virtual environments and this program's own state."""
    unreadable = sorted(name for name in names if "\ufffd" in name and not os.path.lexists(root / _local(name)))
    if unreadable:
        raise _not_text(unreadable[0])
    environments = (str(PurePosixPath(name).parent) for name in names if name.endswith(f"/{_ENVIRONMENT_MARK}"))
    return {name for name in _without(names, (".repro", *environments)) if os.path.lexists(root / _local(name))}


def _is_directory(path: Path) -> bool:
    """Whether something git lists is a directory: a submodule is."""
    return path.is_dir() and not path.is_symlink()


def _is_build_output(name: str) -> bool:
    """Whether a file of a package is what a build left beside its sources."""
    top, _, rest = name.partition("/")
    return (top in {"build", "dist"} and bool(rest)) or any(part.endswith(".egg-info") for part in name.split("/")[:-1])


def _without(names: set[str], paths: Iterable[str]) -> set[str]:
    """Return the names that are neither one of these paths nor below one."""
    excluded = {posixpath.normpath(path) for path in paths}
    if "." in excluded:
        return set()
    below = tuple(f"{path}/" for path in excluded)
    return {name for name in names if name not in excluded and not name.startswith(below)}


def _code_file(name: str, root: Path) -> CodeFile:
    source = root / _local(name)
    with reading(name):
        status = source.lstat()
        target = _named(os.readlink(source)) if stat.S_ISLNK(status.st_mode) else ""
    if target:
        landed = PurePosixPath(os.path.normpath(os.path.join(os.path.dirname(name), target)))
        if landed.is_absolute() or landed.parts[:1] == ("..",):
            hint = "make the link relative and keep it inside the project, or leave it out of `code`"
            raise BuildError(f"{name} is a link out of the project", f"it points to {target}", hint)
        return CodeFile(name, source, link=target)
    if not stat.S_ISREG(status.st_mode):
        raise BuildError(f"{name} is not a regular file", hint="leave it out of `code`")
    return CodeFile(name, source, executable=bool(status.st_mode & stat.S_IXUSR), size=status.st_size)


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
