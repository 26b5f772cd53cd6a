"""Writing files so that a reader, or a kill at any moment, finds the old content or the new and nothing between."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from repro_env.errors import StoreError

_HERE, _EXCHANGE = -100, 2
"""AT_FDCWD and RENAME_EXCHANGE. Source: fcntl.h, linux/fs.h."""


@contextlib.contextmanager
def os_errors(action: str) -> Iterator[None]:
    """Turn an `OSError` inside into a `StoreError` whose `what` is `cannot ACTION`."""
    try:
        yield
    except OSError as error:
        raise store_error(action, error) from error


def store_error(action: str, error: OSError) -> StoreError:
    """Return the error for what the system refused, whose `what` is `cannot ACTION`."""
    why = error.strerror or str(error)
    if error.filename:
        why = f"{os.fsdecode(error.filename)}: {why}"
    hints = {
        errno.ENOSPC: "free some space, or point REPRO_STORE at a larger disk; what was finished is kept",
        errno.EDQUOT: "your quota is used up: free some space, or point REPRO_STORE at another disk",
        errno.EACCES: "check the owner and the permissions of that path",
        errno.EPERM: "check the owner and the permissions of that path",
        errno.EMFILE: "let this process open more files: `ulimit -n 4096`",
        errno.EROFS: "that file system is read-only: point REPRO_STORE, or run, somewhere writable",
    }
    return StoreError(f"cannot {action}", why, hints.get(error.errno or 0, ""))


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` that takes its place on success and is removed on any failure.

    The content is flushed to disk before the rename, so a crash leaves the old file or the whole new one.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` with `data`; its directory is made if need be. Errors: `StoreError`."""
    with os_errors(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, mode=mode) as stream:
            stream.write(data)


def read_loosely(path: Path) -> str | None:
    """Return what a file says as it stands, what is no UTF-8 in it replaced, or None where there is none.

    Errors: `StoreError`.
    """
    if not path.is_file():
        return None
    with os_errors(f"read {path}"):
        return path.read_bytes().decode(errors="replace")


def flush_directory(path: Path) -> None:
    """Have the names in a directory on the disk, so that a power cut leaves what was written there. Errors: `OSError`.

    Source: fsync(2), on the entry of the directory that holds a file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive advisory lock on `path` (made if absent), which its holder may remove.

    The kernel drops the lock when the process dies. Errors: `StoreError`.
    """
    with os_errors(f"lock {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = _locked(path)
    with stream:
        yield


def _locked(path: Path) -> BinaryIO:
    while True:
        with contextlib.ExitStack() as opened:
            stream = opened.enter_context(path.open("ab"))
            fcntl.flock(stream, fcntl.LOCK_EX)
            # Whoever held it may have removed the file meanwhile; then others lock another one of that name.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                    opened.pop_all()
                    return stream


def take_place(new: Path, target: Path) -> None:
    """Put a file or directory where another may stand, which is at `new` then for the caller to remove.

    In one step where the file system can do that. Elsewhere there is an instant with nothing at the target if either is
    a directory; killed in it, what stood there is at `new` with `.old` after its name. Errors: `OSError`.
    """
    if not os.path.lexists(target) or _are_files(new, target):
        os.replace(new, target)
    elif not _exchanged(new, target):
        old = new.with_name(f"{new.name}.old")
        os.rename(target, old)
        try:
            os.rename(new, target)
        except BaseException:
            os.rename(old, target)
            raise
        os.rename(old, new)


def _are_files(*paths: Path) -> bool:
    return not any(path.is_dir() and not path.is_symlink() for path in paths)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two paths change places, and say whether the system can do that. Source: renameat2(2)."""
    import ctypes  # noqa: PLC0415 - only where a directory is replaced

    try:
        rename = ctypes.CDLL(None).renameat2
    except AttributeError:  # a C library older than glibc 2.28
        return False
    status: int = rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE)
    return status == 0


def remove_tree(path: Path) -> None:
    """Remove a directory tree, directories that are closed to us included; absent is fine. Errors: `OSError`."""
    if path.is_dir() and not path.is_symlink():
        try:
            shutil.rmtree(path)
        except PermissionError:
            _open_up(path)
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _open_up(path: Path) -> None:
    os.chmod(path, 0o700)
    for directory, names, _files in os.walk(path):  # from the top: what is opened here is listed next
        for inner in (os.path.join(directory, name) for name in names):
            if not os.path.islink(inner):
                os.chmod(inner, 0o700)
