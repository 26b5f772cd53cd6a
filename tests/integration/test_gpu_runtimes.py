"""What a step finds of the GPUs in each runtime: exactly those it was given, by a driver that stands in for NVIDIA's.

The driver's libraries are real shared libraries that a real program loads, and its device nodes real nodes (of the null
device); neither is in this machine's own `/dev` or `/usr`.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import machine
import machines
import pytest
import tiny
from onestep import OneStep

from repro_env.edges.report import Silent
from repro_env.edges.sandbox import NAMESPACES
from repro_env.image import tar
from repro_env.image.layer import Layer
from repro_env.image.store import Store
from repro_env.run import cdi
from repro_env.run.gpus import LIBRARIES, GpuDevice, GpuGrant, Passing
from repro_env.run.runtimes.base import Runtime
from repro_env.run.runtimes.bwrap import Bwrap
from repro_env.run.runtimes.docker import Docker
from repro_env.run.runtimes.podman import Podman
from repro_env.verify.nvml import read_driver

PROBE = Path(machines.__file__).with_name("gpu_probe.c")
SPECIFICATIONS = Path("/var/run/cdi")

every = pytest.mark.parametrize(
    "name",
    [
        pytest.param("bwrap", marks=pytest.mark.bwrap),
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("podman", marks=pytest.mark.podman),
    ],
)
pytestmark = pytest.mark.xdist_group("runtimes")


def install(root: Path, name: str) -> Path:
    """Make a recorded machine's driver in a directory."""
    machine.require("busybox")
    try:
        if machines.install_driver(root, name):
            return root
    except PermissionError:
        pytest.skip("only root can make device nodes")
    pytest.skip("there is no C compiler")


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("eight"), "a100-8x")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("split"), "a100-mig")


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The program that a step runs."""
    product = tmp_path_factory.mktemp("probe") / "probe"
    if not machines.compile_c(PROBE, product, "-ldl"):
        pytest.skip("there is no C compiler")
    return product.read_bytes()


def runtime_of(name: str, store: Store, driver: Path) -> Runtime:
    made: dict[str, Runtime] = {
        "bwrap": Bwrap(store, Silent(), driver=driver),
        "docker": Docker(store, Silent(), driver=driver),
        "podman": Podman(store, Silent(), driver=driver),
    }
    return made[name]


def probe_layer(store: Store, probe: bytes) -> Layer:
    """The program, and of this machine's C library what it needs to load others."""
    loader = next(Path(path) for path in _LOADERS if Path(path).exists())
    libraries = loader.resolve().parent
    found = [
        (tar.Entry(path=path, mode=0o755, size=len(data)), data)
        for path, data in (
            (str(loader)[1:], loader.read_bytes()),
            *((f"lib/{name}", (libraries / name).read_bytes()) for name in _LIBRARIES if (libraries / name).exists()),
            ("usr/bin/probe", probe),
        )
    ]
    parents = {str(parent) for entry, _data in found for parent in list(Path(entry.path).parents)[:-1]}
    directories = [tiny.directory(parent) for parent in sorted(parents)]
    return tiny.make_layer(store, sorted([*directories, *found], key=lambda pair: pair[0].path), "probe")


_LIBRARIES = ("libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1")
_LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")


def run(runtime: Runtime, store: Store, root: Path, passing: Passing, probe: bytes, *command: str) -> list[str]:
    """Run the program, or another one, as a step that has these GPUs, and return the lines it printed."""
    image = tiny.tiny_image(store, probe_layer(store, probe))
    step = tiny.tiny_step(*(command or ("/usr/bin/probe",)))
    plan = tiny.tiny_plan(step, root, image=image, run=f"gpu-{os.urandom(4).hex()}", gpus=passing)
    plan.output.mkdir(parents=True, exist_ok=True)
    log = root / "log"
    ended = runtime.run(plan, log=log)
    assert ended.status == 0, log.read_text()
    return log.read_text().splitlines()


def passed(runtime: Runtime, grant: GpuGrant) -> Passing:
    found = runtime.pass_gpus(grant)
    assert isinstance(found, Passing), found
    return found


