"""Step images verify the machine by themselves: started by hand, with no `repro` near, and by `repro exec`.

NVML answers from recorded machines. It is mounted into the containers, as NVIDIA's toolkit mounts the real one.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import machines
import pytest
from onestep import OneStep

from repro_env.image.oci import Image, read_image
from repro_env.image.store import Store
from repro_env.image.unpack import root_filesystem
from repro_env.values import Digest

pytestmark = [pytest.mark.network, pytest.mark.xdist_group("runtimes")]

TIMEOUT = 180
NAME = f"selfcheck{os.getpid()}"  # images are removed by it, which another process's must not be

PROJECT = f"""\
[project]
name = "{NAME}"

[base.slim]
debian = "bookworm"

[step.train]
base = "slim"
python = "3.11"
command = ["python", "-c", "import os; print('trained', os.getpid())"]
code = ["repro.toml"]
outputs = {{}}

[step.train.gpu]
compute-capability = ">=8.0"
memory = "20GiB"

[step.big]
base = "slim"
python = "3.11"
command = ["python", "-c", "print('big')"]
code = ["repro.toml"]

[step.big.host]
memory = "1GiB"
shm = "128MiB"

[step.wide]
base = "slim"
python = "3.11"
command = ["python", "-c", "import os; print(os.statvfs('/dev/shm').f_blocks * os.statvfs('/dev/shm').f_frsize >> 30)"]
code = ["repro.toml"]

[step.wide.host]
cpus = 1
shm = "9GiB"

[step.lost]
base = "slim"
python = "3.11"
command = ["nonesuch"]
code = ["repro.toml"]

[step.lost.host]
cpus = 1

