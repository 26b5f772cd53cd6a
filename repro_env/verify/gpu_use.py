"""How much a step uses its GPUs, from samples that NVML gives while it runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from repro_env.frozen import dataclass

_INTERVAL = 1.0
"""Seconds between two samples. A sample takes NVML less than a millisecond a GPU, and what it tells of utilisation is
of up to a second before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """What was seen of all GPUs together: the most memory in use, in bytes, and the mean utilisation, from 0 to 1.

    None is not known. Both are of the whole device or MIG instance, whoever uses it.
    """

    memory: int | None = None
    utilisation: float | None = None


class GpuWatch:
    """Samples GPUs in a thread of its own for as long as the block lasts. Where NVML does not answer, nothing is known.

    Source: https://docs.nvidia.com/deploy/nvml-api/, nvmlDeviceGetMemoryInfo, nvmlDeviceGetUtilizationRates.
    """

    def __init__(self, uuids: Sequence[str], interval: float = _INTERVAL) -> None:
        """`uuids` are of GPUs or of MIG instances; with none, nothing is sampled. `interval` is in seconds."""
        self._uuids, self._interval = uuids, interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._memory: list[int] = []
        self._utilisation: list[float] = []

    def __enter__(self) -> Self:
        if self._uuids:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._uuids:
            self._thread.join()

    @property
    def use(self) -> GpuUse:
        """What was seen so far."""
        mean = sum(self._utilisation) / len(self._utilisation) if self._utilisation else None
        return GpuUse(memory=max(self._memory, default=None), utilisation=mean)

    def _watch(self) -> None:
        import pynvml  # noqa: PLC0415 - in the thread: the step need not wait for it

        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return
        try:
            handles = [pynvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in self._uuids]
            while not self._ended.wait(self._interval):
                self._sample(pynvml, handles)
        except pynvml.NVMLError:  # a GPU that is lost ends the samples, and leaves what was seen
            return
        finally:
            pynvml.nvmlShutdown()

    def _sample(self, pynvml: Any, handles: Sequence[Any]) -> None:
        self._memory.append(sum(int(pynvml.nvmlDeviceGetMemoryInfo(handle).used) for handle in handles))
        try:
            busy = [int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) for handle in handles]
        except pynvml.NVMLError as error:
            if error.value != pynvml.NVML_ERROR_NOT_SUPPORTED:  # as of a MIG instance
                raise
            return
        self._utilisation.append(sum(busy) / len(busy) / 100)
