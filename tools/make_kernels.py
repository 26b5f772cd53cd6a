"""Compile the one kernel of fixtures/kernels for several architectures, with NVRTC libraries named on the command line.

    pip install --target one nvidia-cuda-nvrtc-cu12==12.4.127 && python tools/make_kernels.py one

No GPU is needed. Each file's name says what it is as `lock.gpu_code` does: `90a.cubin`, `80-8.4.ptx`. Those that are
there were made with 13.5, 13.0, 12.9 and 12.4, in this order: SASS is of the oldest toolkit that knows its
architecture, because drivers of an older major version do not load that of a newer one.
"""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "fixtures" / "kernels"
SOURCE = b'extern "C" __global__ void answer(int *out) { *out = 42; }'
SASS = ("75", "80", "86", "87", "89", "90", "90a", "100", "100a", "100f", "103", "120", "120f")
PTX = ("75", "80", "90", "90a", "100", "100f", "120")


def compiled(nvrtc: Any, option: str, kind: str) -> bytes | None:
    """Return what NVRTC makes for an option such as `sm_90a`: `CUBIN` or `PTX`; None where it does not know that."""
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), SOURCE, b"answer.cu", 0, None, None)
    options = (ctypes.c_char_p * 1)(f"--gpu-architecture={option}".encode())
    if nvrtc.nvrtcCompileProgram(program, 1, options) != 0:
        return None
    size = ctypes.c_size_t()
    getattr(nvrtc, f"nvrtcGet{kind}Size")(program, ctypes.byref(size))
    content = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{kind}")(program, content)
    return content.raw


def main(places: list[str]) -> None:
    """Write what every NVRTC below these directories makes; the SASS of the last one that knows an architecture."""
    TARGET.mkdir(exist_ok=True)
    for place in places:
        (library,) = (path for path in Path(place).rglob("libnvrtc.so.*") if "alt" not in path.name)
        nvrtc = ctypes.CDLL(str(library))
        for name in SASS:
            if content := compiled(nvrtc, f"sm_{name}", "CUBIN"):
                (TARGET / f"{name}.cubin").write_bytes(content)
        for name in PTX:
            if content := compiled(nvrtc, f"compute_{name}", "PTX"):
                text = re.sub(rb"(?m)^//.*\n", b"", content.rstrip(b"\0"))
                (version,) = re.findall(rb"(?m)^\.version (\S+)", text)
                (TARGET / f"{name}-{version.decode()}.ptx").write_bytes(text)


if __name__ == "__main__":
    main(sys.argv[1:])