def whole(*indices: int) -> GpuGrant:
    devices = [GpuDevice(index=index, uuid=machines.uuid("GPU", index), minor=index) for index in indices]
    return GpuGrant(devices=tuple(devices), driver=machines.VERSION)


@every
@pytest.mark.parametrize(("indices", "seen"), [((5,), "0"), ((6, 2), "1,0")])
def test_a_step_finds_the_gpus_it_was_given(
    name: str, indices: Sequence[int], seen: str, eight: Path, probe: bytes, store: Store, tmp_path: Path
) -> None:
    runtime = runtime_of(name, store, eight)
    passing = passed(runtime, whole(*indices))
    assert run(runtime, store, tmp_path, passing, probe) == [
        f"CUDA_VISIBLE_DEVICES={seen}",
        "NVIDIA_VISIBLE_DEVICES=void",
        "libcuda loads",
        *(machines.uuid("GPU", index) for index in sorted(indices)),
    ]


@every
def test_a_step_finds_the_part_of_a_gpu_it_was_given(
    name: str, split: Path, probe: bytes, store: Store, tmp_path: Path
) -> None:
    runtime = runtime_of(name, store, split)
    part = GpuDevice(index=0, uuid=machines.uuid("MIG", 2), minor=0, instance=(3, 0))
    passing = passed(runtime, GpuGrant(devices=(part,), driver=machines.VERSION))
    lines = run(runtime, store, tmp_path, passing, probe)
    assert lines[0] == f"CUDA_VISIBLE_DEVICES={machines.uuid('MIG', 2)}"
    assert lines[3:] == [machines.uuid("MIG", 2)]


@every
def test_a_step_without_gpus_finds_none(name: str, eight: Path, probe: bytes, store: Store, tmp_path: Path) -> None:
    runtime = runtime_of(name, store, eight)
    lines = run(runtime, store, tmp_path, Passing(), probe, "/bin/sh", "-c", "ls /dev; /usr/bin/probe || true")
    assert not [line for line in lines if line.startswith("nvidia")]
    assert "libnvidia-ml.so.1: cannot open shared object file" in lines[-1]


@every
def test_what_is_passed_cannot_be_changed(name: str, eight: Path, probe: bytes, store: Store, tmp_path: Path) -> None:
    runtime = runtime_of(name, store, eight)
    script = f"(echo x > {LIBRARIES}/libcuda.so.1) 2>/dev/null && echo changed; ls {LIBRARIES} | cat; ls /dev | cat"
    lines = run(runtime, store, tmp_path, passed(runtime, whole(3)), probe, "/bin/sh", "-c", script)
    assert lines[:3] == ["libcuda.so", "libcuda.so.1", "libnvidia-ml.so.1"]
    assert [line for line in lines if line.startswith("nvidia")] == ["nvidia-uvm", "nvidia3", "nvidiactl"]


@pytest.mark.gpu
@every
def test_this_machines_own_gpu(name: str, probe: bytes, store: Store, tmp_path: Path) -> None:
    driver = read_driver()
    gpu = driver.gpus[0]
    device = GpuDevice(index=gpu.index, uuid=gpu.uuid, minor=gpu.minor, instance=gpu.instance)
    runtime = runtime_of(name, store, Path("/"))
    passing = passed(runtime, GpuGrant(devices=(device,), driver=driver.version))
    assert run(runtime, store, tmp_path, passing, probe)[2:] == ["libcuda loads", gpu.uuid]


