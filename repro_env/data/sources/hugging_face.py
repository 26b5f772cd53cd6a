"""A dataset, model or space of the Hugging Face Hub, at a revision: `hf://datasets/ORG/NAME@REVISION/PATH`.

A branch or tag is resolved to its commit once. Large files have their SHA-256 in the Hub's own listing (they are Git
LFS objects), so they are pinned without being downloaded; small ones are read. `HF_ENDPOINT` names another Hub, and the
token is `HF_TOKEN`'s or the one that `hf auth login` left; it goes to the Hub alone and not where that redirects to.
Source: https://huggingface.co/docs/hub/api
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from repro_env.data import manifest
from repro_env.data.sources.base import Context, RemoteFile, Request, Resolved, Source
from repro_env.data.sources.words import no_option
from repro_env.edges.http import Body, NotFoundError
from repro_env.edges.http_client import Answer, HttpClient
from repro_env.edges.http_errors import status_failure
from repro_env.errors import ConfigError, FetchError
from repro_env.frozen import dataclass
from repro_env.values import Digest, strip_credentials

_ENDPOINT = "https://huggingface.co"
_ADDRESS = re.compile(r"hf://(?:(datasets|spaces|models)/)?([^/@]+)/([^/@]+)(?:@([^/]+))?(?:/(.*))?\Z")
_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class _Address:
    """A repository of the Hub. `kind` is `datasets`, `models` or `spaces`; `path` is inside it, perhaps empty."""

    kind: str
    name: str
    revision: str
    path: str

    @property
    def api(self) -> str:
        return f"api/{self.kind}/{quote(self.name)}"

    @property
    def page(self) -> str:
        """Where its files are, below the endpoint."""
        return quote(self.name) if self.kind == "models" else f"{self.kind}/{quote(self.name)}"


class HuggingFace:
    """Repositories of one Hub."""

    def __init__(self, client: HttpClient, endpoint: str) -> None:
        self._client, self._endpoint = client, endpoint

    def resolve(self, request: Request) -> Resolved:
        """Return the commit that a revision names, by default that of `main`."""
        no_option("hf", request.options, ())
        address = _address(request)
        revision = request.revision or address.revision or "main"
        found = self._json(f"{address.api}/revision/{quote(revision, safe='')}")
        commit = str(found.get("sha", "")) if isinstance(found, dict) else ""
        if not _COMMIT.match(commit):
            raise _unexpected(self._endpoint, "no commit")
        if not address.path or not self._is_file(address, commit):
            return Resolved(request=request, revision=commit)
        return Resolved(request=request, revision=commit, kind="file", file=address.path.rpartition("/")[2])

    def files(self, resolved: Resolved) -> Sequence[RemoteFile]:
        """List the files at the commit."""
        address = _address(resolved.request)
        if resolved.kind == "file":
            entries = self._info(address, resolved.revision)
            return [_file(entry, address.path) for entry in entries if entry.get("type") == "file"]
        below = f"/{quote(address.path)}" if address.path else ""
        url = f"{address.api}/tree/{resolved.revision}{below}?recursive=true"
        return [_file(entry, address.path) for entry in self._pages(url) if entry.get("type") == "file"]

    @contextlib.contextmanager
    def open(self, resolved: Resolved, file: RemoteFile, *, offset: int = 0) -> Iterator[Body]:
        """Open one file at the commit."""
        address = _address(resolved.request)
        url = f"{self._endpoint}/{address.page}/resolve/{resolved.revision}/{quote(file.locator)}"
        with self._client.open(url, offset=offset) as body:
            yield body

    def _is_file(self, address: _Address, commit: str) -> bool:
        found = self._info(address, commit)
        if not found:
            raise NotFoundError(f"hf://{address.page} has no {address.path}", f"at commit {commit}")
        return found[0].get("type") == "file"

    def _info(self, address: _Address, commit: str) -> list[dict[str, Any]]:
        body = json.dumps({"paths": [address.path]}).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        url = f"{self._endpoint}/{address.api}/paths-info/{commit}"
        return _objects(self._read(self._client.send("POST", url, headers=headers, body=lambda: [body]), url), url)

    def _pages(self, path: str) -> Iterator[dict[str, Any]]:
        url = f"{self._endpoint}/{path}"
        while url:
            answer = self._client.send("GET", url)
            yield from _objects(self._read(answer, url), url)
            following = _NEXT.search(answer.headers.get("link", ""))
            url = urljoin(url, following[1]) if following else ""

    def _json(self, path: str) -> Any:
        url = f"{self._endpoint}/{path}"
        return self._read(self._client.send("GET", url), url)

    def _read(self, answer: Answer, url: str) -> Any:
        if answer.status != _OK:
            hint = "check its name and revision; for a private one, set HF_TOKEN or run `hf auth login`"
            error = status_failure(answer.status, answer.reason, url, None, denied_hint=hint)
            raise type(error)(error.what, error.why, hint)
        try:
            return json.loads(answer.body)
        except ValueError as error:
            raise _unexpected(url, "no JSON") from error


class _Token:
    """The Hub's token, for the Hub alone."""

    def __init__(self, endpoint: str, token: str) -> None:
        self._place, self._token = urlsplit(endpoint)[:2], token

    def header(self, url: str) -> str | None:
        """Return the value of `Authorization`."""
        return f"Bearer {self._token}" if self._token and urlsplit(url)[:2] == self._place else None

    def answer(self, client: HttpClient, url: str, challenges: Sequence[str], sent: str | None) -> bool:  # noqa: ARG002
        """Return that nothing better is known."""
        return False

    def denied_hint(self, url: str) -> str:  # noqa: ARG002 - the protocol's
        """Return where a token can be put."""
        return "accept its terms on its page, or set HF_TOKEN to a token that may read it"


