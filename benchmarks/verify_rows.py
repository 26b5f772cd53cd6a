"""What `repro verify` adds to NVML's own initialisation, on a recorded node of eight GPUs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from measure import Row, once, timed
from measured import Project

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import machines

MACHINE = "a100-8x"
PACKAGES = ("nvidia-cuda-runtime-cu12==12.8.90", "nvidia-curand-cu12==10.3.10.19")
_PROJECT = """\
[project]
name = "seen"

[base.slim]
debian = "bookworm"

[step.gpu]
base = "slim"
python = "3.11"
command = ["true"]
code = ["repro.toml"]
dependencies = [{packages}]

[step.gpu.gpu]
count = 8
memory = "40GB"
compute-capability = ">=8.0"

[step.gpu.host]
cpus = 1
"""
_BARE = "import pynvml; pynvml.nvmlInit(); print(pynvml.nvmlDeviceGetCount()); pynvml.nvmlShutdown()"


def verify_rows(runs: int, scratch: Path, repro: Path) -> Iterator[Row]:
    """`repro verify` of a built step with GPU code, against a Python that only initialises NVML."""
    library = scratch / "nvml"
    library.mkdir()
    nvml = machines.build(library)
    if nvml is None:
        return
    project = _project(scratch / "seen", repro)
    env = {**project.env, **nvml.environment(MACHINE)}
    ours = timed((repro, "verify", "gpu"), runs=runs, cwd=project.root, env=env)
    bare = timed((sys.executable, "-c", _BARE), runs=runs, cwd=project.root, env=env)
    added = (ours.median - bare.median) * 1000
    against = f"`nvmlInit` in a bare Python; repro adds {added:.0f} ms"
    yield Row("`repro verify`, 8 GPUs (recorded, behind a stand-in NVML)", ours, against, bare, "adds < 100 ms")


def _project(root: Path, repro: Path) -> Project:
    root.mkdir()
    listed = ", ".join(f'"{pin}"' for pin in PACKAGES)
    (root / "repro.toml").write_text(_PROJECT.format(packages=listed))
    project = Project(root, {"REPRO_STORE": str(root.parent / "store")})
    once((repro, "lock"), cwd=root, env=project.env)
    once((repro, "build"), cwd=root, env=project.env)
    return project
