"""Digests of what a lock is made from: equal where the request means the same, so comments and key order are nothing.

The lock keeps them as `[inputs]`; comparing them with the project's is all that `repro lock --check` needs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from repro_env.config.model import Base, ImageBase, Project, Step
from repro_env.lock.data import asked
from repro_env.lock.requirements import requirement_lines
from repro_env.lock.sources import PythonInputs, all_python_inputs, python_inputs, request_files
from repro_env.values import Digest

__all__ = ["STANDARD_SET", "PythonInputs", "python_inputs", "request_digests", "request_files"]

STANDARD_SET = 1
"""Of the packages that every base holds unasked. Raised only when a base locked before would no longer do, because it
makes every lock stale."""


def request_digests(project: Project, sources: Mapping[str, str]) -> dict[str, Digest]:
    """Return the digest of each request, by its key in the lock's `[inputs]`.

    `base.NAME` and `data.NAME` are of those tables; `step.NAME.python` is of what decides the step's packages, and
    `step.NAME` of all of the step. `sources` is what `request_files` returned. Errors: `ConfigError`.
    """
    digests = {f"base.{name}": _base(base, project) for name, base in project.bases.items()}
    digests |= {f"data.{name}": _digest(asked(data)) for name, data in project.data.items()}
    for name, inputs in all_python_inputs(project, sources).items():
        step = project.steps[name]
        python = _python(step, inputs, project)
        digests[f"step.{name}.python"] = python
        digests[f"step.{name}"] = _step(step, python)
    return digests


def _base(base: Base, project: Project) -> Digest:
    if isinstance(base, ImageBase):
        return _digest({**_image(base), "platforms": _platforms(project)})
    interpreters = {str(step.python.version) for step in project.steps.values() if step.base == base.name}
    return _digest(
        {
            "debian": base.debian,
            "packages": sorted(base.packages),
            "mirror": base.mirror,
            "standard": STANDARD_SET,
            "interpreters": sorted(interpreters),  # the suite's own one may be among them
            "platforms": _platforms(project),
        }
    )


def _image(base: ImageBase) -> Mapping[str, str]:
    return {"image": base.image, "glibc": base.glibc, "python": base.python}


def _python(step: Step, inputs: PythonInputs, project: Project) -> Digest:
    base = project.bases[step.base]
    return _digest(
        {
            "version": str(step.python.version),
            "suite": _image(base)
            if isinstance(base, ImageBase)
            else base.debian,  # its glibc decides the manylinux tag
            "platforms": _platforms(project),
            "dependencies": inputs.dependencies,
            "group": inputs.group,
            "script": inputs.script,
            "requires-python": inputs.requires_python,
            "roots": inputs.roots,
            "files": {name: requirement_lines(text) for name, text in inputs.files.items()},
            "uv": inputs.uv,
            **({"build": step.python.build} if step.python.build else {}),
            **({"torch-backend": step.python.torch_backend} if step.python.torch_backend else {}),
        }
    )


def _step(step: Step, python: Digest) -> Digest:
    return _digest(
        {
            "base": step.base,
            "python": str(python),
            "command": step.command,
            "inputs": step.inputs,
            "outputs": dict(step.outputs),
            "code": step.code,
            "env": dict(step.env),
            "network": step.network,
            # A key of a later version is here only where it is used, so that it makes no lock stale.
            **({"bytecode": True} if step.bytecode else {}),
            **({"deterministic": True} if step.deterministic else {}),
            **({"secrets": step.secrets} if step.secrets else {}),
            **({"compare": dict(step.compare)} if step.compare else {}),
            **({"gpu": step.gpu.to_dict()} if step.gpu else {}),
            **({"host": step.host.to_dict()} if step.host else {}),
        }
    )


def _platforms(project: Project) -> list[str]:
    return sorted(map(str, project.platforms))


def _digest(content: Mapping[str, Any]) -> Digest:
    # default=str: a uv configuration may hold dates
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return Digest(hashlib.sha256(text.encode()).hexdigest())
