"""Recorded machines of `fixtures/machines`, and a `libnvidia-ml.so.1` that answers from them."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MACHINES = Path(__file__).resolve().parents[2] / "fixtures" / "machines"
_SOURCE = Path(__file__).with_name("nvml.c")


def names() -> list[str]:
    """Return the names of the recorded machines."""
    return sorted(path.stem for path in MACHINES.glob("*.json"))


def profile(name: str) -> dict[str, Any]:
    """Return a recorded machine."""
    document: dict[str, Any] = json.loads((MACHINES / f"{name}.json").read_text())
    return document


def table(name: str) -> str:
    """Return a machine as the C library reads it."""
    return "".join("\t".join(map(str, line)) + "\n" for line in _lines(profile(name)))


def _lines(machine: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    yield "init", machine.get("init", 0)
    yield "driver", machine.get("driver", "0")
    yield "cuda", machine.get("cuda", 0)
    if "links" in machine:
        yield "links", machine["links"]["peer"], machine["links"]["nvlink"]
    for index, gpu in enumerate(machine.get("gpus", [])):
        tail = (*gpu["capability"], gpu["brand"], gpu["ecc"], gpu.get("error", 0), int("mig" in gpu))
        yield "gpu", gpu["name"], uuid("GPU", index), gpu["memory_mib"] * 2**20, *tail
        for number, (mig, memory) in enumerate(gpu.get("mig", [])):
            yield "mig", f"{gpu['name']} MIG {mig}", uuid("MIG", number), memory * 2**20, *tail


def uuid(kind: str, index: int) -> str:
    """Return a placeholder, as scrubbed captures have them."""
    return f"{kind}-{index:08x}-0000-0000-0000-{index:012x}"


@dataclass(frozen=True, slots=True)
class Nvml:
    """The library, built in a directory of its own."""

    directory: Path

    def environment(self, name: str) -> dict[str, str]:
        """Return the variables that make a process find the library, and the library this machine."""
        file = self.directory / f"{name}.table"
        file.write_text(table(name))
        return {"LD_LIBRARY_PATH": str(self.directory), "REPRO_TEST_NVML": str(file)}

    def facts(self, name: str, **variables: str) -> dict[str, Any]:
        """Return what `repro facts` says on this machine, through the real binding."""
        clean = {key: value for key, value in os.environ.items() if not key.endswith("_VISIBLE_DEVICES")}
        done = subprocess.run(
            [sys.executable, "-m", "repro_env", "facts"],
            env={**clean, **self.environment(name), **variables},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        document: dict[str, Any] = json.loads(done.stdout)
        return document


def build(directory: Path) -> Nvml | None:
    """Build the library, or return None where there is no C compiler."""
    return Nvml(directory) if compile_c(_SOURCE, directory / "libnvidia-ml.so.1", "-shared", "-fPIC") else None


def compile_c(source: Path, product: Path, *options: str) -> bool:
    """Compile a C file; return False where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return False
    words = [compiler, *options, "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(product), str(source)]
    subprocess.run(words, check=True, timeout=120)
    return True


VERSION = "580.65.06"
"""Of the driver that `install_driver` makes."""


def install_driver(root: Path, name: str) -> bool:
    """Make the files of a driver for a recorded machine below `root`; return False where there is no C compiler.

    Its device nodes are all of the null device, and its libraries find only those GPUs whose nodes are in `/dev`.
    Errors: `PermissionError` where this user may make no device nodes.
    """
    machine = profile(name)
    nodes = ["nvidiactl", "nvidia-uvm", *(f"nvidia{index}" for index in range(len(machine["gpus"])))]
    parts = sum(len(gpu.get("mig", [])) for gpu in machine["gpus"])
    for number in range(parts):
        gpu_instance = root / f"proc/driver/nvidia/capabilities/gpu0/mig/gi{number + 1}"
        (gpu_instance / "ci0").mkdir(parents=True)
        (gpu_instance / "access").write_text(f"DeviceFileMinor: {10 + number}\n")
        (gpu_instance / "ci0/access").write_text(f"DeviceFileMinor: {50 + number}\n")
        nodes += [f"nvidia-caps/nvidia-cap{10 + number}", f"nvidia-caps/nvidia-cap{50 + number}"]
    for node in nodes:
        path = root / "dev" / node
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        path.chmod(0o666)
    libraries = root / "usr/lib64"
    libraries.mkdir(parents=True)
    text = "TABLE=" + json.dumps(table(name))
    for library in ("libnvidia-ml", "libcuda"):
        if not compile_c(_SOURCE, libraries / f"{library}.so.{VERSION}", "-shared", "-fPIC", "-D", text):
            return False
        (libraries / f"{library}.so.1").symlink_to(f"{library}.so.{VERSION}")
    return True
