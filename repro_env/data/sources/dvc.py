"""Data that DVC tracks: `path = "data/raw.dvc"`, or with `source = "dvc"` the path of a stage's output in `dvc.lock`.

DVC's own pin, an MD5, is taken over as it is. Where the data stands in its place it is held against that and pinned by
SHA-256; where it does not, it is pinned by the MD5, which the lock says. It is pulled from DVC's cache, after `dvc
fetch` where the cache lacks it.

Sources: https://dvc.org/doc/user-guide/project-structure/dvc-files and .../internal-files (the cache's layout).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repro_env.data import manifest
from repro_env.data.sources.base import Context, RemoteFile, Request, Resolved, Source
from repro_env.data.sources.words import needs, no_option, scrubbed
from repro_env.edges import process
from repro_env.edges.files import os_errors
from repro_env.edges.http import Body, NotFoundError
from repro_env.edges.http_files import FileBody
from repro_env.errors import ConfigError, FetchError, IntegrityError, ToolError, VerificationError
from repro_env.frozen import dataclass

_MD5 = re.compile(r"[0-9a-f]{32}(?:\.dir)?\Z")
_FETCHING = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Out:
    """What DVC tracks: at `path` relative to the project, under `md5`, which ends in `.dir` for a directory.

    `target` is what `dvc` is to be told to fetch. `plain` says that the MD5 is of the bytes as they are: DVC before 3.0
    turned the line ends of text into those of Unix first.
    """

    path: str
    md5: str
    target: str
    plain: bool
    size: int
    count: int

    @property
    def kind(self) -> str:
        return "directory" if self.md5.endswith(".dir") else "file"


class Dvc:
    """The data of the DVC repository that the project is in."""

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        self._root, self._environ = root, environ

    def resolve(self, request: Request) -> Resolved:
        """Return DVC's pin. Errors: `VerificationError` where data stands in its place that is not of that pin."""
        no_option("dvc", request.options, ())
        out = self._out(request)
        place = self._root / out.path
        here = place.is_dir() if out.kind == "directory" else place.is_file()
        if here and out.plain:
            self.verify(request.name, place, f"md5:{out.md5}")
        return Resolved(
            request=request,
            revision=f"md5:{out.md5}",
            kind=out.kind,
            file=posixpath.basename(out.path),
            place=out.path if here else "",
            home=out.path,
            whole=True,
            size=out.size,
            count=out.count,
        )

    def files(self, resolved: Resolved) -> Sequence[RemoteFile]:
        """List the files of the pin, fetching DVC's own list of them if need be."""
        md5 = resolved.revision.removeprefix("md5:")
        if resolved.kind == "file":
            return (RemoteFile(path="", size=resolved.size or None, pin=f"md5:{md5}", locator=md5),)
        path = self._cached(md5, resolved.request)
        with os_errors(f"read {path}"):
            content = path.read_bytes()
        listed = _listed(content) if f"{_md5(content)}.dir" == md5 else None
        if listed is None:
            hint = "remove that file, and run `dvc fetch`"
            raise IntegrityError(f"DVC's list of data {resolved.request.name} is damaged", str(path), hint)
        return [
            RemoteFile(path=manifest.escape(os.fsencode(path)).decode(), pin=f"md5:{digest}", locator=digest)
            for path, digest in listed
        ]

    @contextlib.contextmanager
    def open(self, resolved: Resolved, file: RemoteFile, *, offset: int = 0) -> Iterator[Body]:
        """Open one file of DVC's cache."""
        path = self._cached(file.locator, resolved.request)
        with os_errors(f"read {path}"):
            stream = path.open("rb")
        with stream:
            yield FileBody(stream, str(path), offset)

    def verify(self, name: str, place: Path, pin: str) -> None:
        """Hold what stands at a place against DVC's pin. Errors: `VerificationError`."""
        found = md5_of(place)
        if f"md5:{found}" != pin:
            why = f"{place.name}\n  needed {pin}\n  found  md5:{found}"
            hint = "run `dvc checkout` to have it back, or `dvc add` (`dvc commit`) to let DVC track what is there"
            raise VerificationError(f"data {name} is not what DVC tracks", why, hint)

    def _out(self, request: Request) -> _Out:
        if request.path.endswith(".dvc"):
            return self._of_file(request)
        beside = f"{request.path}.dvc"
        if (self._root / beside).is_file():
            return self._of_file(Request(name=request.name, path=beside))
        return self._of_stage(request)

    def _of_file(self, request: Request) -> _Out:
        document = _read(self._root / request.path, request.name)
        outs = _outs(document)
        if len(outs) != 1:
            raise ConfigError(f"data {request.name}: {request.path} does not have one output")
        base = posixpath.join(posixpath.dirname(request.path), str(document.get("wdir", ".")))
        return _out(outs[0], base, request.path, request.name)

    def _of_stage(self, request: Request) -> _Out:
        """Return the output of that path of a stage, from the nearest `dvc.lock` at or above it."""
        for up in (*Path(request.path).parents,):
            lock = self._root / up / "dvc.lock"
            if not lock.is_file():
                continue
            stages = _read(lock, request.name).get("stages")
            for name, stage in stages.items() if isinstance(stages, dict) else ():
                for out in _outs(stage):
                    if _path(out, str(up)) == posixpath.normpath(request.path):
                        return _out(out, str(up), f"{up}/dvc.yaml:{name}", request.name)
        hint = "name a .dvc file, or an output of a stage in dvc.lock"
        raise NotFoundError(f"data {request.name}: DVC does not track {request.path}", "", hint)

    def _cached(self, md5: str, request: Request) -> Path:
        """Return a file of DVC's cache, after `dvc fetch` if it lacks it. Errors: `FetchError`."""
        for path in self._places(md5):
            if path.is_file():
                return path
        self._fetch(request)
        for path in self._places(md5):
            if path.is_file():
                return path
        why = f"neither its cache nor its remote has md5:{md5}"
        raise FetchError(f"DVC does not have data {request.name}", why, "run `dvc push` where it was made")

    def _places(self, md5: str) -> Iterator[Path]:
        """Yield where DVC keeps an object: since 3.0, and before."""
        for directory in (self._root, *self._root.parents):
            if (directory / ".dvc").is_dir():
                cache = self._cache_of(directory / ".dvc")
                yield cache / "files" / "md5" / md5[:2] / md5[2:]
                yield cache / md5[:2] / md5[2:]
                return

    def _cache_of(self, state: Path) -> Path:
        """Return the cache directory that DVC's configuration names, `.dvc/cache` by default."""
        for name in ("config.local", "config"):
            with contextlib.suppress(OSError):
                text = (state / name).read_text()
                found = re.search(r"^\[cache\]\s*\n(?:[ \t]+.*\n)*?[ \t]+dir = (.+)$", text, re.MULTILINE)
                if found:
                    return (state / found[1].strip()).resolve()
        return state / "cache"

    def _fetch(self, request: Request) -> None:
        target = self._out(request).target
        words = ["dvc", "fetch", "--quiet", "--", target]
        try:
            completed = process.run(words, timeout=_FETCHING, env=self._environ, cwd=self._root, check=False)
        except ToolError as error:
            hint = f"install dvc, or run `dvc fetch {target}` where it is"
            raise FetchError(f"data {request.name} is not in DVC's cache", error.what, hint) from error
        if completed.status:
            why = scrubbed("\n".join(completed.stderr.splitlines()[-6:]))
            raise FetchError(f"`dvc fetch` could not get data {request.name}", why, f"try `dvc fetch {target}`")


