"""Small values, parsed once and trusted after: digests, platforms, names, references, URLs without credentials.

Every class here has one checked door, `parse` (or its constructor), which raises `ValueError` with a message that
says what was expected. Callers that know the place of the text turn that into a `Problem` or a `ReproError`.
"""

from __future__ import annotations

import hashlib
import re
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from repro_env.frozen import dataclass
from repro_env.sizes import format_size as format_size  # noqa: PLC0414 - values, too, which others take from here
from repro_env.sizes import parse_size as parse_size  # noqa: PLC0414 - same

_HEX64 = re.compile(r"[0-9a-f]{64}\Z")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
_IDENTIFIER = re.compile(r"[a-z0-9]+(?:(?:__?|-+)[a-z0-9]+)*\Z")
_PYTHON = re.compile(r"3\.(\d{1,2})\Z")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A SHA-256, written `sha256:` and 64 lower-case hexadecimal digits (OCI image specification, descriptor)."""

    hex: str

    def __post_init__(self) -> None:
        if not _HEX64.match(self.hex):
            raise ValueError(f"not a SHA-256 digest: {self.hex!r}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `sha256:HEX`; other algorithms are refused."""
        algorithm, _, value = text.partition(":")
        if algorithm != "sha256":
            raise ValueError(f"expected sha256:HEX, found {text!r}")
        return cls(value)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the digest of these bytes."""
        return cls(hashlib.sha256(data).hexdigest())

    @property
    def short(self) -> str:
        """The first 12 digits, for people."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"sha256:{self.hex}"


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """An operating system and architecture in OCI's words, `linux/amd64` or `linux/arm64`."""

    architecture: str

    def __post_init__(self) -> None:
        if self.architecture not in _MACHINES:
            known = ", ".join(f"linux/{name}" for name in _MACHINES)
            raise ValueError(f"unknown platform linux/{self.architecture}; known are {known}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `linux/ARCHITECTURE`."""
        system, _, architecture = text.partition("/")
        if system != "linux":
            raise ValueError(f"expected linux/amd64 or linux/arm64, found {text!r}")
        return cls(architecture)

    @property
    def machine(self) -> str:
        """The kernel's and the wheel tags' name: `x86_64`, `aarch64`."""
        return _MACHINES[self.architecture]

    @property
    def debian(self) -> str:
        """Debian's architecture name, the same as OCI's for these two."""
        return self.architecture

    @property
    def multiarch(self) -> str:
        """Debian's library directory name, `x86_64-linux-gnu`."""
        return f"{self.machine}-linux-gnu"

    def __str__(self) -> str:
        return f"linux/{self.architecture}"


_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def normalise_name(name: str) -> str:
    """Return a distribution's name as PEP 503 compares it: lower case, runs of `-_.` as one `-`."""
    if not _NAME.match(name):
        raise ValueError(f"not a distribution name: {name!r}")
    return re.sub(r"[-_.]+", "-", name).lower()


def check_identifier(text: str) -> str:
    """Return a project, step, base, data or output name, which must fit an image reference.

    Source: https://pkg.go.dev/github.com/distribution/reference, `path-component`.
    """
    if not _IDENTIFIER.match(text):
        raise ValueError(f"{text!r} is not a name: use lower-case letters and digits, with -, _ or __ between them")
    return text


@dataclass(frozen=True, slots=True, order=True)
class PythonVersion:
    """An interpreter's minor version, `3.11`."""

    minor: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `3.N`; a patch version is refused, because the base or the build decides it and the lock pins it."""
        match = _PYTHON.match(text)
        if not match:
            raise ValueError(f'expected a minor version such as "3.11", found {text!r}')
        return cls(int(match[1]))

    @property
    def tag(self) -> str:
        """The interpreter tag of PEP 425, `cp311`."""
        return f"cp3{self.minor}"

    def __str__(self) -> str:
        return f"3.{self.minor}"


_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9a-fA-F:]+\])"
_REGISTRY = rf"{_HOST}(?::[0-9]{{1,5}})?\Z"
_REPOSITORY = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*\Z"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z"
_REPOSITORY_SIZE = 255
DOCKER_HUB = "docker.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReference:
    """Where an image is: `registry/repository:tag@digest`, with what people leave out for Docker Hub filled in.

    `registry` is a host with its port if that is not the scheme's own. `tag` is empty where none was given.
    Source: https://pkg.go.dev/github.com/distribution/reference
    """

    registry: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference as people write it: `python:3.12`, `ghcr.io/a/b@sha256:...`, `localhost:5000/x`."""
        rest, at, digest = text.partition("@")
        head, slash, tail = rest.partition("/")
        if not slash or not ("." in head or ":" in head or head == "localhost" or head != head.lower()):
            head, tail = DOCKER_HUB, rest
        repository, _, tag = tail.partition(":")
        if head == "index.docker.io":
            head = DOCKER_HUB
        if head == DOCKER_HUB and "/" not in repository:
            repository = f"library/{repository}"
        named = f"{text!r} is not an image reference such as docker.io/library/python:3.12"
        if not re.match(_REGISTRY, head):
            raise ValueError(f"{named}: {head!r} is not a host")
        if not re.match(_REPOSITORY, repository) or len(repository) > _REPOSITORY_SIZE:
            raise ValueError(f"{named}: a repository is lower-case words with /, ., _ or - between them")
        if (tag or tail.endswith(":")) and not re.match(_TAG, tag):
            raise ValueError(f"{named}: {tag!r} is not a tag")
        return cls(registry=head, repository=repository, tag=tag, digest=Digest.parse(digest) if at else None)

    @property
    def name(self) -> str:
        """The repository with its registry, `docker.io/library/python`."""
        return f"{self.registry}/{self.repository}"

    @property
    def target(self) -> str:
        """What to ask the registry for: the digest where there is one, else the tag, else `latest`."""
        return str(self.digest) if self.digest else self.tag or "latest"

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def strip_credentials(url: str) -> str:
    """Return the URL without user name and password, query secrets left out with the whole query and fragment.

    What is written to a lock, an image, a record, a log or an error goes through here.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
