"""Which GPUs programs can see: `CUDA_VISIBLE_DEVICES` and `NVIDIA_VISIBLE_DEVICES`.

Sources: the CUDA programming guide, "CUDA Environment Variables"; NVIDIA's container toolkit, "Environment variables".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from repro_env.verify.facts import Gpu

_CUDA = "CUDA_VISIBLE_DEVICES"
_CONTAINER = "NVIDIA_VISIBLE_DEVICES"


def visible(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> tuple[tuple[Gpu, ...], str]:
    """Return the GPUs that programs can see, and the variable that leaves others out, or nothing."""
    seen, hidden = _for_container(tuple(gpus), environment.get(_CONTAINER))
    if _CUDA in environment:
        chosen = _for_cuda(seen, environment[_CUDA])
        return chosen, _CUDA if len(chosen) < len(seen) else hidden
    return seen, hidden


def _for_container(gpus: tuple[Gpu, ...], text: str | None) -> tuple[tuple[Gpu, ...], str]:
    """Return what a container's variable leaves.

    A runtime that heeded it gives the container those devices alone, numbered anew: where there are as many as it
    lists, nothing is left to be done. Elsewhere, as with a runtime that gives all of them, it is heeded here.
    """
    if text is None or text in {"", "all", "void"}:  # void stands in containers that got their GPUs through CDI
        return gpus, ""
    if text == "none":
        return (), _CONTAINER if gpus else ""
    listed = [entry.strip() for entry in text.split(",") if entry.strip()]
    if len(listed) == len(gpus):
        return gpus, ""
    chosen = tuple(gpu for gpu in gpus if any(_is_container_name(entry, gpu, gpus) for entry in listed))
    # A path, or a name of a scheme of the runtime's own, says nothing that can be checked here.
    return (chosen, _CONTAINER) if chosen else (gpus, "")


def _is_container_name(entry: str, gpu: Gpu, gpus: Sequence[Gpu]) -> bool:
    """Whether an entry names a device: by index, UUID, or `GPU:INSTANCE` for MIG."""
    parent, colon, instance = entry.partition(":")
    if not colon:
        return entry in (str(gpu.index), gpu.uuid)
    instances = [one for one in gpus if one.mig and str(one.index) == parent]
    return instance.isdigit() and gpu in instances[int(instance) : int(instance) + 1]


def _for_cuda(gpus: Sequence[Gpu], text: str) -> tuple[Gpu, ...]:
    """Return the devices in the order they are listed, up to the first entry that names none, as CUDA does."""
    chosen: list[Gpu] = []
    for entry in map(str.strip, text.split(",")):
        found = next((gpu for gpu in gpus if _is_cuda_name(entry, gpu)), None)
        if found is None or found in chosen:
            break
        chosen.append(found)
    return tuple(chosen)


def _is_cuda_name(entry: str, gpu: Gpu) -> bool:
    """Whether an entry names a device: by index, or by the beginning of its UUID."""
    if entry.isdigit():
        return int(entry) == gpu.index
    return entry.startswith(("GPU-", "MIG-")) and gpu.uuid.startswith(entry)
