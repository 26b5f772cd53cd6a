"""The size of a file decides neither how much memory a layer takes to make nor, when it lies, how much is inflated."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from layers import INFO, METADATA, WHEEL

from repro_env.image.store import Store
from repro_env.values import Digest

GIB = 1 << 30
LIMIT = 300 << 20

_MAKE = """
import sys
from pathlib import Path
from repro_env.image.store import Store
from repro_env.image.wheel_layer import wheel_layer
from repro_env.lock.model import Wheel
from repro_env.values import Digest, PythonVersion
root, hexadecimal, size = sys.argv[1:]
file = "probe-1.0-py3-none-any.whl"
wheel = Wheel(name="probe", version="1.0", file=file, url="", sha256=Digest(hexadecimal), size=1)
made = wheel_layer([wheel], PythonVersion(11), Store(Path(root)), layout=1, comment="")
assert made.layer.unpacked > int(size), made.layer
# Not ru_maxrss, which begins with what the process that started this one had.
[peak] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
print(int(peak) * 1024)
"""


def wheel_of_zeros(path: Path, size: int, method: int) -> None:
    """Write a wheel whose one file is `size` zeros; RECORD gives no hash, so that they are read twice."""
    member = zipfile.ZipInfo("probe/weights.bin")
    member.compress_type = method
    with zipfile.ZipFile(path, "w", compresslevel=1) as archive:
        with archive.open(member, "w") as stream:
            for _ in range(size >> 20):
                stream.write(bytes(1 << 20))
        archive.writestr(f"{INFO}/METADATA", METADATA)
        archive.writestr(f"{INFO}/WHEEL", WHEEL)
        archive.writestr(f"{INFO}/RECORD", f"probe/weights.bin,,\n{INFO}/RECORD,,\n")


@pytest.mark.parametrize(("size", "method"), [(GIB, zipfile.ZIP_DEFLATED), (GIB // 2, zipfile.ZIP_STORED)])
def test_a_large_file_takes_little_memory(store: Store, tmp_path: Path, size: int, method: int) -> None:
    path = tmp_path / "probe-1.0-py3-none-any.whl"
    wheel_of_zeros(path, size, method)
    with path.open("rb") as stream:
        digest = Digest(hashlib.file_digest(stream, "sha256").hexdigest())
    store.adopt(path, digest)
    words = [sys.executable, "-c", _MAKE, str(store.root), digest.hex, str(size)]
    peak = int(subprocess.run(words, check=True, capture_output=True, text=True, timeout=300).stdout)
    print(f"peak {peak >> 20} MiB")  # noqa: T201 - shown when the assertion fails
    assert peak < LIMIT
