"""A library's size does not decide how much memory its GPU code takes to read, nor does a hostile one take long."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from fatmaker import MAGIC, container, gpu_elf, read_gpu_code, write_large_elf

GIB = 1 << 30
LIMIT = 100 << 20

_READ = """
import sys
from pathlib import Path
from repro_env.image.gpu.observer import gpu_code
from repro_env.image.gpu.sink import GpuSink
path = Path(sys.argv[1])
passes = []
def pieces():
    passes.append(1)
    with path.open("rb") as stream:
        while piece := stream.read(1 << 18):
            yield piece
results = []
sink = GpuSink(path.stat().st_size, expected=False, again=pieces, done=results.append)
for piece in pieces():
    sink.feed(piece)
sink.close()
[peak] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
print(int(peak) * 1024, len(passes), gpu_code("x.so", results[0]).to_dict())
"""


@pytest.mark.parametrize(("together", "passes"), [(False, 1), (True, 2)])
@pytest.mark.parametrize("count", [1, 1 << 13])
def test_a_library_of_gigabytes_takes_little_memory(tmp_path: Path, count: int, passes: int, *, together: bool) -> None:
    path = tmp_path / "x.so"
    write_large_elf(path, size=2 * GIB, count=count, together=together)
    words = [sys.executable, "-c", _READ, str(path)]
    said = subprocess.run(words, check=True, capture_output=True, text=True, timeout=300).stdout
    peak, turns, code = said.split(" ", 2)
    assert (int(turns), code.strip()) == (passes, "{'path': 'x.so', 'sass': '90'}")
    assert int(peak) < LIMIT, f"peak {int(peak) >> 20} MiB"


@pytest.mark.parametrize(
    "filler",
    [container(), MAGIC.to_bytes(4, "little"), bytes(7) + b"\1", b"\x7fELF"],
    ids=["empty containers", "magic numbers", "what is neither", "files in a file"],
)
def test_a_hostile_library_takes_little_time(filler: bytes) -> None:
    data = filler * ((64 << 20) // len(filler))
    library = gpu_elf((".nv_fatbin", data), ("__nv_relfatbin", data), (".hip_fatbin", data))
    began = time.process_time()
    code, passes = read_gpu_code(library)
    assert code is not None
    assert code.unknown
    assert passes <= 1
    assert time.process_time() - began < 20