[step.free]
base = "slim"
python = "3.11"
command = ["python", "-c", "print('free')"]
code = ["repro.toml"]
"""


@dataclass(frozen=True, slots=True)
class Built:
    """The project, built: the store that has its images, and their digests."""

    project: OneStep
    store: Store
    images: Mapping[str, Digest]

    def image(self, step: str) -> Image:
        return read_image(self.store, self.images[step])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, shared_store: Store) -> Built:
    project = OneStep(tmp_path_factory.mktemp("project"), shared_store.root)
    (project.root / "repro.toml").write_text(PROJECT)
    project.repro("lock")
    document = json.loads(project.repro("build", "--json").stdout)
    images = {one["step"]: Digest.parse(one["image"]) for one in document["images"]}
    return Built(project, shared_store, images)


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> machines.Nvml:
    found = machines.build(tmp_path_factory.mktemp("nvml"))
    if found is None:
        pytest.skip("there is no C compiler")
    return found


Start = Callable[..., subprocess.CompletedProcess[str]]


def by_engine(engine: str) -> Start:
    """Start a step's image with `docker run` or `podman run`, as a person or a scheduler would."""

    def start(
        _built: Built,
        step: str,
        *command: str,
        env: Mapping[str, str] | None = None,
        mounts: Mapping[Path, str] | None = None,
        options: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        words = [engine, "run", "--rm", "--network", "none", *options]
        words += [word for source, target in (mounts or {}).items() for word in ("--volume", f"{source}:{target}")]
        words += [word for name, value in (env or {}).items() for word in ("--env", f"{name}={value}")]
        return run([*words, f"{NAME}/{step}", *command])

    return start


def by_bwrap(
    built: Built,
    step: str,
    *command: str,
    env: Mapping[str, str] | None = None,
    mounts: Mapping[Path, str] | None = None,
    options: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Start the same as an unpacked root filesystem with what its config says."""
    image = built.image(step)
    root = root_filesystem(built.store, image.layers)
    words = [
        "bwrap",
        "--unshare-all",
        "--ro-bind",
        str(root),
        "/",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/mnt",
    ]
    words += [word for source, target in (mounts or {}).items() for word in ("--bind", str(source), target)]
    words += [*options, "--chdir", image.workdir, "--clearenv"]
    words += [word for name, value in {**image.env, **(env or {})}.items() for word in ("--setenv", name, value)]
    return run([*words, "--", *image.entrypoint, *(command or image.command)])


def run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=TIMEOUT)


@pytest.fixture(
    params=[
        pytest.param("bwrap", marks=pytest.mark.bwrap),
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("podman", marks=pytest.mark.podman),
    ]
)
def start(request: pytest.FixtureRequest) -> Start:
    """Each engine, into which the images were loaded."""
    if request.param == "bwrap":
        return by_bwrap
    request.getfixturevalue(f"in_{request.param}")
    return by_engine(request.param)


@pytest.fixture(scope="module")
def in_docker(built: Built) -> None:
    built.project.repro("build", "--load", "docker")


@pytest.fixture(scope="module")
def in_podman(built: Built) -> None:
    built.project.repro("build", "--load", "podman")


@pytest.fixture(scope="module", autouse=True)
def _no_image_is_left() -> Iterator[None]:
    yield
    for engine in ("docker", "podman"):
        if machine.absence(engine) is None:
            found = run([engine, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]).stdout.split()
            mine = [name for name in found if f"{NAME}/" in name or f"/{NAME}-" in name]
            if mine:
                run([engine, "image", "rm", "--force", *mine])


def seen(nvml: machines.Nvml, name: str) -> dict[str, Any]:
    """Return what lets a container see a recorded machine's GPUs."""
    inside = "/mnt/nvml"
    nvml.environment(name)
    env = {"LD_LIBRARY_PATH": inside, "REPRO_TEST_NVML": f"{inside}/{name}.table"}
    return {"env": env, "mounts": {nvml.directory: inside}}


def with_env(given: dict[str, Any], **more: str) -> dict[str, Any]:
    return {**given, "env": {**given["env"], **more}}


def test_a_machine_that_will_do(built: Built, nvml: machines.Nvml, start: Start) -> None:
    done = start(built, "train", **seen(nvml, "h100"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("trained")


def test_a_machine_that_will_not(built: Built, nvml: machines.Nvml, start: Start) -> None:
    done = start(built, "train", **seen(nvml, "t4"))
    assert done.returncode == 122
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == "error: this machine is not what step train needs"
    assert "  memory: needed 20.0 GiB of GPU memory, found GPU 0 (Tesla T4): 15.0 GiB" in lines
    assert "  compute-capability: needed compute capability >=8.0, found GPU 0 (Tesla T4): 7.5" in lines
    assert lines[-1].startswith("hint: to go on all the same: REPRO_ALLOW=memory,compute-capability in ")


def test_no_driver(built: Built, start: Start) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a driver")
    done = start(built, "train")
    assert done.returncode == 122
    assert "gpu: needed NVIDIA's driver, found no NVIDIA driver" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"REPRO_VERIFY": "warn"}, "warning: REPRO_VERIFY=warn: step train goes on although"),
        ({"REPRO_VERIFY": "off"}, "warning: REPRO_VERIFY=off: whether this machine is what the step needs"),
        ({"REPRO_ALLOW": "memory,compute-capability"}, "warning: step train goes on although this machine is not"),
    ],
)
def test_going_on_all_the_same(
    built: Built, nvml: machines.Nvml, start: Start, variables: dict[str, str], said: str
) -> None:
    done = start(built, "train", **with_env(seen(nvml, "t4"), **variables))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("trained")
    assert done.stderr.startswith(said)


def test_findings_as_a_file(built: Built, nvml: machines.Nvml, start: Start, tmp_path: Path) -> None:
    given = with_env(seen(nvml, "a100-8x"), REPRO_FINDINGS="/repro/output/verify.json")
    given["mounts"] = {**given["mounts"], tmp_path: "/repro/output"}
    assert start(built, "train", **given).returncode == 0
    document = json.loads((tmp_path / "verify.json").read_text())
    assert (document["ok"], document["started"], document["step"]) == (True, True, "train")
    assert len(document["facts"]["gpus"]) == 8
    assert document["facts"]["driver"] == machines.profile("a100-8x")["driver"]