def make(context: Context) -> Source:
    """Return the source of `hf:` addresses."""
    endpoint = (context.environ.get("HF_ENDPOINT") or _ENDPOINT).rstrip("/")
    token = _Token(endpoint, _token(context.environ))
    return HuggingFace(HttpClient(environ=context.environ, limits=context.limits, authority=token), endpoint)


def _token(environ: Mapping[str, str]) -> str:
    """Return the user's token. Source: huggingface_hub's documentation of its environment variables."""
    if environ.get("HF_TOKEN"):
        return environ["HF_TOKEN"].strip()
    cache = environ.get("XDG_CACHE_HOME") or f"{environ.get('HOME', '')}/.cache"
    home = environ.get("HF_HOME") or f"{cache}/huggingface"
    try:
        return Path(environ.get("HF_TOKEN_PATH") or f"{home}/token").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _address(request: Request) -> _Address:
    match = _ADDRESS.match(request.uri)
    if not match:
        hint = "write hf://datasets/ORG/NAME@REVISION, and hf://ORG/NAME@REVISION for a model"
        raise ConfigError(f"data {request.name} names no repository of the Hub", request.uri, hint)
    kind, organisation, name, revision, path = match.groups()
    return _Address(
        kind=kind or "models",
        name=f"{organisation}/{name}",
        revision=unquote(revision or ""),
        path=unquote(path or "").strip("/"),
    )


def _file(entry: Mapping[str, Any], root: str) -> RemoteFile:
    """Return one file of a listing. Errors: `FetchError` for what is none."""
    try:
        path, large = str(entry["path"]), entry.get("lfs") or {}
        digest = Digest(large["oid"]) if large else None
        size = int(large.get("size", entry["size"]))
        oid = str(entry["oid"])
    except (KeyError, TypeError, ValueError) as error:
        raise _unexpected("the Hub", "a listing that is none") from error
    inside = path.removeprefix(root).lstrip("/") if path != root else ""
    name = manifest.escape(inside.encode()).decode()
    return RemoteFile(path=name, size=size, digest=digest, pin=f"gitblob:{oid}", locator=path)


def _objects(found: Any, url: str) -> list[dict[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise _unexpected(url, "a listing that is none")
    return found


def _unexpected(url: str, what: str) -> FetchError:
    hint = "look at HF_ENDPOINT, if that is set"
    return FetchError(f"{strip_credentials(url)} is not the Hub's interface", f"it answered with {what}", hint)
