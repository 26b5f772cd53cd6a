"""`repro build --load` and `--output`: built images into this machine's engines, and into files."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from repro_env.build.native import Built
from repro_env.edges import files, process
from repro_env.edges.report import Reporter
from repro_env.errors import ToolError, UsageError
from repro_env.frozen import dataclass
from repro_env.image.archives import oci_archive, write_layout
from repro_env.image.docker_archive import docker_archive
from repro_env.image.store import Store
from repro_env.values import Digest

_SIF_SECONDS = 3600.0
_SIF_PROGRAMS = ("apptainer", "singularity")


@dataclass(frozen=True, slots=True)
class Output:
    """One place that images are written to: `kind` is a key of `KINDS`."""

    kind: str
    path: Path

    @classmethod
    def parse(cls, text: str) -> Output:
        """Read `KIND:PATH`. Errors: `UsageError`."""
        kind, _, path = text.partition(":")
        if kind not in KINDS or not path:
            known = ", ".join(f"{known}:PATH" for known in KINDS)
            raise UsageError(f"cannot write to {text}", f"known are {known}")
        return cls(kind, Path(path))


def export(built: Sequence[Built], outputs: Sequence[Output], store: Store) -> list[str]:
    """Write what was built to each output and return what each is called.

    Errors: `UsageError`, `StoreError`, `ToolError`.
    """
    lines = []
    for output in outputs:
        KINDS[output.kind](built, output.path, store)
        lines.append(f"{output.kind}:{output.path}")
    return lines


def load(built: Sequence[Built], engine: str, store: Store, report: Reporter) -> list[str]:
    """Load this machine's images into an engine, as `PROJECT/STEP:latest`; return what each is called.

    Errors: `UsageError`, `RuntimeUnavailableError`, `ToolError`, `StoreError`.
    """
    images = {f"{one.reference}:latest": one.image for one in _of_this_machine(built)}
    ENGINES[engine](images, store, report)
    return [f"{tag} into {engine}" for tag in images]


def _into_docker(images: Mapping[str, Digest], store: Store, report: Reporter) -> None:
    from repro_env.image.docker_engine import (  # noqa: PLC0415 - only what is asked for is imported
        connect,
        engine_errors,
        engine_host,
        load_image,
    )

    what = "the Docker engine could not load an image"
    with engine_errors(what), contextlib.closing(connect(engine_host(os.environ))) as api:
        for tag, digest in images.items():
            identity = load_image(api, store, digest, tag, report)
            name, _, version = tag.rpartition(":")
            api.tag(identity, name, version)


def _into_podman(images: Mapping[str, Digest], store: Store, report: Reporter) -> None:
    from repro_env.image.podman_engine import load_image, name_image  # noqa: PLC0415 - same

    for tag, digest in images.items():
        name_image(load_image(store, digest, tag, report), tag)


def _into_containerd(images: Mapping[str, Digest], store: Store, report: Reporter) -> None:
    from repro_env.image.containerd_engine import load_image  # noqa: PLC0415 - same

    for tag, digest in images.items():
        load_image(store, digest, tag, report)


def _layout(built: Sequence[Built], path: Path, store: Store) -> None:
    write_layout(path, store, _named(built, store))


def _oci_archive(built: Sequence[Built], path: Path, store: Store) -> None:
    _write(path, oci_archive(store, _named(built, store)))


def _docker_archive(built: Sequence[Built], path: Path, store: Store) -> None:
    one = _only(built, "a Docker archive")
    _write(path, docker_archive(store, one.image, tag=f"{one.reference}:latest"))


def _sif(built: Sequence[Built], path: Path, store: Store) -> None:
    one = _only(built, "a SIF file")
    program = next(filter(None, map(shutil.which, _SIF_PROGRAMS)), None)
    if program is None:
        hint = "install apptainer, or write oci-archive:FILE and run `apptainer build` where it is"
        raise ToolError(f"cannot write {path}", "a SIF file is made by apptainer, which is not installed", hint)
    archive = path.with_name(f".{path.name}.oci.tar")
    made = path.with_name(f".{path.name}.sif")
    try:
        _write(archive, oci_archive(store, {one.step: one.image}))
        process.run([program, "build", "--force", made, f"oci-archive:{archive}"], timeout=_SIF_SECONDS)
        with files.os_errors(f"write {path}"):
            os.replace(made, path)
    finally:
        archive.unlink(missing_ok=True)
        made.unlink(missing_ok=True)


Writer = Callable[[Sequence[Built], Path, Store], None]
KINDS: Mapping[str, Writer] = {
    "oci": _layout,
    "oci-archive": _oci_archive,
    "docker-archive": _docker_archive,
    "sif": _sif,
}
"""What images can be written to."""

Loader = Callable[[Mapping[str, Digest], Store, Reporter], None]
ENGINES: Mapping[str, Loader] = {"docker": _into_docker, "podman": _into_podman, "containerd": _into_containerd}
"""What images can be loaded into."""


def _named(built: Sequence[Built], store: Store) -> dict[str, Digest]:
    """Return each step's image by the name it has in the store: of several platforms, their index."""
    known = store.references()
    return {one.reference: known[one.reference] for one in built}


def _of_this_machine(built: Sequence[Built]) -> list[Built]:
    machine = os.uname().machine
    found = [one for one in built if one.platform.machine == machine]
    if not found:
        platforms = ", ".join(sorted({str(one.platform) for one in built}))
        raise UsageError("nothing was built for this machine", f"it is {machine}; the project is for {platforms}")
    return found


def _only(built: Sequence[Built], what: str) -> Built:
    found = _of_this_machine(built)
    if len(found) > 1:
        names = ", ".join(one.step for one in found)
        raise UsageError(f"{what} holds one image", f"these steps were built: {names}", "name one step")
    return found[0]


def _write(path: Path, pieces: Iterator[bytes]) -> None:
    with files.os_errors(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as stream:
            for piece in pieces:
                stream.write(piece)