def test_another_command_is_verified_too(built: Built, nvml: machines.Nvml, start: Start) -> None:
    done = start(built, "train", "sh", "-c", "echo mine; exit 5", **seen(nvml, "h100"))
    assert (done.returncode, done.stdout) == (5, "mine\n")
    assert start(built, "train", "sh", "-c", "echo mine", **seen(nvml, "t4")).returncode == 122


def test_a_step_that_asks_nothing_is_started_as_ever(built: Built, start: Start) -> None:
    done = start(built, "free")
    assert (done.returncode, done.stdout, done.stderr) == (0, "free\n", "")


def test_a_broken_slice(built: Built, start: Start, tmp_path: Path) -> None:
    (tmp_path / "needs.json").write_text("{")
    done = start(built, "big", mounts={tmp_path / "needs.json": "/repro/needs.json"})
    assert done.returncode == 121
    assert done.stderr.startswith("error: /repro/needs.json does not say what the step needs\n")


def test_a_command_that_is_not_there(built: Built, nvml: machines.Nvml, start: Start) -> None:
    done = start(built, "train", "nonesuch", **seen(nvml, "h100"))
    assert (done.returncode, done.stderr.splitlines()[0]) == (123, "error: nonesuch cannot be started")


@pytest.mark.docker
def test_the_containers_own_limits_count(built: Built, in_docker: None) -> None:
    docker = by_engine("docker")
    assert docker(built, "big", options=["--shm-size", "256m"]).stdout == "big\n"
    small = docker(built, "big", options=["--shm-size", "64m"])
    assert small.returncode == 122
    assert "shm: needed 128.0 MiB of /dev/shm, found 64.0 MiB" in small.stderr
    little = docker(built, "big", options=["--shm-size", "256m", "--memory", "256m"])
    assert little.returncode == 122
    assert "host-memory: needed 1.0 GiB of memory, found 256.0 MiB" in little.stderr


@pytest.mark.docker
def test_the_command_is_the_containers_first_process(built: Built, nvml: machines.Nvml, in_docker: None) -> None:
    docker = by_engine("docker")
    assert docker(built, "train", **seen(nvml, "h100")).stdout == "trained 1\n"


@pytest.mark.docker
def test_docker_stop_reaches_the_command(built: Built, nvml: machines.Nvml, in_docker: None) -> None:
    trap = "trap 'echo stopped; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    given = seen(nvml, "h100")
    words = ["docker", "run", "--name", f"{NAME}-stop", "--detach"]
    words += [word for source, target in given["mounts"].items() for word in ("--volume", f"{source}:{target}")]
    words += [word for name, value in given["env"].items() for word in ("--env", f"{name}={value}")]
    try:
        assert run([*words, f"{NAME}/train", "sh", "-c", trap]).returncode == 0
        until_ready = f"until docker logs {NAME}-stop | grep -q ready; do sleep 0.1; done"
        assert run(["timeout", "60", "sh", "-c", until_ready]).returncode == 0
        run(["docker", "stop", "--time", "20", f"{NAME}-stop"])
        assert run(["docker", "wait", f"{NAME}-stop"]).stdout.strip() == "9"
    finally:
        run(["docker", "rm", "--force", f"{NAME}-stop"])


@pytest.mark.docker
def test_another_entry_point_is_not_verified(built: Built, in_docker: None) -> None:
    done = run(["docker", "run", "--rm", "--entrypoint", "echo", f"{NAME}/train", "mine"])
    assert (done.returncode, done.stdout) == (0, "mine\n")


runtimes = pytest.mark.parametrize(
    "runtime",
    [
        pytest.param("bwrap", marks=pytest.mark.bwrap),
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("podman", marks=pytest.mark.podman),
    ],
)


