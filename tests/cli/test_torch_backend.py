"""`torch-backend`: PyTorch's packages from an index of their own, and no others, as people lock, check and run it.

PyTorch's index is a stand-in on loopback, and so is PyPI, with tiny wheels under the names of the real ones.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from loopback import Server, serve, write_simple_index
from projects import PYTHON, OnDisk
from wheelmaker import simple_wheel

from repro_env.lock.dump import dump_lock
from repro_env.lock.model import Environment, Lock
from repro_env.lock.parse import parse_lock

TOML = f"""\
[project]
name = "vision"

[base.slim]
debian = "bookworm"

[step.train]
base = "slim"
python = "{PYTHON}"
command = ["python", "-c", "import torch, torchvision, num; print(torch.__name__)"]
code = []
"""
ASKED = 'dependencies = ["accel", "torchvision>=0.20", "num"]\n'


@dataclass(frozen=True, slots=True)
class World:
    """A project, the index of all packages, and the mirror with an index for each backend."""

    project: OnDisk
    pypi: Server
    mirror: Server

    def asks(self, backend: str) -> None:
        """Let the step ask for packages, of this backend if any."""
        line = f'torch-backend = "{backend}"\n' if backend else ""
        self.project.write("repro.toml", TOML + ASKED + line)

    def locked(self) -> Environment:
        (environment,) = self.lock().steps["train"].environments.values()
        return environment

    def lock(self) -> Lock:
        return parse_lock((self.project.root / "repro.lock").read_text())

    def versions(self) -> dict[str, str]:
        return dict(self.locked().versions)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = {name: tmp_path / name for name in ("pypi", "cu126", "cu128")}
    for directory in made.values():
        directory.mkdir()
    for name, version in (("num", "2.0"), ("torch", "2.9.0"), ("torchvision", "0.24.0")):
        simple_wheel(made["pypi"], name, version)
    simple_wheel(made["pypi"], "accel", "1.0", requires=["torch>=2", "num"])
    for backend in ("cu126", "cu128"):
        simple_wheel(made[backend], "torch", f"2.7.0+{backend}", requires=["num"])
        simple_wheel(made[backend], "torchvision", f"0.22.0+{backend}", requires=["torch==2.7.0"])
        simple_wheel(made[backend], "num", "1.0")  # PyTorch's indexes have old copies of other packages, too
    write_simple_index(tmp_path / "served", sorted(made["pypi"].iterdir()))
    for backend in ("cu126", "cu128"):
        write_simple_index(tmp_path / "made" / backend, sorted(made[backend].iterdir()))
        shutil.copytree(tmp_path / "made" / backend / "simple", tmp_path / "whl" / backend)
        shutil.copytree(tmp_path / "made" / backend / "files", tmp_path / "files", dirs_exist_ok=True)
    shutil.copytree(tmp_path / "files", tmp_path / "whl" / "files")
    with serve(tmp_path / "served") as pypi, serve(tmp_path / "whl") as mirror:
        env = {
            "UV_DEFAULT_INDEX": f"{pypi.url}/simple",
            "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
            "REPRO_TORCH_MIRROR": f"{mirror.url}/",
        }
        project = OnDisk(tmp_path / "project", env)
        project.write("repro.toml", TOML)
        project.write("repro.lock", dump_lock(project.lock()))  # the base stands: only packages are to be resolved
        yield World(project, pypi, mirror)


def test_torchs_packages_come_from_their_index_and_no_others_do(world: World) -> None:
    world.asks("cu128")
    answer = world.project.repro("lock")
    assert answer.status == 0, answer
    assert "torch-backend: none -> cu128" in answer.stdout
    assert "CUDA: none" not in answer.stdout
    assert "+ CUDA: 12.8 from torch 2.7.0+cu128" in answer.stdout
    assert world.versions() == {
        "accel": "1.0",
        "num": "2.0",
        "torch": "2.7.0+cu128",
        "torchvision": "0.22.0+cu128",
    }
    urls = {wheel.name: wheel.url for wheel in world.locked().wheels}
    assert urls["torch"].startswith(f"{world.mirror.url}/files/torch-2.7.0")
    assert urls["num"].startswith(world.pypi.url)
    facts = world.locked().cuda
    assert facts is not None
    assert (facts.runtime, facts.driver) == ("12.8", "525.60.13")
    assert world.project.repro("lock", "--check").status == 0


def test_without_a_backend_the_index_of_all_others_counts(world: World) -> None:
    world.asks("")
    assert world.project.repro("lock").status == 0
    assert world.versions()["torch"] == "2.9.0"
    assert world.locked().cuda is None
    assert not world.mirror.log


def test_another_backend_is_drift_and_other_packages(world: World) -> None:
    world.asks("cu126")
    assert world.project.repro("lock").status == 0
    world.asks("cu128")
    stale = world.project.repro("lock", "--check")
    assert stale.status == 4
    assert "step train: torch-backend changed" in stale.stderr
    assert "requirements changed" not in stale.stderr
    answer = world.project.repro("lock")
    assert "torch 2.7.0+cu126 -> 2.7.0+cu128" in answer.stdout
    assert "torch-backend: cu126 -> cu128" in answer.stdout
    assert "CUDA: 12.6 from torch 2.7.0+cu126 -> 12.8 from torch 2.7.0+cu128" in answer.stdout


def test_the_users_variable_does_not_decide_what_is_locked(world: World) -> None:
    world.asks("")
    automatic = OnDisk(world.project.root, {**world.project.env, "UV_TORCH_BACKEND": "auto"})
    assert automatic.repro("lock").status == 0
    assert world.versions()["torch"] == "2.9.0"


def test_a_backend_that_the_mirror_does_not_have(world: World) -> None:
    world.asks("rocm6.3")
    answer = world.project.repro("lock")
    assert answer.status == 6
    assert f"there is no PyTorch at {world.mirror.url}/rocm6.3" in answer.stderr
    assert "REPRO_TORCH_MIRROR" in answer.stderr


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("cu12.8", "did you mean cu128?"),
        ("CU128", "did you mean cu128?"),
        ("rocm6.9", "did you mean rocm6."),
        ("metal", "known are cpu, cu132"),
        ("auto", "would depend on the machine that locks"),
    ],
)
def test_a_backend_that_is_none(world: World, backend: str, said: str) -> None:
    world.asks(backend)
    answer = world.project.repro("lock")
    assert answer.status == 3
    assert "step.train.torch-backend" in answer.stderr
    assert said in answer.stderr


def test_the_users_own_index_for_torch_goes_first(world: World) -> None:
    world.asks("cu128")
    pyproject = f"""
