"""Which code for GPUs the libraries of a wheel carry, noted in the pass that makes its layer."""

from repro_env.image.gpu.observer import GpuObserver

__all__ = ["GpuObserver"]
