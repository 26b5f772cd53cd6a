"""Notes the GPU code of the libraries and programs of a layer while it is written, in the writer's pass.

Only what a program loads counts: shared libraries and executables. Object files and static archives are material for a
compiler, and of files with nothing but one architecture's code (`.cubin`, `.hsaco`, `.ptx`) a library picks what fits.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable

from repro_env.image import tar
from repro_env.image.elf import MAGIC
from repro_env.image.gpu.sink import GpuSink, Result
from repro_env.image.gpu.walk import Found
from repro_env.lock.gpu_code import GpuCode, sorted_amd, sorted_ptx, sorted_sass

VERSION = 1
"""Of what is read. Layers noted by another version are made again, to the same bytes, and noted anew."""

_EXPECTED = re.compile(r"nvidia/|cuda|_cu1[0-9]|/lib(?:cu|nv|nccl)")
"""Paths of which fat binaries are expected. A wrong guess costs time and nothing else."""


class GpuObserver:
    """Collects in `found`, by path in the layer, what each file carries.

    `site` is where `site-packages` stands in the layer; `again` streams a path's content once more.
    """

    def __init__(self, *, site: str, again: Callable[[str], Iterable[bytes]]) -> None:
        self.found: dict[str, GpuCode] = {}
        self._site = site
        self._again = again

    def begin(self, entry: tar.Entry, first: bytes) -> GpuSink | None:
        """Take ELF files and leave the others alone."""
        if not first.startswith(MAGIC):
            return None
        path = entry.path

        def done(result: Result) -> None:
            self.found[path] = gpu_code(posixpath.relpath(path, self._site), result)

        expected = _EXPECTED.search(path) is not None
        return GpuSink(entry.size, expected=expected, again=lambda: self._again(path), done=done)


def gpu_code(path: str, result: Result) -> GpuCode:
    """Return what was found of a library as the lock says it."""
    if not isinstance(result, Found):
        return GpuCode(path=path, unknown=str(result))
    try:
        return GpuCode(path=path, sass=sorted_sass(result.sass), ptx=sorted_ptx(result.ptx), amd=sorted_amd(result.amd))
    except ValueError as error:
        return GpuCode(path=path, unknown=f"what its GPU code is for: {error}")
