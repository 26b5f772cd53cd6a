"""What a source of data is: asked once what is meant, it lists that, and gives the bytes of one file.

A source is made by a function `make(context: Context) -> Source` that the entry-point group `repro_env.data_sources`
has under the source's kind: `s3`, `git`, `delta`. Other packages may add theirs in the same way:

    [project.entry-points."repro_env.data_sources"]
    mystore = "my_package.source:make"

and `uri = "mystore://..."`, or `source = "mystore"`, in `repro.toml` finds it.

`resolve` is called when locking, and only there: what it returns is written to the lock. `files` and `open` get it back
from there, perhaps on another machine and a year later, and load by it alone. So whatever may move meanwhile, such as a
branch, a tag or the newest version, is turned into what does not move (a commit, a version id, a snapshot) by
`resolve`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Protocol

from repro_env.config.model import Data
from repro_env.edges.http import Body
from repro_env.edges.http_client import Limits
from repro_env.edges.report import Reporter
from repro_env.frozen import dataclass
from repro_env.lock.model import LockedData
from repro_env.values import Digest

GROUP = "repro_env.data_sources"
"""The entry-point group that sources are found in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a person asked for in `[data.NAME]`: the keys are those of `config.model.Data`, without the globs."""

    name: str
    path: str = ""
    uri: str = ""
    revision: str = ""
    query: str = ""
    connection: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Data) -> Request:
        """Return the request of one data input."""
        return cls(
            name=data.name,
            path=data.path,
            uri=data.uri,
            revision=data.revision,
            query=data.query,
            connection=data.connection,
            options=data.options,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a request turned out to mean, which does not move any more.

    `revision` is in the source's own words (a commit, a version id, a snapshot, a time); it and the request's own keys
    are all that the lock keeps, so `files` and `open` may use nothing else. `kind` is `file` or `directory`; `file` is
    the base name of a single file, whose suffix programs look at. `place` says that the data stands on this machine
    already, at that path, absolute or relative to the project: it is used there and never copied.
    `home` is where it is to be put, relative to the project, if that is neither the request's path nor this program's
    choice.

    With `whole`, `revision` is a hash of all of it, such as `md5:HEX.dir`, and `size` (bytes) and `count` (files) are
    known, but the files can only be listed once they are had: it is then pinned by that word, until they are.
    """

    request: Request
    revision: str = ""
    kind: str = "directory"
    file: str = ""
    place: str = ""
    home: str = ""
    whole: bool = False
    size: int = 0
    count: int = 1

    @classmethod
    def of(cls, locked: LockedData) -> Resolved:
        """Return what a lock pins, as its source once resolved it."""
        request = Request(
            name=locked.name,
            path=locked.path,
            uri=locked.uri,
            revision=locked.revision,
            query=locked.query,
            connection=locked.connection,
            options=locked.options,
        )
        file = locked.path.rpartition("/")[2] if locked.kind == "file" else ""
        return cls(request=request, revision=locked.revision, kind=locked.kind, file=file)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    r"""One file of what was resolved.

    `path` is relative to the data's root and written as a manifest writes it (`data.manifest.escape`); it is empty for
    a single file. `kind` is `file`, `executable` or `link`, whose `target` is as in a manifest. `size` is in bytes,
    None where only reading tells. `digest` is the SHA-256 of its content where the source knows that; `pin` is what
    else the source knows it by, named: `etag:"9b2cf5"`, `version:3/L4kqt`, `md5:HEX`. `locator` is the source's own, to
    find the file again in `open`.
    """

    path: str
    size: int | None = None
    kind: str = "file"
    target: str = ""
    digest: Digest | None = None
    pin: str = ""
    locator: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a source is given of the world.

    `root` is the project's directory, `cache` a directory that is the source's own in the store and lasts,
    `environ` the user's environment: credentials come from there or from the services' own files, and go nowhere else.
    `limits` is how patient connections are.
    """

    root: Path
    cache: Path
    environ: Mapping[str, str]
    report: Reporter
    limits: Limits | None = None


class Source(Protocol):
    """One kind of source. Its methods are called from several threads, `resolve` from one.

    Errors of each: `FetchError` (with `NotFoundError` among them) where the service cannot be reached, refuses, or has
    no such thing; `VerificationError` where it has something else by now than what was resolved; `ConfigError` for
    a request that makes no sense to it. None of them, and nothing that is returned, holds a credential.
    """

    def resolve(self, request: Request) -> Resolved:
        """Ask what a request means at this moment."""

    def files(self, resolved: Resolved) -> Sequence[RemoteFile]:
        """List what was resolved, in any order. Of a single file that is one, whose `path` is empty."""

    def open(self, resolved: Resolved, file: RemoteFile, *, offset: int = 0) -> contextlib.AbstractContextManager[Body]:
        """Open one file for reading from `offset`, or from 0 where the source cannot do that: the body says which."""
