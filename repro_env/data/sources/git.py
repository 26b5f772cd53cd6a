"""Files of a git repository at a commit: `git+https://HOST/REPOSITORY.git@REVISION#DIRECTORY`.

A branch or tag is resolved to its commit once, which then names the tree and every byte below it; each file is hashed
with SHA-256 all the same. git itself connects, so its own credential helpers and `~/.ssh` are in force. Files that are
Git LFS pointers are had from the LFS server by `git lfs`, and pinned by the SHA-256 in the pointer.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from repro_env.data import lfs, manifest
from repro_env.data.sources.base import Context, RemoteFile, Request, Resolved, Source
from repro_env.data.sources.words import no_option, scrubbed
from repro_env.edges import files, process
from repro_env.edges.git import git_environment
from repro_env.edges.http import Body, NotFoundError
from repro_env.edges.report import Reporter
from repro_env.errors import ConfigError, FetchError, ToolError
from repro_env.frozen import dataclass

_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_FETCHING = 3600.0
_ASKING = 120.0
_PIECE = 1 << 20
_SMALL = 1 << 20
"""Bytes below which an object is read whole: a process for each of many small files would take most of the time."""
_HEAD = 3
"""Words before an object: its name, kind and size (git-cat-file(1), batch output)."""
_LINK, _SUBMODULE, _EXECUTABLE = "120000", "160000", "100755"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Address:
    """A repository, as git is told of it; `path` is a directory or file in it, empty for all of it."""

    url: str
    revision: str
    path: str


class Git:
    """Repositories, of which bare copies are kept in the store."""

    def __init__(self, cache: Path, environ: Mapping[str, str], report: Reporter) -> None:
        self._cache, self._report = cache, report
        self._had: set[tuple[Path, str]] = set()
        self._asking = threading.Lock()
        self._asked: dict[Path, process.Asked] = {}
        self._environ = {**git_environment(environ), "GIT_NO_LAZY_FETCH": "1"}

    def resolve(self, request: Request) -> Resolved:
        """Return the commit that a revision names, by default that of the repository's own branch."""
        no_option("git", request.options, ())
        address = _address(request)
        revision = request.revision or address.revision
        commit = revision if _COMMIT.match(revision) else self._ask(address, revision or "HEAD")
        repository = self._have(address, commit)
        kind = self._kind(repository, commit, address)
        file = address.path.rpartition("/")[2] if kind == "file" else ""
        return Resolved(request=request, revision=commit, kind=kind, file=file)

    def files(self, resolved: Resolved) -> Sequence[RemoteFile]:
        """List the files of the commit."""
        address = _address(resolved.request)
        repository = self._have(address, resolved.revision)
        below = ["--", address.path] if address.path else []
        words = ["ls-tree", "-r", "-z", "-l", "--full-tree", resolved.revision, *below]
        with self._reading(repository, words, address) as stream:
            lines = stream.read().split(b"\0")[:-1]
        found = [one for one in map(_listed, lines) if one.mode != _SUBMODULE]
        if len(found) < len(lines):
            self._report.warn(f"data {resolved.request.name}: submodules of {address.url} are left out")
        pointers = self._pointers(repository, found, address)
        return [self._file(one, resolved, address, repository, pointers) for one in found]

    @contextlib.contextmanager
    def open(self, resolved: Resolved, file: RemoteFile, *, offset: int = 0) -> Iterator[Body]:  # noqa: ARG002 - begins anew
        """Open one file of the commit."""
        address = _address(resolved.request)
        repository = self._have(address, resolved.revision)
        kind, _, oid = file.locator.partition(":")
        if kind == "lfs":
            pointer = self._content(repository, oid, address)
            words = ["-c", f"remote.origin.url={address.url}", "lfs", "smudge"]
            with self._reading(repository, words, address, stdin=pointer) as stream:
                yield _Stream(stream)
        elif file.size is not None and file.size < _SMALL:
            yield _Stream(io.BytesIO(self._small(repository, oid, address)))
        else:
            with self._reading(repository, ["cat-file", "blob", oid], address) as stream:
                yield _Stream(stream)

    def _small(self, repository: Path, oid: str, address: _Address) -> bytes:
        """Return a small object, asked of the one program that answers for all of them."""
        try:
            with self._asking:
                if repository not in self._asked:
                    words = ["git", "-C", str(repository), "cat-file", "--batch"]
                    self._asked[repository] = process.Asked(words, env=self._environ)
                answer = self._asked[repository].ask(f"{oid}\n".encode())
                head = answer.readline().split()
                if len(head) == _HEAD:
                    return answer.read(int(head[2]) + 1)[:-1]
        except ToolError as error:
            raise _refused(address, error.why) from error
        raise _refused(address, b" ".join(head).decode(errors="replace") or "git ended")

    def _ask(self, address: _Address, revision: str) -> str:
        """Return the commit of a branch, a tag or HEAD. Tags go first, as git itself has it (gitrevisions(7))."""
        said = self._run(["ls-remote", "--", address.url], address, _ASKING)
        refs = {name: commit for commit, _, name in (line.partition("\t") for line in said.splitlines())}
        names = [f"refs/tags/{revision}^{{}}", f"refs/tags/{revision}", f"refs/heads/{revision}", revision]
        commit = next((refs[name] for name in names if name in refs), "")
        if not commit:
            hint = "name a branch, a tag, or a commit by all of its 40 digits"
            raise NotFoundError(f"{address.url} has no revision {revision}", "", hint)
        return str(commit)

    def _have(self, address: _Address, commit: str) -> Path:
        """Return a repository that has the commit."""
        repository = self._cache / hashlib.sha256(address.url.encode()).hexdigest()[:32]
        if (repository, commit) in self._had:
            return repository
        with files.locked(repository.with_suffix(".lock")):
            if not self._has(repository, commit):
                # Of one that is there this changes nothing, and one that a kill left half made it completes.
                self._run(["init", "--quiet", "--bare", str(repository)], address, _ASKING)
                self._fetch(repository, address, commit)
        self._had.add((repository, commit))
        return repository

    def _has(self, repository: Path, commit: str) -> bool:
        words = ["git", "-C", str(repository), "cat-file", "-e", f"{commit}^{{tree}}"]
        return process.run(words, timeout=_ASKING, env=self._environ, check=False).status == 0

    def _fetch(self, repository: Path, address: _Address, commit: str) -> None:
        """Fetch the one commit; from a server that gives no commit by its name, all there is."""
        fetch = ["-C", str(repository), "fetch", "--quiet", "--no-tags", "--no-auto-gc"]
        with self._report.task(f"fetching {address.url}", None):
            try:
                self._run([*fetch, "--depth=1", "--", address.url, commit], address, _FETCHING)
            except FetchError:
                self._run([*fetch, "--", address.url, "+refs/*:refs/all/*"], address, _FETCHING)
        if not self._has(repository, commit):
            hint = "it may have been removed by a forced push"
            raise NotFoundError(f"{address.url} has no commit {commit}", "", hint)

    def _kind(self, repository: Path, commit: str, address: _Address) -> str:
        if not address.path:
            return "directory"
        words = ["git", "-C", str(repository), "cat-file", "-t", f"{commit}:{address.path}"]
        found = process.run(words, timeout=_ASKING, env=self._environ, check=False)
        if found.status:
            raise NotFoundError(f"{address.url} has no {address.path}", f"at commit {commit}")
        return "file" if found.stdout.strip() == "blob" else "directory"

    def _pointers(self, repository: Path, found: Sequence[_Listed], address: _Address) -> dict[str, lfs.Pointer]:
        """Return the Git LFS pointers among the files, by their object's name."""
        if not any(one.path.rpartition(b"/")[2] == b".gitattributes" for one in found) and not address.path:
            return {}
        small = [one.oid for one in found if one.mode != _LINK and lfs.may_be_pointer(one.size)]
        if not small:
            return {}
        asked = "".join(f"{oid}\n" for oid in small).encode()
        pointers = {}
        with self._reading(repository, ["cat-file", "--batch"], address, stdin=asked) as stream:
            for oid in small:
                size = int(stream.readline().split()[2])
                pointer = lfs.parse_pointer(stream.read(size + 1)[:-1])
                if pointer is not None:
                    pointers[oid] = pointer
        return pointers

    def _file(
        self, one: _Listed, resolved: Resolved, address: _Address, repository: Path, pointers: Mapping[str, lfs.Pointer]
    ) -> RemoteFile:
        inside = one.path.removeprefix(os.fsencode(address.path)).lstrip(b"/") if address.path else one.path
        name = manifest.escape(inside).decode() if resolved.kind == "directory" else ""
        pin = f"gitblob:{one.oid}"
        if one.mode == _LINK:
            target = manifest.escape(self._small(repository, one.oid, address)).decode()
            return RemoteFile(path=name, size=0, kind="link", target=target, locator=f"git:{one.oid}")
        kind = "executable" if one.mode == _EXECUTABLE else "file"
        if pointer := pointers.get(one.oid):
            locator = f"lfs:{one.oid}"
            return RemoteFile(path=name, size=pointer.size, kind=kind, digest=pointer.digest, pin=pin, locator=locator)
        return RemoteFile(path=name, size=one.size, kind=kind, pin=pin, locator=f"git:{one.oid}")

    def _content(self, repository: Path, oid: str, address: _Address) -> bytes:
        with self._reading(repository, ["cat-file", "blob", oid], address) as stream:
            return stream.read()

    def _run(self, words: Sequence[str], address: _Address, timeout: float) -> str:
        completed = process.run(["git", *words], timeout=timeout, env=self._environ, check=False)
        if completed.status:
            raise _refused(address, completed.stderr)
        return completed.stdout

    @contextlib.contextmanager
    def _reading(
        self, repository: Path, words: Sequence[str], address: _Address, *, stdin: bytes = b""
    ) -> Iterator[IO[bytes]]:
        try:
            with process.reading(["git", "-C", repository, *words], stdin=stdin, env=self._environ) as stream:
                yield stream
        except ToolError as error:
            raise _refused(address, error.why) from error


