"""Which runtime to use on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from repro_env.edges.report import Reporter
from repro_env.errors import RuntimeUnavailableError
from repro_env.image.store import Store
from repro_env.run.gpus import NOTHING, GpuGrant, Passing
from repro_env.run.runtimes.base import Runtime, Unavailable


def _bwrap(store: Store, reporter: Reporter) -> Runtime:
    from repro_env.run.runtimes.bwrap import Bwrap  # noqa: PLC0415 - only what is chosen is imported

    return Bwrap(store, reporter)


def _podman(store: Store, reporter: Reporter) -> Runtime:
    from repro_env.run.runtimes.podman import Podman  # noqa: PLC0415 - only what is chosen is imported

    return Podman(store, reporter)


def _docker(store: Store, reporter: Reporter) -> Runtime:
    from repro_env.run.runtimes.docker import Docker  # noqa: PLC0415 - only what is chosen is imported

    return Docker(store, reporter)


def _apptainer(store: Store, reporter: Reporter) -> Runtime:
    from repro_env.run.runtimes.apptainer import Apptainer  # noqa: PLC0415 - only what is chosen is imported

    return Apptainer(store, reporter)


def _venv(store: Store, reporter: Reporter) -> Runtime:
    from repro_env.run.runtimes.venv import Venv  # noqa: PLC0415 - only what is chosen is imported

    return Venv(store, reporter)


RUNTIMES: Mapping[str, Callable[[Store, Reporter], Runtime]] = {
    "bwrap": _bwrap,
    "podman": _podman,
    "docker": _docker,
    "apptainer": _apptainer,
    "venv": _venv,
}
"""Every runtime by name, best first: what isolates before what does not, then what starts soonest."""


def choose(runtimes: Iterable[Runtime], *, asked: str = "") -> Runtime:
    """Return the runtime of that name, or without one the first that works here.

    Errors: `RuntimeUnavailableError`, which says of each one why it cannot be used and what would change that.
    """
    return choose_for(runtimes, None, asked=asked)[0]


def choose_for(runtimes: Iterable[Runtime], grant: GpuGrant | None, *, asked: str = "") -> tuple[Runtime, Passing]:
    """Return the first runtime, or the one of that name, that works here and can pass these GPUs, and how it does.

    Errors: as `choose`.
    """
    known, reasons, hints = [], [], []
    for runtime in runtimes:
        known.append(runtime.name)
        if asked not in {"", runtime.name}:
            continue
        found = runtime.unavailable() or (runtime.pass_gpus(grant) if grant and grant.devices else NOTHING)
        if not isinstance(found, Unavailable):
            return runtime, found
        reasons.append(f"{runtime.name}: {found.reason}")
        hints += [found.hint] if found.hint and found.hint not in hints else []
    if not reasons:
        raise RuntimeUnavailableError(f"there is no runtime {asked}", f"known are {', '.join(known)}")
    what = f"runtime {asked} cannot be used here" if asked else "no runtime can be used here"
    raise RuntimeUnavailableError(what, "\n".join(reasons), "; or ".join(hints))


def runtimes_of(store: Store, reporter: Reporter, asked: str = "") -> Iterator[Runtime]:
    """Yield every runtime, best first, or only the one that is asked for; none is loaded before it is looked at.

    `reporter` is told what the first run of a step has to prepare.
    """
    names = [asked] if asked in RUNTIMES else RUNTIMES
    return (RUNTIMES[name](store, reporter) for name in names)
