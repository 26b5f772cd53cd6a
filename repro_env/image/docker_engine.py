"""The Docker engine that the caller's own `docker` command would talk to, and what it takes to bring it an image."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repro_env.edges.report import Reporter, Task
from repro_env.errors import RuntimeUnavailableError
from repro_env.image.docker_archive import config_digest, docker_archive, shared_layers
from repro_env.image.oci import read_image
from repro_env.image.store import Store
from repro_env.values import Digest


def engine_host(environ: Mapping[str, str]) -> str:
    """Return the engine's address as `docker` finds it: `DOCKER_HOST`, else the current context's."""
    host = environ.get("DOCKER_HOST", "")
    if host:
        return host
    if (Path(environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json").exists():
        from docker.context import ContextAPI  # noqa: PLC0415 - takes longer to import than bwrap takes to run

        context = ContextAPI.get_current_context()
        if context is not None and context.Host:
            return str(context.Host).replace("http+unix://", "unix://")
    return "unix:///var/run/docker.sock"


def connect(host: str) -> Any:
    """Return the API of the engine at an address. Errors: those of the `docker` package; see `engine_errors`."""
    from docker import APIClient  # noqa: PLC0415 - see `engine_host`

    return APIClient(base_url=host, version="auto", timeout=None)


@contextlib.contextmanager
def engine_errors(what: str) -> Iterator[None]:
    """Turn the engine's refusals into a `RuntimeUnavailableError` with this `what`, and its silence into another."""
    from docker.errors import APIError, DockerException  # noqa: PLC0415 - see `engine_host`
    from requests.exceptions import RequestException  # noqa: PLC0415 - same

    try:
        yield
    except APIError as error:
        raise RuntimeUnavailableError(what, str(error.explanation or error)) from error
    except (DockerException, RequestException) as error:
        raise RuntimeUnavailableError("the Docker engine does not answer", str(error)) from error


def load_image(api: Any, store: Store, digest: Digest, tag: str, reporter: Reporter) -> str:
    """Have an image in the engine, sending only the layers that it lacks, and return the engine's ID of it.

    Errors: `RuntimeUnavailableError`, `StoreError`, and those of the `docker` package.
    """
    names = (config_digest(store, digest), digest)  # the second is the ID on containerd
    found = _image_id(api, names)
    if found is not None:
        return found
    known = list(_known_layers(api))
    said: list[str] = []
    layers = read_image(store, digest).layers
    for skip in dict.fromkeys((shared_layers(layers, known), 0)):
        with reporter.task("loading the image into docker", sum(layer.size for layer in layers[skip:])) as task:
            answer = api.load_image(_counted(docker_archive(store, digest, tag=tag, skip=skip), task))
            said = [str(line["error"]) for line in answer if "error" in line]
        found = _image_id(api, names)
        if found is not None:
            return found
    raise RuntimeUnavailableError(f"the Docker engine did not load {tag}", "\n".join(said))


def _known_layers(api: Any) -> Iterator[Sequence[str]]:
    """Yield the diff_ids of each image that the engine has; one that is removed meanwhile does not count."""
    from docker.errors import ImageNotFound  # noqa: PLC0415 - see `engine_host`

    for entry in api.images():
        with contextlib.suppress(ImageNotFound):
            yield api.inspect_image(entry["Id"])["RootFS"].get("Layers") or ()


def _counted(pieces: Iterable[bytes], task: Task) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        task.advance(len(piece))


def _image_id(api: Any, digests: Sequence[Digest]) -> str | None:
    """Return the ID under which an engine has an image, or None if it lacks it."""
    from docker.errors import ImageNotFound  # noqa: PLC0415 - see `engine_host`

    for digest in digests:
        with contextlib.suppress(ImageNotFound):
            return str(api.inspect_image(str(digest))["Id"])
    return None