@dataclass(frozen=True, slots=True)
class _Listed:
    """One line of `git ls-tree`."""

    mode: str
    oid: str
    size: int
    path: bytes


class _Stream:
    """A program's output as the body of a file, from its beginning."""

    offset = 0

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes."""
        while piece := self._stream.read(_PIECE):
            yield piece


def make(context: Context) -> Source:
    """Return the source of `git+...:` addresses."""
    return Git(context.cache, context.environ, context.report)


def _address(request: Request) -> _Address:
    text, _, fragment = request.uri.partition("#")
    url = text.removeprefix("git+")
    parts = urlsplit(url)
    path, at, revision = parts.path.rpartition("@")
    if at:
        url = parts._replace(path=path).geturl()
    if parts.scheme not in ("https", "http", "ssh", "file", "git"):
        hint = "write git+https://HOST/REPOSITORY.git@REVISION#DIRECTORY, or git+ssh://"
        raise ConfigError(f"data {request.name} names no git repository", request.uri, hint)
    inside = unquote(fragment.removeprefix("subdirectory=")).strip("/")
    if inside.startswith("-") or any(part in ("..", ".") for part in inside.split("/")):
        raise ConfigError(f"data {request.name} names no directory of its repository", fragment)
    return _Address(url=url, revision=unquote(revision) if at else "", path=inside)


def _listed(line: bytes) -> _Listed:
    """Read `MODE SP TYPE SP OBJECT SP SIZE TAB PATH` (git-ls-tree(1), with `-l`)."""
    head, _, path = line.partition(b"\t")
    mode, _kind, oid, size = head.decode().split()
    return _Listed(mode, oid, int(size) if size.isdecimal() else 0, path)


def _refused(address: _Address, said: str) -> FetchError:
    lines = [line.removeprefix("fatal: ").removeprefix("remote: ") for line in scrubbed(said).splitlines()]
    hint = "check the address, the network, and that `git ls-remote` may read it without asking"
    if any("'lfs' is not a git command" in line for line in lines):
        hint = "install git-lfs: files of this repository are kept by Git LFS"
    return FetchError(f"git cannot read {address.url}", "\n".join(line for line in lines[-6:] if line), hint)
