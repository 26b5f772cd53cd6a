"""How a step image begins: with the program that checks the machine, where the step asks anything of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from repro_env.frozen import dataclass
from repro_env.image.files_layer import files_layer
from repro_env.image.layer import Layer
from repro_env.image.store import Store, canonical_json
from repro_env.lock.model import Lock, LockedStep
from repro_env.lock.places import ENVIRONMENT, VERIFY
from repro_env.values import Platform

LABEL = "org.repro.verify"
"""The image's label with the digest of the program that it begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a step image has for the check of its machine. `needs` is the document that the program reads."""

    layers: tuple[Layer, ...] = ()
    needs: bytes | None = None
    entrypoint: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def make_entry(lock: Lock, step: LockedStep, platform: Platform, base: Mapping[str, str], store: Store) -> Entry:
    """Return how the image of a step begins; `base` are the variables of what it stands on. Errors: `BuildError`.

    The lock says what the environment's packages carry for GPUs.

    One that asks nothing of its machine starts at once; one of a Python that the program does not run on cannot check.
    """
    if step.gpu is None and step.host is None and not any(name.startswith("NVIDIA_") for name in base):
        return Entry()
    # Most steps ask for nothing, and start sooner without these.
    from repro_env.build.nvidia import nvidia_variables  # noqa: PLC0415 - see above
    from repro_env.verify.program import OLDEST, interpreter_arguments, program_digest  # noqa: PLC0415 - same
    from repro_env.verify.slice import needs_of  # noqa: PLC0415 - same

    needs = needs_of(lock, step, platform, built=True)
    variables = nvidia_variables(needs, base)
    if not needs.asks or step.python.minor < OLDEST:
        return Entry(variables=variables)
    return Entry(
        layers=(program_layer(store),),
        needs=canonical_json(needs.to_dict()),
        entrypoint=interpreter_arguments(f"{ENVIRONMENT}/bin/python"),
        variables=variables,
        labels={LABEL: f"sha256:{program_digest()}"},
    )


def program_layer(store: Store) -> Layer:
    """Return the layer that holds the program: the same for every step. Errors: `BuildError`."""
    from repro_env.verify.program import program_files  # noqa: PLC0415 - see `make_entry`

    files = {f"{VERIFY}/{name}".lstrip("/"): content for name, content in program_files().items()}
    return files_layer(store, files, "what checks the machine")
