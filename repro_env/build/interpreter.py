"""The layer between a base's Python and the wheels: `/opt/env` as a virtual environment of that Python."""

from __future__ import annotations

import posixpath

from repro_env.image.files_layer import files_layer
from repro_env.image.layer import Layer
from repro_env.image.store import Store
from repro_env.image.wheel import PREFIX
from repro_env.lock.places import IMAGE_ROOTS
from repro_env.values import PythonVersion


def interpreter_layer(python: PythonVersion, version: str, store: Store, *, program: str) -> Layer:
    """Return the layer that makes `/opt/env` a virtual environment of the interpreter at `program`, an absolute path.

    `version` is the full one. Source: PEP 405, `pyvenv.cfg`. The directories that runs mount on are made here too, so
    that a read-only root filesystem has them.
    """
    name = f"python{python}"
    settings = (
        f"home = {posixpath.dirname(program)}\ninclude-system-site-packages = false\nversion = {version}\n".encode()
    )
    links = {"python": name, "python3": name, name: program}
    mounts = [root.lstrip("/") for root in (IMAGE_ROOTS.code, IMAGE_ROOTS.input, IMAGE_ROOTS.output)]
    return files_layer(
        store,
        {f"{PREFIX}/pyvenv.cfg": settings},
        f"Python {version} at /{PREFIX}",
        links={f"{PREFIX}/bin/{link}": target for link, target in links.items()},
        directories=(f"{PREFIX}/lib/{name}/site-packages", *mounts),
    )
