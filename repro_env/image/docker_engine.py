"""The Docker engine that the caller's own `docker` command would talk to, and what it takes to bring it an image.

Source: Docker Engine API 1.41, `/images`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repro_env.edges.engine import Engine, EngineRefusedError
from repro_env.edges.report import Reporter, Task
from repro_env.errors import RuntimeUnavailableError
from repro_env.image.docker_archive import config_digest, docker_archive, shared_layers
from repro_env.image.oci import read_image
from repro_env.image.store import Store
from repro_env.values import Digest

_DEFAULT = "unix:///var/run/docker.sock"
_NOT_FOUND = 404


def engine_host(environ: Mapping[str, str]) -> str:
    """Return the engine's address as `docker` finds it: `DOCKER_HOST`, else the context's.

    Source: docker(1), "Environment variables"; the files of its contexts. What cannot be read is no context.
    """
    host = environ.get("DOCKER_HOST", "")
    if host:
        return host
    directory = Path(environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        config = directory / "config.json"
        named = environ.get("DOCKER_CONTEXT") or json.loads(config.read_bytes())["currentContext"]
        known = directory / "contexts" / "meta" / hashlib.sha256(str(named).encode()).hexdigest() / "meta.json"
        return str(json.loads(known.read_bytes())["Endpoints"]["docker"]["Host"]) or _DEFAULT
    return _DEFAULT


@contextlib.contextmanager
def engine_errors(what: str) -> Iterator[None]:
    """Give the engine's refusals this `what`."""
    try:
        yield
    except EngineRefusedError as error:
        raise RuntimeUnavailableError(what, error.why) from error


def load_image(engine: Engine, store: Store, digest: Digest, tag: str, reporter: Reporter) -> str:
    """Have an image in the engine, sending only the layers that it lacks, and return the engine's ID of it.

    Errors: `RuntimeUnavailableError`, `StoreError`.
    """
    names = (config_digest(store, digest), digest)  # the second is the ID on containerd
    found = _image_id(engine, names)
    if found is not None:
        return found
    known = list(_known_layers(engine))
    said: list[str] = []
    layers = read_image(store, digest).layers
    for skip in dict.fromkeys((shared_layers(layers, known), 0)):
        with reporter.task("load the image into docker", sum(layer.size for layer in layers[skip:])) as task:
            answer = engine.send("/images/load", _counted(docker_archive(store, digest, tag=tag, skip=skip), task))
            said = [str(line["error"]) for line in answer if "error" in line]
        found = _image_id(engine, names)
        if found is not None:
            return found
    raise RuntimeUnavailableError(f"the Docker engine did not load {tag}", "\n".join(said))


def _known_layers(engine: Engine) -> Iterator[Sequence[str]]:
    """Yield the diff_ids of each image that the engine has; one that is removed meanwhile does not count."""
    for entry in engine.ask("GET", "/images/json"):
        found = _inspected(engine, entry["Id"])
        if found is not None:
            yield found["RootFS"].get("Layers") or ()


def _inspected(engine: Engine, name: str) -> Mapping[str, Any] | None:
    """Return what the engine says of an image, or None if it lacks it."""
    try:
        found: Mapping[str, Any] = engine.ask("GET", f"/images/{name}/json")
    except EngineRefusedError as error:
        if error.status != _NOT_FOUND:
            raise
        return None
    return found


def _counted(pieces: Iterable[bytes], task: Task) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        task.advance(len(piece))


def _image_id(engine: Engine, digests: Sequence[Digest]) -> str | None:
    """Return the ID under which an engine has an image, or None if it lacks it."""
    found = (_inspected(engine, str(digest)) for digest in digests)
    return next((str(image["Id"]) for image in found if image is not None), None)