def make(context: Context) -> Source:
    """Return the source of what DVC tracks."""
    return Dvc(context.root, context.environ)


def md5_of(place: Path) -> str:
    """Return DVC's MD5 of a file, or of a directory: that of the JSON list of its files' MD5s, and `.dir`."""
    if not place.is_dir():
        return _file_md5(place)
    found = []
    with os_errors(f"read {place}"):
        for directory, _names, names in os.walk(place):
            for name in names:
                path = Path(directory, name)
                found.append({"md5": _file_md5(path), "relpath": path.relative_to(place).as_posix()})
    found.sort(key=lambda entry: entry["relpath"])
    return f"{_md5(json.dumps(found, sort_keys=True).encode())}.dir"


def _file_md5(path: Path) -> str:
    with os_errors(f"read {path}"), path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _listed(content: bytes) -> Sequence[tuple[str, str]] | None:
    """Return the path and the MD5 of each file of DVC's list of a directory, or None for what is none."""
    try:
        return [(str(entry["relpath"]), str(entry["md5"])) for entry in json.loads(content)]
    except (ValueError, KeyError, TypeError):
        return None


def _read(path: Path, name: str) -> Any:
    """Read one of DVC's files. Errors: `ConfigError` for what is none."""
    yaml = needs("yaml", "dvc")
    try:
        with os_errors(f"read {path}"):
            found = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise ConfigError(f"data {name}: {path.name} is not YAML", scrubbed(str(error))) from error
    if not isinstance(found, dict):
        raise ConfigError(f"data {name}: {path.name} is not a file of DVC's")
    return found


def _outs(document: Any) -> Sequence[Mapping[str, Any]]:
    """Return what one of DVC's files, or a stage in one, lists as outputs."""
    outs = document.get("outs") if isinstance(document, dict) else None
    return [out for out in outs if isinstance(out, dict)] if isinstance(outs, list) else []


def _path(out: Mapping[str, Any], base: str) -> str:
    return posixpath.normpath(posixpath.join(base, str(out.get("path", ""))))


def _out(out: Mapping[str, Any], base: str, target: str, name: str) -> _Out:
    md5, path = str(out.get("md5", "")), _path(out, base)
    if not _MD5.match(md5) or path.startswith(("../", "/")) or path in (".", ".."):
        raise ConfigError(f"data {name}: {target} has no output with an MD5 inside the project", path)
    size, count = (out.get(key) for key in ("size", "nfiles"))
    return _Out(
        path=path,
        md5=md5,
        target=target,
        plain=out.get("hash") == "md5",
        size=size if isinstance(size, int) else 0,
        count=count if isinstance(count, int) else 1,
    )
