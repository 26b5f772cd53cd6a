"""The program that step images begin with: the part of this one that checks a machine, and of NVIDIA's NVML bindings.

Its files are these very modules, at the same names below a directory of their own, so that an image checks what `repro`
checks. They run on Python 3.8 and its standard library.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from repro_env.errors import BuildError
from repro_env.lock.places import VERIFY
from repro_env.verify.bindings import part_of, used_names

MODULES = (
    "config/__init__.py",
    "config/machine.py",
    "config/versions.py",
    "edges/__init__.py",
    "edges/host.py",
    "frozen.py",
    "lock/__init__.py",
    "lock/cuda.py",
    "lock/cuda_drivers.py",
    "sizes.py",
    "verify/__init__.py",
    "verify/collect.py",
    "verify/cuda_check.py",
    "verify/door.py",
    "verify/entry.py",
    "verify/facts.py",
    "verify/findings.py",
    "verify/gpu_checks.py",
    "verify/host.py",
    "verify/host_checks.py",
    "verify/kernels.py",
    "verify/needs.py",
    "verify/nvml.py",
    "verify/report.py",
    "verify/require.py",
    "verify/start.py",
    "verify/visible.py",
)
"""What `enter.py` imports of this program."""

OLDEST = 8
"""The minor version of the oldest Python 3 that runs it."""

_PACKAGE = "repro_env"
_SCRIPT = "enter.py"
_BINDINGS, _USER = "pynvml.py", "verify/nvml.py"

BINDINGS_VERSION = "13.615.71"
BINDINGS_SHA256 = "2828e66b483bec218f461314f6da96c1e56330ed4b297a20b3444b4c43cdd14e"
"""Of the distribution nvidia-ml-py and its one module, of which images carry what is used: none depends on what is
installed where it is built."""


def interpreter_arguments(python: str, program: str = VERIFY) -> tuple[str, ...]:
    """Return what starts the program at a directory with an interpreter; the step's command follows.

    `-I -S`: nothing of the environment, of the working directory or of the step's packages is looked at. `-B`: no byte
    code is written.
    """
    return (python, "-I", "-S", "-B", f"{program}/{_SCRIPT}")


@functools.cache
def program_files() -> Mapping[str, bytes]:
    """Return the program's files by their paths below its directory, sorted. Errors: `BuildError`."""
    package = Path(__file__).parents[1]
    found = {f"{_PACKAGE}/{name}": (package / name).read_bytes() for name in MODULES}
    found[f"{_PACKAGE}/__init__.py"] = b""
    found[_SCRIPT] = (package / "verify" / _SCRIPT).read_bytes()
    found[_BINDINGS] = part_of(_bindings(), used_names((package / _USER).read_text("utf-8"))).encode()
    return dict(sorted(found.items()))


def program_digest() -> str:
    """Return the program's SHA-256, over names and contents. Errors: `BuildError`."""
    digest = hashlib.sha256()
    for name, content in program_files().items():
        digest.update(f"{name}\n{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _bindings() -> str:
    """Return the module `pynvml` of the version that images have a part of. Errors: `BuildError`."""
    hint = f"install the one this program is made for: pip install nvidia-ml-py=={BINDINGS_VERSION}"
    spec = importlib.util.find_spec("pynvml")
    if spec is None or spec.origin is None:
        raise BuildError("the NVML bindings are not installed", "images of steps carry them", hint)
    content = Path(spec.origin).read_bytes()
    if hashlib.sha256(content).hexdigest() != BINDINGS_SHA256:
        why = f"{spec.origin} is not of nvidia-ml-py {BINDINGS_VERSION}, and an image must not depend on this machine"
        raise BuildError("the NVML bindings are not those that images carry", why, hint)
    return content.decode()