@pytest.mark.bwrap
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_may_use_the_nodes(eight: Path, probe: bytes) -> None:
    """As a step of another user: bwrap shows device nodes without any privilege."""
    with tempfile.TemporaryDirectory(prefix="repro-test-") as name:
        program = Path(name) / "probe"
        program.write_bytes(probe)
        os.chmod(name, 0o755)
        program.chmod(0o755)
        node = Path(name) / "node"
        os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        node.chmod(0o666)
        libraries = Path(name) / "lib"
        shutil.copytree(eight / "usr/lib64", libraries)
        words = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "bwrap", *NAMESPACES]
        words += ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
        for target in ("nvidiactl", "nvidia7"):
            words += ["--dev-bind", str(node), f"/dev/{target}"]
        words += ["--setenv", "LD_LIBRARY_PATH", str(libraries), "--", str(program)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.splitlines()[3:] == [machines.uuid("GPU", 7)], done.stderr


@pytest.fixture
def specification(eight: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A specification of two GPUs, of a kind that no real device of this machine has."""
    monkeypatch.setattr(cdi, "KIND", f"repro-test-{os.getpid()}.example/gpu")  # one that no other test describes
    library = {"hostPath": f"{eight}/usr/lib64/libnvidia-ml.so.{machines.VERSION}", "options": ["ro", "bind"]}
    document = {
        "cdiVersion": "0.5.0",
        "kind": cdi.KIND,
        "containerEdits": {
            "deviceNodes": [{"path": "/dev/nvidiactl", "hostPath": f"{eight}/dev/nvidiactl"}],
            "mounts": [{**library, "containerPath": "/lib/libnvidia-ml.so.1"}],
        },
        "devices": [
            {
                "name": machines.uuid("GPU", index),
                "containerEdits": {
                    "deviceNodes": [{"path": f"/dev/nvidia{index}", "hostPath": f"{eight}/dev/nvidia{index}"}]
                },
            }
            for index in (0, 4)
        ],
    }
    path = SPECIFICATIONS / f"repro-test-{os.getpid()}.json"
    try:
        SPECIFICATIONS.mkdir(exist_ok=True)
        path.write_text(json.dumps(document))
    except PermissionError:
        pytest.skip(f"only root can write to {SPECIFICATIONS}")
    try:
        yield
    finally:
        path.unlink()


@pytest.mark.podman
@pytest.mark.usefixtures("specification")
def test_podman_brings_in_what_a_specification_describes(
    eight: Path, probe: bytes, store: Store, tmp_path: Path
) -> None:
    runtime = runtime_of("podman", store, eight)
    passing = passed(runtime, whole(4))
    assert passing.names == (f"{cdi.KIND}={machines.uuid('GPU', 4)}",)
    lines = run(runtime, store, tmp_path, passing, probe)
    assert lines[0] == "CUDA_VISIBLE_DEVICES=0"
    assert lines[3:] == [machines.uuid("GPU", 4)]
    assert passed(runtime, whole(5)).nodes, "what is not described is passed as nodes"


SHOW = (
    "import os, pynvml as n; n.nvmlInit(); "
    "print(*[n.nvmlDeviceGetUUID(n.nvmlDeviceGetHandleByIndex(i)) for i in range(n.nvmlDeviceGetCount())], "
    "os.environ['CUDA_VISIBLE_DEVICES'])"
)


@pytest.mark.network
@pytest.mark.bwrap
def test_the_whole_command_on_a_machine_of_eight(eight: Path, shared_store: Store, tmp_path: Path) -> None:
    """In a sandbox whose `/dev` has the eight GPUs: the caller leaves three of them, and the step asks for two."""
    project = OneStep(tmp_path, shared_store.root)
    project.write("nvidia-ml-py", command=SHOW)
    text = (tmp_path / "repro.toml").read_text()
    (tmp_path / "repro.toml").write_text(text + "[step.look.gpu]\ncount = 2\nnames = ['A100']\nnvlink = true\n")
    project.repro("lock")
    project.repro("build")
    words = ["bwrap", "--bind", "/", "/", "--dev", "/dev"]
    for node in sorted((eight / "dev").iterdir()):
        words += ["--dev-bind", str(node), f"/dev/{node.name}"]
    variables = {"LD_LIBRARY_PATH": str(eight / "usr/lib64"), "CUDA_VISIBLE_DEVICES": "6,2,1"}
    done = subprocess.run(
        [*words, sys.executable, "-m", "repro_env", "exec", "--runtime", "bwrap", "look"],
        cwd=tmp_path,
        env={**project.env, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{machines.uuid('GPU', 2)} {machines.uuid('GPU', 6)} 1,0"]
