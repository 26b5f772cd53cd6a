"""Which Python a step brings along, where its base has none of that minor version: the build that uv would install.

uv knows the builds of python-build-standalone by heart: address, and SHA-256. So no list is fetched, and what is pinned
does not rest on what a mirror says of itself.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from repro_env.edges import files, process
from repro_env.edges.http import NotFoundError
from repro_env.edges.indexes import configured_text
from repro_env.edges.python_releases import path_in_releases, python_mirror, release_urls
from repro_env.edges.uv import uv_program
from repro_env.errors import FetchError, IntegrityError, ResolutionError, ToolError
from repro_env.frozen import dataclass
from repro_env.image.store import Store
from repro_env.lock.model import Interpreter
from repro_env.resolve.python.complete import SizedHttp, download
from repro_env.resolve.python.resolver import uv_environment
from repro_env.values import Digest, Platform, PythonVersion, strip_credentials

_TIMEOUT = 120.0
_FINAL = re.compile(r"3\.[0-9]+\.([0-9]+)\Z")
_EXPECTED = re.compile(r"Hash mismatch for .*?Expected:\s+([0-9a-f]{64})\b", re.DOTALL)
_SUMS_LIMIT, _LIST_LIMIT = 4 << 20, 64 << 20
_MIRROR_HINT = (
    "check the network, or name a mirror of python-build-standalone's releases in REPRO_PYTHON_MIRROR or "
    "UV_PYTHON_INSTALL_MIRROR"
)


@dataclass(frozen=True, slots=True)
class Build:
    """One build that uv knows: its key in uv's list, its full version, and its address."""

    key: str
    version: str
    url: str

    @property
    def file(self) -> str:
        """The archive's file name."""
        return unquote(self.url.rpartition("/")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreters:
    """What choosing an interpreter needs. `project` is the project's absolute directory."""

    project: Path
    environ: Mapping[str, str]
    store: Store
    http: SizedHttp

    def choose(self, python: PythonVersion, platform: Platform) -> Interpreter:
        """Return the newest build of a minor version that the installed uv knows, pinned.

        Its SHA-256 is the one that uv checks, else the one published beside it. Errors: `ResolutionError` where uv
        knows no such build, `IntegrityError` where no SHA-256 is to be had, `FetchError`, `ToolError`.
        """
        build = newest_build(self._listed(python), python, platform)
        if build is None:
            raise ResolutionError(
                f"there is no Python {python} to bring along for {platform}",
                "uv knows no final release of it by python-build-standalone",
                "upgrade uv if that version is new, or use a base that has it",
            )
        places = release_urls(build.url, python_mirror(self.project, self.environ))
        sha256 = self._known_hash(build) or self._published_hash(build, places)
        return Interpreter(
            version=build.version,
            url=strip_credentials(build.url),
            sha256=sha256,
            size=self._size(build, sha256, places),
        )

    @property
    def _own_list(self) -> str:
        """The URL or path of the list that the user has uv read in place of its own."""
        named = self.environ.get("UV_PYTHON_DOWNLOADS_JSON_URL")
        return named or configured_text("python-downloads-json-url", self.project, self.environ)

    def _listed(self, python: PythonVersion) -> Any:
        words = ["python", "list", "--no-config", "--only-downloads", "--all-versions", "--all-arches"]
        if self._own_list:
            words += ["--python-downloads-json-url", self._own_list]
        arguments = [uv_program(), *words, "--output-format", "json", f"cpython@{python}"]
        done = process.run(arguments, timeout=_TIMEOUT, env=_environment(), check=False, cwd=self.project)
        if done.status:
            why = strip_all(done.stderr.strip())
            raise ToolError(f"uv cannot list the builds of Python {python}", why, "check UV_PYTHON_DOWNLOADS_JSON_URL")
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise ToolError("uv's list of Pythons cannot be understood", str(error)) from error

    def _known_hash(self, build: Build) -> Digest | None:
        return self._listed_hash(build) if self._own_list else built_in_hash(build)

    def _listed_hash(self, build: Build) -> Digest | None:
        """Return the SHA-256 that the user's own list has for a build."""
        place = self._own_list
        url = place if "://" in place else (self.project / place).as_uri()
        try:
            entries = json.loads(self.http.get(url, limit=_LIST_LIMIT)).values()
            return next(Digest(entry["sha256"]) for entry in entries if entry["url"] == build.url and entry["sha256"])
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
            return None

    def _published_hash(self, build: Build, places: Sequence[str]) -> Digest:
        """Return the SHA-256 that stands beside an archive. Errors: `IntegrityError` where there is none."""
        for place in places:
            for url in (f"{place}.sha256", f"{place.rpartition('/')[0]}/SHA256SUMS"):
                try:
                    text = self.http.get(url, limit=_SUMS_LIMIT).decode("utf-8", "replace")
                except NotFoundError:
                    continue
                found = hash_in_sums(text, build.file)
                if found is not None:
                    return found
        why = f"neither uv nor {strip_credentials(places[0])}.sha256 tells it, nor SHA256SUMS in the same place"
        raise IntegrityError(f"no SHA-256 is known of {build.file}", why, "upgrade uv, or use a complete mirror")

    def _size(self, build: Build, sha256: Digest, places: Sequence[str]) -> int:
        if self.store.has(sha256):
            return self.store.blob(sha256).stat().st_size
        failures: list[FetchError] = []
        for place in places:
            try:
                size = self.http.size(place)
                return self._download(build, sha256, place) if size is None else size
            except FetchError as error:
                failures.append(error)
        why = "\n".join(" ".join(f"{error.what}: {error.why}".split()) for error in failures)
        raise FetchError(f"{build.file} cannot be had", why, _MIRROR_HINT)

    def _download(self, build: Build, sha256: Digest, url: str) -> int:
        """Download an archive whose server does not tell its size, and return that."""
        wrong = f"{build.file} is not what uv knows it to be"
        return download(url, self.store, self.http, sha256=sha256, wrong=wrong)[1]


def newest_build(listed: Any, python: PythonVersion, platform: Platform) -> Build | None:
    """Return the newest final release in uv's list for a platform, or None. Errors: `ToolError` for another list.

    Of the builds for one machine, the one for every processor of its kind is taken; neither free-threaded nor debug.
    """
    found: list[tuple[int, Build]] = []
    try:
        for entry in listed:
            final = _FINAL.match(entry["version"])
            kind = (entry["implementation"], entry["os"], entry["arch"], entry["libc"], entry.get("variant", "default"))
            wanted = ("cpython", "linux", platform.machine, "gnu", "default")
            if final and kind == wanted and entry["version"].startswith(f"{python}."):
                found.append((int(final[1]), Build(entry["key"], entry["version"], entry["url"])))
    except (KeyError, TypeError) as error:
        raise ToolError("uv's list of Pythons cannot be understood", str(error)) from error
    return max(found, key=lambda one: one[0])[1] if found else None


def built_in_hash(build: Build) -> Digest | None:
    """Return the SHA-256 that uv itself holds against a build, or None if it does not say.

    uv tells it only when it refuses a download. So it is let download an empty archive under that build's name, from
    a directory that stands for the mirror; nothing is fetched or installed.
    """
    name = unquote(path_in_releases(build.url))
    if not name or ".." in name.split("/"):
        return None
    with files.os_errors("use a temporary directory"), tempfile.TemporaryDirectory(prefix="repro-") as directory:
        decoy = Path(directory, "mirror", name)
        decoy.parent.mkdir(parents=True)
        decoy.write_bytes(_empty_archive())
        environment = _environment(UV_PYTHON_INSTALL_MIRROR=Path(directory, "mirror").as_uri())
        words = ("python", "install", "--no-config", "--install-dir", Path(directory, "none"), build.key)
        done = process.run([uv_program(), *words], timeout=_TIMEOUT, env=environment, check=False)
    match = _EXPECTED.search(done.stderr)
    return Digest(match[1]) if match else None


def hash_in_sums(text: str, file: str) -> Digest | None:
    """Return a file's SHA-256 from the text of `FILE.sha256` or `SHA256SUMS`.

    A line is the hash and a name, as sha256sum(1) writes it, or the hash alone where the text is of one file.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    for words in lines:
        alone = len(words) == 1 and len(lines) == 1
        if alone or (len(words) == 2 and words[1].lstrip("*") == file):  # noqa: PLR2004 - hash and name
            try:
                return Digest(words[0].lower())
            except ValueError:
                return None
    return None


def strip_all(text: str) -> str:
    """Return a text with every address in it without credentials."""
    return re.sub(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s`'\"<>)]+", lambda match: strip_credentials(match[0]), text)


def _environment(**extra: str) -> dict[str, str]:
    """Return uv's environment, without what would change the addresses in its answer or keep it from answering."""
    unwanted = {"UV_PYTHON_DOWNLOADS", "UV_PYTHON_INSTALL_MIRROR", "UV_ASTRAL_MIRROR_URL", "UV_PYTHON_CACHE_DIR"}
    unwanted |= {"UV_PYTHON_DOWNLOADS_JSON_URL", "UV_OFFLINE", "UV_MANAGED_PYTHON", "UV_NO_MANAGED_PYTHON"}
    kept = {name: value for name, value in uv_environment().items() if name not in unwanted}
    return {**kept, "UV_PYTHON_INSTALL_BIN": "0", "UV_PYTHON_INSTALL_REGISTRY": "0", **extra}


def _empty_archive() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz"):
        pass
    return stream.getvalue()