@pytest.mark.bwrap
@pytest.mark.parametrize(("suite", "python"), [("bullseye", "3.9"), ("trixie", "3.13")])
def test_an_older_and_a_newer_python(
    suite: str, python: str, nvml: machines.Nvml, shared_store: Store, tmp_path: Path
) -> None:
    project = OneStep(tmp_path, shared_store.root)
    project.write(suite=suite, python=python, command="import sys; print(sys.version_info[1])")
    with (tmp_path / "repro.toml").open("a") as file:
        file.write('[step.look.gpu]\ncompute-capability = ">=8.0"\n[step.look.host]\ncpus = 1\n')
    project.repro("lock")
    (image,) = json.loads(project.repro("build", "--json").stdout)["images"]
    built = Built(project, shared_store, {"look": Digest.parse(image["image"])})
    assert by_bwrap(built, "look", **seen(nvml, "h100")).stdout == f"{python.partition('.')[2]}\n"
    wrong = by_bwrap(built, "look", **seen(nvml, "t4"))
    assert (wrong.returncode, wrong.stdout) == (122, "")
    assert "compute-capability: needed compute capability >=8.0, found GPU 0 (Tesla T4): 7.5" in wrong.stderr


def verification(built: Built) -> dict[str, Any]:
    """Return what the newest run wrote of its machine."""
    records = (built.project.root / ".repro" / "runs").glob("*/record.json")
    newest = max(records, key=lambda path: path.stat().st_mtime_ns).parent
    document: dict[str, Any] = json.loads((newest / "verify.json").read_text())
    assert not (newest / "check").exists()
    return document


@runtimes
def test_exec_judges_the_containers_shared_memory(built: Built, runtime: str) -> None:
    """Of which it gives the step what it asks for, whatever this machine's own is."""
    done = built.project.repro("exec", "--runtime", runtime, "wide")
    assert done.stdout == "9\n"
    document = verification(built)
    assert (document["ok"], document["started"]) == (True, True)
    assert [(one["name"], one["status"]) for one in document["findings"]] == [
        ("platform", "ok"),
        ("cpus", "ok"),
        ("shm", "ok"),
    ]
    assert document["facts"]["host"]["shm"] == 9 << 30


@pytest.fixture
def impossible(built: Built) -> Iterator[None]:
    """A step that no machine will do for: it may run where that is allowed."""
    path = built.project.root / "repro.toml"
    text = path.read_text()
    path.write_text(text.replace("cpus = 1\n", "cpus = 90000\n"))
    built.project.repro("lock")
    yield
    path.write_text(text)
    built.project.repro("lock")


@runtimes
def test_exec_says_a_mismatch_once(built: Built, runtime: str, impossible: None) -> None:
    done = built.project.repro("exec", "--runtime", runtime, "wide", status=122)
    assert done.stderr.count("cpus: needed 90000 CPUs") == 1
    assert done.stdout == ""


@runtimes
def test_exec_passes_on_what_is_allowed(built: Built, runtime: str, impossible: None) -> None:
    done = built.project.repro("exec", "--runtime", runtime, "--allow", "cpus", "wide")
    assert done.stdout == "9\n"
    assert done.stderr.count("cpus: needed 90000 CPUs") == 1
    (finding,) = [one for one in verification(built)["findings"] if one["name"] == "cpus"]
    assert (finding["status"], finding["allowed"]) == ("mismatch", True)


@runtimes
def test_exec_says_that_a_command_was_not_started(built: Built, runtime: str) -> None:
    done = built.project.repro("exec", "--runtime", runtime, "lost", status=123)
    assert "error: nonesuch cannot be started\n  No such file or directory\n" in done.stderr
    assert done.stderr.rstrip().endswith("ended before the step's command was started")
    assert verification(built)["started"] is False


@runtimes
def test_exec_leaves_a_step_that_asks_nothing_alone(built: Built, runtime: str) -> None:
    done = built.project.repro("exec", "--runtime", runtime, "free")
    assert done.stdout == "free\n"
    with pytest.raises(FileNotFoundError):
        verification(built)


def test_the_same_bytes_in_another_directory_and_locale(built: Built, tmp_path: Path) -> None:
    project = OneStep(tmp_path, built.store.root)
    for name in ("repro.toml", "repro.lock"):
        (tmp_path / name).write_bytes((built.project.root / name).read_bytes())
    words = ["build", "--json", "train", "big"]
    images = json.loads(project.repro(*words, env={"LC_ALL": "C", "TZ": "Asia/Tokyo"}).stdout)["images"]
    before = json.loads(built.project.repro(*words).stdout)["images"]
    assert [one["image"] for one in images] == [one["image"] for one in before]
