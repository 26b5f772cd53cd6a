"""`torch-backend`: what PyTorch's packages are made for, each with an index of its own."""

from __future__ import annotations

from repro_env.config.problems import did_you_mean

CUDA = (
    *("cu132", "cu130", "cu129", "cu128", "cu126", "cu125", "cu124", "cu123", "cu122", "cu121", "cu120"),
    *("cu118", "cu117", "cu116", "cu115", "cu114", "cu113", "cu112", "cu111", "cu110"),
    *("cu102", "cu101", "cu100", "cu92", "cu91", "cu90", "cu80"),
)
ROCM = (
    *("rocm7.2", "rocm7.1", "rocm7.0", "rocm6.4", "rocm6.3", "rocm6.2.4", "rocm6.2", "rocm6.1", "rocm6.0"),
    *("rocm5.7", "rocm5.6", "rocm5.5", "rocm5.4.2", "rocm5.4", "rocm5.3", "rocm5.2", "rocm5.1.1"),
    *("rocm4.2", "rocm4.1", "rocm4.0.1"),
)
BACKENDS = ("cpu", *CUDA, *ROCM, "xpu")
"""The indexes below https://download.pytorch.org/whl, by the names that uv has for them.
Source: https://docs.astral.sh/uv/guides/integration/pytorch/, and `uv pip compile --help`."""


def torch_backend(text: str) -> str:
    """Return the name of a backend. Errors: `ValueError` with the nearest one, or with the newest ones."""
    if text in BACKENDS:
        return text
    if text == "auto":
        raise ValueError('"auto" would depend on the machine that locks: name a backend, such as "cu128" or "cpu"')
    near = did_you_mean(text, BACKENDS)
    if not near.startswith("did"):
        near = f"known are {', '.join(('cpu', *CUDA[:4], *ROCM[:2], 'xpu'))} and older ones"
    raise ValueError(f'"{text}" is no backend of PyTorch; {near}')


def torch_index(mirror: str, backend: str) -> str:
    """Return the URL of a backend's index. `mirror` stands for `https://download.pytorch.org/whl`."""
    return f"{mirror.rstrip('/')}/{backend}"
