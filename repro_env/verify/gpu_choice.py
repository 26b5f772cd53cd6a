"""Which of a machine's GPUs a step is given.

As many as it asks for and no more, like a job of a scheduler: a program that takes every GPU it sees would otherwise
compute something else on a larger machine. Of those that the caller's variables leave, in their order, the first that
are what is asked for. Where there are not enough of these, others take their places, so that the checks that follow can
say what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from repro_env.config.machine import GpuRequest
from repro_env.verify.facts import Gpu
from repro_env.verify.gpu_checks import is_suited

_Linked = Callable[[Gpu, Gpu], bool]


def choose_gpus(asked: GpuRequest, gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """Return the GPUs that a step is given of those it may have; fewer than it asks for where there are not enough."""
    suited = [gpu for gpu in gpus if not gpu.problem and is_suited(asked, gpu)]
    others = [gpu for gpu in gpus if gpu not in suited]
    group = _group(suited, asked.count, _linked(asked)) if asked.nvlink or asked.peer_access else None
    return tuple(group or [*suited, *others][: asked.count])


def _linked(asked: GpuRequest) -> _Linked:
    """Return whether two GPUs have between them what is asked for."""

    def linked(one: Gpu, other: Gpu) -> bool:
        by_nvlink = not asked.nvlink or other.index in (one.nvlinks or ())
        return by_nvlink and (not asked.peer_access or other.index in (one.peers or ()))

    return linked


def _group(gpus: Sequence[Gpu], size: int, linked: _Linked) -> list[Gpu] | None:
    """Return the first GPUs of which every two are linked, or None."""
    if size == 0:
        return []
    for place, first in enumerate(gpus[: max(len(gpus) - size + 1, 0)]):
        reached = [gpu for gpu in gpus[place + 1 :] if linked(first, gpu)]
        rest = _group(reached, size - 1, linked)
        if rest is not None:
            return [first, *rest]
    return None
