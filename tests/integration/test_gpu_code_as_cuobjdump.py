"""What is read of real libraries is what NVIDIA's cuobjdump lists, and what repro build writes into the lock."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fatmaker import read_gpu_code
from onestep import OneStep

from repro_env.edges.files import locked
from repro_env.image.elf import MAGIC
from repro_env.lock.gpu_code import GpuCode, gpu_code_from, sorted_ptx, sorted_sass
from repro_env.lock.parse import parse_lock

pytestmark = pytest.mark.network

CUOBJDUMP = "nvidia-cuda-cuobjdump==13.5.37"

# CUDA 11.8 to 13.4; plain, LZ4 and zstd payloads; relocatable code; suffixes a and f; old linkers and new ones.
WHEELS = {
    "bitsandbytes==0.50.2": 7,
    "nvidia-nvjpeg-cu12==12.4.0.76": 1,
    "nvidia-nvjpeg==13.3.2.43": 1,
    "nvidia-curand-cu12==10.3.10.19": 1,
    "nvidia-curand==10.4.5.25": 1,
    "nvidia-cusparselt-cu13==0.10.0": 1,
    "torchvision==0.29.2": 2,
    "xformers==0.0.35": 1,
}

ROCM = {
    "libbitsandbytes_rocm64.so": "gfx90a gfx908 gfx942 gfx1030 gfx1100 gfx1101 gfx1102 gfx1103 gfx1150 gfx1151 gfx1152"
    " gfx1153 gfx1200 gfx1201",
    "libbitsandbytes_rocm72.so": "gfx90a gfx908 gfx942 gfx950 gfx1030 gfx1100 gfx1101 gfx1102 gfx1103 gfx1150 gfx1151"
    " gfx1152 gfx1153 gfx1200 gfx1201",
}

Download = Callable[[str], Path]


@pytest.fixture(scope="module")
def cuobjdump(download_wheel: Download, test_cache: Path) -> Path:
    """NVIDIA's program, out of its wheel."""
    wheel = download_wheel(CUOBJDUMP)
    folder = test_cache / CUOBJDUMP
    with locked(folder.with_name(folder.name + ".lock")), zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/cuobjdump")]
        program = folder / name
        if not os.access(program, os.X_OK):  # written once: another process may be running it
            archive.extract(name, folder)
            program.chmod(0o755)
    return program


def told(cuobjdump: Path, *words: str) -> str | None:
    """Return what it prints, or None where it gives up: on code of some compilers for architectures of old."""
    done = subprocess.run([str(cuobjdump), *words], capture_output=True, text=True, timeout=300, check=False)
    if "Invalid ELF" in done.stderr:
        return None
    assert done.returncode == 0 or "does not contain device code" in done.stderr, done
    return done.stdout


