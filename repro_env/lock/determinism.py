"""`deterministic = true`: the environment variables that keep libraries from giving other numbers each time.

They change which algorithms run, never what a step can run on: without a GPU the first two mean nothing. Threads are
one because nothing else is certain: how many there are decides in which order floating-point numbers are added, and
OpenMP leaves the order in which the threads' sums meet open, however many are fixed. A step that has to be fast on CPUs
says another number in its own `env`, which goes before these.

Sources: cuBLAS, "Results Reproducibility"; CUDA, "NVIDIA_TF32_OVERRIDE"; the Python command line, "PYTHONHASHSEED";
OpenMP 5.2, 5.5.5, "reduction clause"; PyTorch, "Reproducibility".
"""

from __future__ import annotations

SETTINGS = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "MKL_NUM_THREADS": "1",
    "NVIDIA_TF32_OVERRIDE": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}
