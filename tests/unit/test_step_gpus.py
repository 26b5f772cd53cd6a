"""Which GPUs a step is given, and what has to be passed for that."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import locks
import pytest

from repro_env.cli.gpus import with_compat
from repro_env.config.machine import GpuRequest
from repro_env.edges.report import Silent
from repro_env.image.store import Store
from repro_env.lock.cuda import CudaCompat
from repro_env.run import cdi, driver
from repro_env.run.driver import DriverFiles, Library, chosen, listed
from repro_env.run.find_driver import find_driver
from repro_env.run.gpus import LIBRARIES, GpuDevice, GpuGrant, Passing, capabilities, selection
from repro_env.run.runtimes.base import Unavailable
from repro_env.run.runtimes.docker import Docker, engine_passing
from repro_env.run.runtimes.podman import knows_cdi
from repro_env.verify.facts import Facts, Gpu, Host
from repro_env.verify.gpu_choice import choose_gpus

GIB = 2**30


def gpu(index: int, memory: int = 80, **others: object) -> Gpu:
    return Gpu(index=index, uuid=f"GPU-{index}", name="A100", memory=memory * GIB, **others)  # type: ignore[arg-type]


def indices(gpus: Sequence[Gpu]) -> list[int]:
    return [gpu.index for gpu in gpus]


# Which


def test_as_many_as_are_asked_for_in_the_order_they_are_seen() -> None:
    assert indices(choose_gpus(GpuRequest(count=2), [gpu(3), gpu(1), gpu(0)])) == [3, 1]


def test_those_that_are_what_is_asked_for_go_first() -> None:
    machine = [gpu(0, 16), gpu(1), gpu(2, 16), gpu(3)]
    assert indices(choose_gpus(GpuRequest(count=2, memory=40 * GIB), machine)) == [1, 3]


def test_others_take_the_places_that_are_left_so_that_checks_can_tell_of_them() -> None:
    machine = [gpu(0, 16), gpu(1), gpu(2, problem="GPU is lost")]
    assert indices(choose_gpus(GpuRequest(count=2, memory=40 * GIB), machine)) == [1, 0]
    assert indices(choose_gpus(GpuRequest(count=4), machine)) == [0, 1, 2]


def test_a_broken_gpu_is_passed_over() -> None:
    assert indices(choose_gpus(GpuRequest(), [gpu(0, problem="GPU is lost"), gpu(1)])) == [1]


def test_linked_ones_are_taken_together() -> None:
    pairs = [gpu(0, nvlinks=(2,)), gpu(1, nvlinks=(3,)), gpu(2, nvlinks=(0,)), gpu(3, nvlinks=(1,))]
    assert indices(choose_gpus(GpuRequest(count=2, nvlink=True), pairs)) == [0, 2]
    assert indices(choose_gpus(GpuRequest(count=2, nvlink=True), pairs[1:])) == [1, 3]
    assert indices(choose_gpus(GpuRequest(count=3, nvlink=True), pairs)) == [0, 1, 2]  # which the checks refuse
    assert indices(choose_gpus(GpuRequest(count=2, peer_access=True), pairs)) == [0, 1]


# How the step counts them


def grant(*devices: GpuDevice, **others: object) -> GpuGrant:
    return GpuGrant(devices=devices or (device(1),), driver="580.65.06", **others)  # type: ignore[arg-type]


def device(index: int, **others: object) -> GpuDevice:
    return GpuDevice(index=index, uuid=f"GPU-{index}", minor=index, **others)  # type: ignore[arg-type]


MIG = GpuDevice(index=0, uuid="MIG-3", minor=0, instance=(3, 0))


@pytest.mark.parametrize(
    ("devices", "here", "inside"),
    [
        ((device(1),), "1", "0"),
        ((device(3), device(1)), "3,1", "1,0"),
        ((device(0), device(1)), "0,1", "0,1"),
        ((MIG,), "MIG-3", "MIG-3"),
    ],
)
def test_devices_are_counted_from_0_where_the_step_has_no_others(
    devices: tuple[GpuDevice, ...], here: str, inside: str
) -> None:
    assert selection(grant(*devices), renumbered=False)["CUDA_VISIBLE_DEVICES"] == here
    assert selection(grant(*devices), renumbered=True)["CUDA_VISIBLE_DEVICES"] == inside


def test_capabilities_are_those_declared_or_the_usual_ones() -> None:
    assert capabilities("") == {"compute", "utility"}
    assert capabilities("compute, video") == {"compute", "video"}


# By CDI

SPECIFICATION = """\
---
cdiVersion: 0.5.0
containerEdits:
  deviceNodes:
  - path: /dev/nvidiactl
  hooks:
  - args:
    - nvidia-cdi-hook
    - create-symlinks
    hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
    additionalGids:
    - 44
  name: "0"
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia1
  name: GPU-1