[tool.uv.sources]
torchvision = {{ index = "own" }}
torch = {{ index = "own" }}

[[tool.uv.index]]
name = "own"
url = "{world.mirror.url}/cu126"
explicit = true
"""
    world.project.write("pyproject.toml", pyproject)
    assert world.project.repro("lock").status == 0
    assert world.versions()["torchvision"] == "0.22.0+cu126"


def test_what_was_locked_behind_one_mirror_runs_behind_another(world: World, tmp_path: Path) -> None:
    world.asks("cu128")
    assert world.project.repro("lock").status == 0
    with serve(tmp_path / "whl") as other:
        moved = world.project.root / "repro.lock"
        moved.write_text(moved.read_text().replace(world.mirror.url, "http://127.0.0.1:9"))
        behind = OnDisk(world.project.root, {**world.project.env, "REPRO_TORCH_MIRROR": other.url})
        answer = behind.repro("exec", "--runtime", "venv", "train")
        assert answer.status == 0, answer
        assert "torch\n" in answer.stdout + answer.stderr
        assert other.asked("/cu128/torch/")


def test_a_mirror_may_be_a_directory(world: World, tmp_path: Path) -> None:
    world.asks("cu128")
    beside = OnDisk(world.project.root, {**world.project.env, "REPRO_TORCH_MIRROR": (tmp_path / "whl").as_uri()})
    assert beside.repro("lock").status == 0
    assert world.versions()["torch"] == "2.7.0+cu128"
    (wheel,) = (one for one in world.locked().wheels if one.name == "torch")
    assert wheel.url.startswith("file://")
    assert not world.mirror.log


def test_an_address_that_is_none(world: World) -> None:
    world.asks("cu128")
    wrong = OnDisk(world.project.root, {**world.project.env, "REPRO_TORCH_MIRROR": "mirror.example/whl"})
    answer = wrong.repro("lock")
    assert answer.status == 2
    assert "REPRO_TORCH_MIRROR is no address" in answer.stderr
