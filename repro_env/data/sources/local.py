"""Data that stands on this machine: a path of the project, or a `file:` address. It is used where it is."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NoReturn

from repro_env.data.sources.base import Context, RemoteFile, Request, Resolved, Source
from repro_env.edges.http import Body
from repro_env.edges.http_files import file_path
from repro_env.errors import VerificationError


class Local:
    """Data in its place."""

    def resolve(self, request: Request) -> Resolved:
        """Return where it is. Errors: `FetchError` for an address of another machine."""
        place = file_path(request.uri).rstrip("/") if request.uri else request.path
        return Resolved(request=request, place=place)

    def files(self, resolved: Resolved) -> Sequence[RemoteFile]:
        """Errors: `VerificationError`, because there is no other place to have it from."""
        _gone(resolved)

    def open(
        self,
        resolved: Resolved,
        file: RemoteFile,  # noqa: ARG002 - the protocol's
        *,
        offset: int = 0,  # noqa: ARG002 - same
    ) -> contextlib.AbstractContextManager[Body]:
        """Errors: as `files`."""
        _gone(resolved)


def make(_context: Context) -> Source:
    """Return the source of a project's own paths, and of `file:` addresses."""
    return Local()


make_file = make


def _gone(resolved: Resolved) -> NoReturn:
    request = resolved.request
    place = request.uri or request.path
    hint = "restore it there; data that has an address (uri) can be pulled"
    raise VerificationError(f"data {request.name} is not at {place} as it was pinned", "", hint)