def listed(cuobjdump: Path, library: Path) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return the architectures, and those of PTX with its version, that cuobjdump tells of a library.

    Its list of files names them without the suffix `f`, and without PTX's version: both are in what it prints else.
    """
    text = told(cuobjdump, "-all", str(library))
    if text is None:
        return None
    found = defaultdict(set)
    for block in re.split(r"^Fatbin ", text, flags=re.MULTILINE)[1:]:
        kind = block.split(" ", 1)[0]
        arch = re.search(r"^arch = sm_(\w+)$", block, re.MULTILINE)
        version = re.search(r"^code version = \[(\d+),(\d+)\]$", block, re.MULTILINE)
        assert arch, block[:300]
        assert version, block[:300]
        found[kind].add(f"{arch[1]}/{version[1]}.{version[2]}" if kind == "ptx" else arch[1])
    assert found.keys() <= {"elf", "ptx"}, found.keys()
    return sorted_sass(found["elf"]), sorted_ptx(found["ptx"])


def counted(cuobjdump: Path, library: Path) -> tuple[set[str], set[str]] | None:
    """Return the architectures that its lists of files name, without suffixes."""
    text = told(cuobjdump, "-all", "--list-elf", "--list-ptx", str(library))
    if text is None:
        return None
    return set(re.findall(r"\.sm_(\d+)[af]?\.cubin", text)), set(re.findall(r"\.sm_(\d+)[af]?\.ptx", text))


def libraries(wheel: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            with archive.open(info) as stream:
                found = stream.read(len(MAGIC)) == MAGIC
            if found:
                yield info.filename, archive.read(info)


@pytest.mark.parametrize("requirement", WHEELS)
def test_the_libraries_of_a_wheel(requirement: str, download_wheel: Download, cuobjdump: Path, tmp_path: Path) -> None:
    carrying = compared = 0
    library = tmp_path / "library.so"
    for name, data in libraries(download_wheel(requirement)):
        code, passes = read_gpu_code(data, expected=True)
        library.write_bytes(data)
        if "_rocm" in name:
            continue
        read = code or GpuCode(path="x.so")
        numbers = ({text.rstrip("af") for text in read.sass}, {re.split("[af/]", text)[0] for text in read.ptx})
        assert counted(cuobjdump, library) in (None, numbers), name
        whole = listed(cuobjdump, library)
        assert whole in (None, (read.sass, read.ptx)), name
        compared += whole is not None and code is not None
        assert passes == 0, f"{name} took another pass"
        carrying += code is not None
    assert carrying == WHEELS[requirement]
    assert compared >= (carrying + 1) // 2


def test_the_processors_of_a_hip_library(download_wheel: Download) -> None:
    found = {Path(name).name: data for name, data in libraries(download_wheel("bitsandbytes==0.50.2"))}
    for name, processors in ROCM.items():
        code, passes = read_gpu_code(found[name])
        assert code == GpuCode(path="x.so", amd=tuple(processors.split(" "))), name
        assert passes == 1


def test_real_libraries_that_are_damaged_are_read_or_unknown(download_wheel: Download) -> None:
    chance = random.Random(4711)
    for requirement in ("xformers==0.0.35", "nvidia-nvjpeg==13.3.2.43"):
        data = max((data for _name, data in libraries(download_wheel(requirement))), key=len)
        starts = [match.start() for match in re.finditer(b"\x50\xed\x55\xba|\\.nv_fatbin", data)]
        starts += [0, int.from_bytes(data[40:48], "little")]
        for _turn in range(60):
            damaged = bytearray(data)
            for _change in range(chance.randint(1, 3)):
                place = chance.choice(starts) + chance.randrange(96)
                damaged[place % len(data)] = chance.randrange(256)
            code, _passes = read_gpu_code(bytes(damaged[: chance.choice([len(data), chance.randrange(len(data))])]))
            assert code is None or gpu_code_from([code.to_dict()]) == (code,)


def test_repro_build_writes_it_into_the_lock(tmp_path: Path, test_cache: Path) -> None:
    project = OneStep(tmp_path, test_cache / "store")
    project.write("nvidia-nvjpeg-cu12==12.4.0.76", "six==1.17.0")
    project.repro("lock")
    path = tmp_path / "repro.lock"
    assert "gpu_code" not in path.read_text()
    document = json.loads(project.repro("build", "--json").stdout)
    text = path.read_text()
    sass = "50 52 60 61 70 75 80 86 89 90 100 101 103 120 121"
    line = f'  {{ path = "nvidia/nvjpeg/lib/libnvjpeg.so.12", sass = "{sass}", ptx = "121/8.8" }},'
    assert f"\ngpu_code = [\n{line}\n]\n" in text
    assert text.count("gpu_code") == 1
    ((wheel, (library,)),) = parse_lock(text).gpu_code.items()
    assert document["images"][0]["gpu_code"] == [
        {
            "package": "nvidia-nvjpeg-cu12",
            "version": "12.4.0.76",
            "sha256": wheel.hex,
            "libraries": [{"path": library.path, "sass": sass.split(), "ptx": ["121/8.8"], "amd": []}],
        }
    ]
    again = json.loads(project.repro("build", "--json").stdout)["images"][0]
    assert again["reused"]
    assert again == {**document["images"][0], "reused": True}
    project.write("nvidia-nvjpeg-cu12==12.4.0.76")
    project.repro("lock")
    assert f"\ngpu_code = [\n{line}\n]\n" in path.read_text()
    project.write("six==1.17.0")
    project.repro("lock")
    assert "gpu_code" not in path.read_text()
