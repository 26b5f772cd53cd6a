"""Which runtime to use on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from repro_env.edges.report import Reporter
from repro_env.errors import RuntimeUnavailableError
from repro_env.image.store import Store
from repro_env.run.runtimes.base import Runtime


def _bwrap(store: Store, reporter: Reporter) -> Runtime:
    from repro_env.run.runtimes.bwrap import Bwrap  # noqa: PLC0415 - only what is chosen is imported

    return Bwrap(store, reporter)


def _podman(store: Store, reporter: Reporter) -> Runtime:
    from repro_env.run.runtimes.podman import Podman  # noqa: PLC0415 - only what is chosen is imported

    return Podman(store, reporter)


def _docker(store: Store, reporter: Reporter) -> Runtime:
    from repro_env.run.runtimes.docker import Docker  # noqa: PLC0415 - only what is chosen is imported

    return Docker(store, reporter)


def _venv(store: Store, reporter: Reporter) -> Runtime:
    from repro_env.run.runtimes.venv import Venv  # noqa: PLC0415 - only what is chosen is imported

    return Venv(store, reporter)


RUNTIMES: Mapping[str, Callable[[Store, Reporter], Runtime]] = {
    "bwrap": _bwrap,
    "podman": _podman,
    "docker": _docker,
    "venv": _venv,
}
"""Every runtime by name, best first: what isolates before what does not, then what starts soonest."""


GIVE_GPUS = ("venv",)
"""The runtimes in which a step sees this machine's GPUs."""


def choose(runtimes: Sequence[Runtime], *, asked: str = "", gpus: bool = False) -> Runtime:
    """Return the runtime of that name, or without one the first that works here, and gives GPUs if these are needed.

    Errors: `RuntimeUnavailableError`, which says of each one why it cannot be used and what would change that.
    """
    candidates = [runtime for runtime in runtimes if asked in {"", runtime.name}]
    if not candidates:
        names = ", ".join(runtime.name for runtime in runtimes)
        raise RuntimeUnavailableError(f"there is no runtime {asked}", f"known are {names}")
    if gpus:
        candidates = [runtime for runtime in candidates if runtime.name in GIVE_GPUS]
    if not candidates:
        hint = f"use --runtime {' or '.join(GIVE_GPUS)}"
        raise RuntimeUnavailableError(f"runtime {asked} gives a step no GPU", "the step has a table gpu", hint)
    reasons, hints = [], []
    for runtime in candidates:
        absence = runtime.unavailable()
        if absence is None:
            return runtime
        reasons.append(f"{runtime.name}: {absence.reason}")
        hints += [absence.hint] if absence.hint else []
    what = f"runtime {asked} cannot be used here" if asked else "no runtime can be used here"
    raise RuntimeUnavailableError(what, "\n".join(reasons), "; or ".join(hints))


def runtimes_of(store: Store, reporter: Reporter) -> tuple[Runtime, ...]:
    """Return every runtime, best first. `reporter` is told what the first run of a step has to prepare."""
    return tuple(make(store, reporter) for make in RUNTIMES.values())