- name: all
  containerEdits:
    env:
    - name: unrelated
kind: nvidia.com/gpu
"""


def test_a_specification_as_the_toolkit_writes_it() -> None:
    assert cdi.device_names(SPECIFICATION) == {"0", "GPU-1", "all"}


def test_one_with_deeper_items() -> None:
    text = 'kind: "nvidia.com/gpu"\ndevices:\n  - name: GPU-0\n    containerEdits:\n      env:\n        - A=b\n'
    assert cdi.device_names(text) == {"GPU-0"}


def test_one_in_json() -> None:
    document = {"kind": cdi.KIND, "devices": [{"name": "GPU-0"}, {"name": "0"}, {}]}
    assert cdi.device_names(json.dumps(document)) == {"GPU-0", "0"}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"kind": "nvidia.com/gpu", "devices": 3}', "kind: amd.com/gpu\ndevices:\n- name: x\n", "\0"],
)
def test_what_describes_no_gpu_of_nvidia(text: str) -> None:
    assert cdi.device_names(text) == set()


def test_specifications_of_a_machine(tmp_path: Path) -> None:
    (tmp_path / "nvidia.yaml").write_text(SPECIFICATION)
    (tmp_path / "more.json").write_text(json.dumps({"kind": cdi.KIND, "devices": [{"name": "GPU-7"}]}))
    (tmp_path / "bad.yaml").write_bytes(b"\xff")
    assert cdi.described([tmp_path, tmp_path / "none"]) == {"0", "GPU-1", "GPU-7", "all"}


@pytest.mark.parametrize(
    ("granted", "known", "names"),
    [
        (grant(), {"1", "GPU-1", "all"}, ("nvidia.com/gpu=GPU-1",)),
        (grant(), {"0", "1"}, ("nvidia.com/gpu=1",)),
        (grant(device(0), device(1)), {"0", "GPU-1"}, ("nvidia.com/gpu=0", "nvidia.com/gpu=GPU-1")),
        (grant(everything=True), {"all"}, ("nvidia.com/gpu=all",)),
        (grant(MIG), {"MIG-3", "0", "0:0"}, ("nvidia.com/gpu=MIG-3",)),
    ],
)
def test_devices_by_name(granted: GpuGrant, known: set[str], names: tuple[str, ...]) -> None:
    found = cdi.passing(granted, known)
    assert found is not None
    assert found.names == names
    assert found.variables["NVIDIA_VISIBLE_DEVICES"] == "void"


@pytest.mark.parametrize("known", [set(), {"0"}, {"all"}])
def test_what_a_specification_does_not_describe(known: set[str]) -> None:
    assert cdi.passing(grant(), known) is None


def test_a_part_of_a_gpu_is_not_asked_for_as_the_whole() -> None:
    assert cdi.passing(grant(MIG), {"0", "0:0"}) is None


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("podman version 4.3.1\n", True),
        ("podman version 4.1.0-dev\n", True),
        ("podman version 5.0.0\n", True),
        ("podman version 3.4.4\n", False),
        ("", False),
    ],
)
def test_podman_takes_names_of_cdi_from_a_version_on(said: str, known: bool) -> None:
    assert knows_cdi(said) is known


# By docker's own means


def test_docker_uses_cdi_then_its_runtime_then_neither() -> None:
    known = {"GPU-1"}
    by_cdi = engine_passing(grant(), {"CDISpecDirs": ["/etc/cdi"]}, known, hook=True)
    assert by_cdi is not None
    assert by_cdi.names == ("nvidia.com/gpu=GPU-1",)
    for info, hook in (({"Runtimes": {"nvidia": {}}}, False), ({"CDISpecDirs": None}, True)):
        by_runtime = engine_passing(grant(), info, known, hook=hook)
        assert by_runtime is not None
        assert by_runtime.names == ("GPU-1",)
        assert by_runtime.variables["NVIDIA_VISIBLE_DEVICES"] == "GPU-1"
    assert engine_passing(grant(), {"CDISpecDirs": [], "Runtimes": {"runc": {}}}, known, hook=False) is None
    assert engine_passing(grant(), {"CDISpecDirs": ["/etc/cdi"]}, {"0"}, hook=False) is None


def test_an_engine_that_does_not_answer_gives_no_gpus(store: Store, tmp_path: Path) -> None:
    runtime = Docker(store, Silent(), {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    found = runtime.pass_gpus(grant())
    assert isinstance(found, Unavailable)
    assert "does not answer" in found.reason


class Refusing(socketserver.StreamRequestHandler):
    """Answers whatever is asked with an error, as an engine that a proxy stands before."""

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\nConnection: close\r\n\r\nforbidden")


def test_an_engine_that_refuses_to_answer_gives_no_gpus(store: Store, tmp_path: Path) -> None:
    with socketserver.ThreadingUnixStreamServer(f"{tmp_path}/engine.sock", Refusing) as engine:
        threading.Thread(target=engine.serve_forever, daemon=True).start()
        found = Docker(store, Silent(), {"DOCKER_HOST": f"unix://{engine.server_address}"}).pass_gpus(grant())
        engine.shutdown()
    assert isinstance(found, Unavailable)
    assert "403" in found.reason or "forbidden" in found.reason.lower()


# As files

CACHE = """\
4 libs found in cache `/etc/ld.so.cache'
\tlibcuda.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libcuda.so.1
\tlibcuda.so.1 (libc6) => /lib/i386-linux-gnu/libcuda.so.1
\tlibcuda.so.1 (libc6,AArch64) => /lib/aarch64-linux-gnu/libcuda.so.1
\tld-linux.so.2 (ELF) => /lib/ld-linux.so.2
Cache generated by: ldconfig (Debian GLIBC 2.36-9+deb12u10) stable release version 2.36
"""


def test_libraries_of_this_architecture_are_read_from_the_loaders_cache() -> None:
    assert list(listed(CACHE, "x86_64")) == [("libcuda.so.1", "/lib/x86_64-linux-gnu/libcuda.so.1")]
    assert list(listed(CACHE, "aarch64")) == [("libcuda.so.1", "/lib/aarch64-linux-gnu/libcuda.so.1")]


def library(name: str, version: str = "580.65.06", place: str = "/usr/lib") -> Library:
    return Library(name, Path(f"{place}/{name.partition('.so')[0]}.so.{version}"))


def test_the_driver_s_libraries_and_no_others() -> None:
    found = [
        library("libcuda.so.1"),
        library("libcuda.so.580.65.06"),
        library("libcuda.so"),
        library("libcudart.so.12"),
        library("libnvidia-gpucomp.so.580.65.06"),
        library("libnvidia-ml.so.1"),
        library("libnvidia-glcore.so.580.65.06"),
        library("libnvidia-pkcs11-openssl3.so.580.65.06"),
        library("libnvcuvid.so.1"),
    ]
    names = [one.name for one in chosen(found, "580.65.06", {"compute", "utility"})]
    assert names == [
        "libcuda.so.1",
        "libnvidia-gpucomp.so.580.65.06",
        "libnvidia-ml.so.1",
        "libnvidia-pkcs11-openssl3.so.580.65.06",
    ]
    assert [one.name for one in chosen(found, "580.65.06", {"video"})] == ["libnvcuvid.so.1"]
    assert "libnvcuvid.so.1" in [one.name for one in chosen(found, "580.65.06", {"all"})]


def test_the_library_of_the_drivers_own_version_goes_before_the_first() -> None:
    compat, own, copy = (
        library("libcuda.so.1", "590.44.01", "/compat"),
        library("libcuda.so.1"),
        library("libcuda.so.1"),
    )
    assert chosen([compat, own, copy], "580.65.06", {"compute"}) == (own,)
    assert chosen([compat, own], "", {"compute"}) == (compat,)
    assert chosen([compat], "580.65.06", {"compute"}) == (compat,)


def test_nodes_and_files_are_passed_where_the_step_looks() -> None:
    files = DriverFiles(
        nodes=(Path("/driver/dev/nvidiactl"), Path("/driver/dev/nvidia-caps/nvidia-cap21")),
        libraries=(library("libcuda.so.1"),),
        smi=Path("/usr/bin/nvidia-smi"),
    )
    found = driver.passing(grant(), files)
    assert [node.target for node in found.nodes] == ["/dev/nvidiactl", "/dev/nvidia-caps/nvidia-cap21"]
    assert {mount.target: str(mount.source) for mount in found.mounts} == {
        f"{LIBRARIES}/libcuda.so.1": "/usr/lib/libcuda.so.580.65.06",
        f"{LIBRARIES}/libcuda.so": "/usr/lib/libcuda.so.580.65.06",
        "/run/repro/driver/bin/nvidia-smi": "/usr/bin/nvidia-smi",
    }
    assert all(mount.read_only for mount in found.mounts)
    assert found.paths == {"LD_LIBRARY_PATH": LIBRARIES, "PATH": "/run/repro/driver/bin"}


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The root of a driver: nodes, which are plain files here, and libraries."""
    for name in (
        "nvidiactl",
        "nvidia-uvm",
        "nvidia0",
        "nvidia1",
        "nvidia-caps/nvidia-cap21",
        "nvidia-caps/nvidia-cap22",
    ):
        path = tmp_path / "dev" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    mig = tmp_path / "proc/driver/nvidia/capabilities/gpu0/mig/gi3"
    (mig / "ci0").mkdir(parents=True)
    (mig / "access").write_text("DeviceFileMinor: 21\nDeviceFileMode: 292\n")
    (mig / "ci0/access").write_text("DeviceFileMinor: 22\nDeviceFileMode: 292\n")
    libraries = tmp_path / "usr/lib64"
    libraries.mkdir(parents=True)
    for name, soname in (("libcuda.so.580.65.06", "libcuda.so.1"), ("libnvidia-ml.so.580.65.06", "libnvidia-ml.so.1")):
        (libraries / name).touch()
        (libraries / soname).symlink_to(name)
    return tmp_path


def test_what_is_found_on_a_machine(machine: Path) -> None:
    files = find_driver(grant(), root=machine, environ={})
    assert files.lacking == ""
    assert [str(node.relative_to(machine)) for node in files.nodes] == [
        "dev/nvidiactl",
        "dev/nvidia-uvm",
        "dev/nvidia1",
    ]
    assert [(one.name, one.file.name) for one in files.libraries] == [
        ("libcuda.so.1", "libcuda.so.580.65.06"),
        ("libnvidia-ml.so.1", "libnvidia-ml.so.580.65.06"),
    ]
    assert files.unlisted == machine / "usr/lib64"


def test_the_nodes_of_an_instance_of_mig(machine: Path) -> None:
    files = find_driver(grant(MIG), root=machine, environ={})
    assert [node.name for node in files.nodes] == [
        "nvidiactl",
        "nvidia-uvm",
        "nvidia0",
        "nvidia-cap21",
        "nvidia-cap22",
    ]


def test_the_callers_own_directories_are_looked_through_first(machine: Path) -> None:
    own = machine / "own"
    own.mkdir()
    (own / "libcuda.so.1").touch()
    files = find_driver(GpuGrant(devices=(device(0),)), root=machine, environ={"LD_LIBRARY_PATH": f":{own}"})
    assert next(one.file for one in files.libraries if one.name == "libcuda.so.1") == own / "libcuda.so.1"


@pytest.mark.parametrize(
    ("gone", "why"),
    [
        ("dev/nvidia1", "there is no device node {root}/dev/nvidia1"),
        (
            "dev/nvidia-uvm",
            "there is no device node {root}/dev/nvidia-uvm: make it with `sudo nvidia-modprobe -c 0 -u`",
        ),
        ("usr/lib64/libcuda.so.1", "the driver's library libcuda.so.1 was not found"),
    ],
)
def test_what_is_not_there_is_named(machine: Path, gone: str, why: str) -> None:
    (machine / gone).unlink()
    assert find_driver(grant(), root=machine, environ={}).lacking == why.format(root=machine)


def test_wsl_is_named(machine: Path) -> None:
    (machine / "dev/nvidiactl").unlink()
    (machine / "dev/dxg").touch()
    assert "this is WSL" in find_driver(grant(), root=machine, environ={}).lacking


def test_the_node_that_is_made_at_first_use_is_made_before(machine: Path) -> None:
    (machine / "dev/nvidia-uvm").unlink()
    program = machine / "bin/nvidia-modprobe"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$*" = "-c 0 -u" ] && : > {machine}/dev/nvidia-uvm\n')
    program.chmod(0o755)
    files = find_driver(grant(), root=machine, environ={"PATH": str(program.parent)})
    assert machine / "dev/nvidia-uvm" in files.nodes


# What a base has for older drivers

COMPAT = CudaCompat(cuda="13.1", driver="590.44.01", branches=(550,), path="/usr/local/cuda-13.1/compat")


@pytest.mark.parametrize(
    ("found", "brand", "variables", "expected"),
    [
        ("550.54.15", "nvidia", {}, "/usr/local/cuda-13.1/compat"),
        ("550.54.15", "nvidia", {"LD_LIBRARY_PATH": "/own"}, "/usr/local/cuda-13.1/compat:/own"),
        ("550.54.15", "geforce", {"LD_LIBRARY_PATH": "/own"}, None),
        ("590.48.01", "nvidia", {}, None),
    ],
)
def test_what_a_base_has_for_older_drivers_goes_before_the_driver(
    found: str, brand: str, variables: dict[str, str], expected: str | None
) -> None:
    step = replace(locks.churn().steps["train"], gpu=GpuRequest())
    facts = Facts(host=Host(), driver=found, cuda="12.4", gpus=(gpu(0, brand=brand),))
    passing = Passing(paths={"LD_LIBRARY_PATH": LIBRARIES}, variables={"CUDA_VISIBLE_DEVICES": "0"})
    root = replace(locks.image_root(), compat=COMPAT)
    changed = with_compat(passing, root, facts, step, variables)
    assert changed.variables.get("LD_LIBRARY_PATH") == expected
    assert changed.variables["CUDA_VISIBLE_DEVICES"] == "0"
    assert with_compat(passing, replace(root, compat=None), facts, step, variables) == passing
    assert with_compat(passing, locks.root(), facts, step, variables) == passing
