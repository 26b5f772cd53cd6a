"""What a lock keeps, what is resolved again, and with what: a whole project, with resolvers that only answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from locks import AMD64, digest, image_root, interpreter, root, wheel

from repro_env.config.model import DebianBase, ImageBase, Project
from repro_env.config.read import read_project
from repro_env.errors import ResolutionError
from repro_env.lock.cuda import CudaCompat
from repro_env.lock.drift import drift
from repro_env.lock.dump import dump_lock
from repro_env.lock.model import DebianRoot, Interpreter, Lock, LockedBase, Wheel
from repro_env.lock.parse import parse_lock
from repro_env.lock.request import request_digests
from repro_env.resolve.project import Resolution, Upgrade
from repro_env.resolve.python.request import Packages, StepRequest
from repro_env.values import Platform, PythonVersion

TEXT = """
[project]
name = "churn"
[base.slim]
debian = "bookworm"
[step.clean]
base = "slim"
python = "3.11"
dependencies = ["numpy<2"]
command = ["true"]
[step.train]
base = "slim"
python = "3.11"
dependencies = ["numpy>=2"]
command = ["true"]
"""


@dataclass
class World:
    """Resolvers that say what they were asked, and what the index and the mirror hold today."""

    numpy: str = "1.26.4"
    root: DebianRoot = field(default_factory=root)
    bases: list[tuple[str, bool]] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    previous: dict[str, tuple[Wheel, ...]] = field(default_factory=dict)
    interpreters: list[tuple[str, str]] = field(default_factory=list)
    patch: int = 11
    runtime: str = ""
    compat: CudaCompat | None = None

    def base(self, base: DebianBase | ImageBase, previous: LockedBase | None) -> LockedBase:
        self.bases.append((base.name, previous is not None))
        if isinstance(base, ImageBase):
            roots = {AMD64: replace(image_root(), env={}, compat=self.compat)}
            return LockedBase(name=base.name, image=base.image, index=digest("index"), roots=roots)
        return LockedBase(name=base.name, suite=base.debian, roots={AMD64: self.root})

    def python(self, requests: Sequence[StepRequest]) -> dict[tuple[str, Platform], Packages]:
        self.steps += [request.step for request in requests]
        self.previous |= {request.step: request.previous for request in requests}
        runtime = [wheel("nvidia-cuda-runtime-cu12", self.runtime)] if self.runtime else []
        wheels = (wheel("numpy", self.numpy), *runtime)
        return {(request.step, request.platform): Packages(wheels=wheels) for request in requests}

    def interpreter(self, python: PythonVersion, platform: Platform) -> Interpreter:
        self.interpreters.append((str(python), str(platform)))
        return interpreter(f"{python}.{self.patch}", platform.machine)

    def lock(self, text: str, previous: Lock | None = None, upgrade: Upgrade | None = None) -> Lock:
        self.bases.clear()
        self.steps.clear()
        self.interpreters.clear()
        project: Project = read_project(text, file="repro.toml")
        digests = request_digests(project, {})
        lock = Resolution(
            project=project,
            digests=digests,
            sources={},
            data={},
            resolve_base=self.base,
            resolve_python=self.python,
            resolve_interpreter=self.interpreter,
            previous=previous,
            upgrade=upgrade or Upgrade(),
        ).lock()
        assert not drift(lock, project, digests)
        assert parse_lock(dump_lock(lock)) == lock
        return lock


def built(lock: Lock) -> Lock:
    """Return the lock as `repro build` leaves it."""
    steps = {
        name: replace(step, environments={AMD64: replace(step.environments[AMD64], image=digest(name))})
        for name, step in lock.steps.items()
    }
    return replace(lock, steps=steps)


def test_everything_is_resolved_once() -> None:
    world = World()
    lock = world.lock(TEXT)
    assert world.bases == [("slim", False)]
    assert sorted(world.steps) == ["clean", "train"]
    assert lock.steps["clean"].environments[AMD64].interpreter == "3.11.2"


def test_locking_again_asks_nobody_and_changes_nothing() -> None:
    world = World()
    before = built(world.lock(TEXT))
    assert world.lock(TEXT, before) == before
    assert (world.bases, world.steps) == ([], [])


def test_a_command_changes_without_any_resolution() -> None:
    world = World()
    before = built(world.lock(TEXT))
    after = world.lock(TEXT.replace('command = ["true"]', 'command = ["false"]', 1), before)
    assert (world.bases, world.steps) == ([], [])
    assert after.steps["clean"].command == ("false",)
    assert after.steps["clean"].environments == before.steps["clean"].environments


def test_only_the_step_that_changed_is_resolved_again_and_keeps_its_pins_as_wishes() -> None:
    world = World()
    before = built(world.lock(TEXT))
    after = world.lock(TEXT.replace("numpy>=2", "numpy>=2.1"), before)
    assert (world.bases, world.steps) == ([], ["train"])
    assert world.previous["train"] == before.steps["train"].environments[AMD64].wheels
    assert after.steps["clean"] == before.steps["clean"]


def test_the_recorded_image_stays_where_the_same_wheels_come_out() -> None:
    world = World()
    before = built(world.lock(TEXT))
    same = world.lock(TEXT.replace("numpy>=2", "numpy>=1"), before)
    assert same.steps["train"].environments[AMD64].image == digest("train")
    world.numpy = "2.4.0"
    moved = world.lock(TEXT.replace("numpy>=2", "numpy>=2.4"), before)
    assert moved.steps["train"].environments[AMD64].image is None


def test_a_base_that_changed_is_resolved_from_its_pins_and_drops_the_images_on_it() -> None:
    world = World()
    before = built(world.lock(TEXT))
    world.root = replace(world.root, packages=world.root.packages[:1])
    after = world.lock(TEXT.replace('debian = "bookworm"', 'debian = "bookworm"\npackages = ["libgomp1"]'), before)
    assert (world.bases, world.steps) == ([("slim", True)], [])
    assert after.steps["clean"].environments[AMD64].image is None
    assert after.steps["clean"].environments[AMD64].wheels == before.steps["clean"].environments[AMD64].wheels


def test_another_glibc_resolves_every_step_on_it_again() -> None:
    world = World()
    before = built(world.lock(TEXT))
    world.root = replace(world.root, glibc="2.41")
    world.lock(TEXT.replace('debian = "bookworm"', 'debian = "bookworm"\npackages = ["libgomp1"]'), before)
    assert sorted(world.steps) == ["clean", "train"]


def test_upgrading_everything_lets_go_of_the_base_too() -> None:
    world = World()
    before = world.lock(TEXT)
    world.lock(TEXT, before, Upgrade(everything=True))
    assert world.bases == [("slim", False)]
    assert sorted(world.steps) == ["clean", "train"]


def test_upgrading_a_package_resolves_only_the_steps_that_have_it() -> None:
    world = World()
    before = world.lock(TEXT)
    world.lock(TEXT, before, Upgrade.of(everything=False, packages=["Pandas"]))
    assert world.steps == []
    world.lock(TEXT, before, Upgrade.of(everything=False, packages=["NumPy"]))
    assert sorted(world.steps) == ["clean", "train"]


def test_a_name_that_is_none_cannot_be_upgraded() -> None:
    with pytest.raises(ResolutionError, match="cannot upgrade that"):
        Upgrade.of(everything=False, packages=["not a name"])


def test_a_new_step_leaves_the_others_alone() -> None:
    world = World()
    before = built(world.lock(TEXT))
    more = TEXT + '[step.report]\nbase = "slim"\npython = "3.11"\ncommand = ["true"]\n'
    after = world.lock(more, before)
    assert (world.bases, world.steps) == ([], ["report"])
    assert after.steps["train"] == before.steps["train"]


def test_a_removed_step_is_gone() -> None:
    world = World()
    before = built(world.lock(TEXT))
    after = world.lock(TEXT.partition("[step.train]")[0], before)
    assert set(after.steps) == {"clean"}
    assert (world.bases, world.steps) == ([], [])


BROUGHT = TEXT.replace('python = "3.11"', 'python = "3.12"')


def test_a_step_brings_the_python_that_its_base_does_not_have() -> None:
    world = World()
    lock = world.lock(TEXT.replace('python = "3.11"', 'python = "3.12"', 1))
    assert world.interpreters == [("3.12", "linux/amd64")]
    clean, train = (lock.steps[name].environments[AMD64] for name in ("clean", "train"))
    assert (clean.interpreter, clean.archive) == ("3.12.11", interpreter("3.12.11"))
    assert (train.interpreter, train.archive) == ("3.11.2", None)


def test_steps_of_one_version_bring_one_python_and_a_base_may_have_none() -> None:
    world = World(root=replace(root(), python=""))
    lock = world.lock(BROUGHT)
    assert world.interpreters == [("3.12", "linux/amd64")]
    assert lock.interpreters == (interpreter("3.12.11"),)


def test_a_python_that_is_pinned_stays_until_an_upgrade() -> None:
    world = World()
    before = built(world.lock(BROUGHT))
    world.patch = 12
    assert world.lock(BROUGHT, before) == before
    assert world.interpreters == []
    after = world.lock(BROUGHT, before, Upgrade(everything=True))
    assert {step.environments[AMD64].interpreter for step in after.steps.values()} == {"3.12.12"}
    assert sorted(world.steps) == ["clean", "train"]


def test_a_new_step_brings_the_python_that_the_others_have() -> None:
    world = World()
    before = world.lock(BROUGHT)
    world.patch = 12
    more = BROUGHT + '[step.report]\nbase = "slim"\npython = "3.12"\ncommand = ["true"]\n'
    after = world.lock(more, before)
    assert world.interpreters == []
    assert world.steps == ["report"]
    assert after.steps["report"].environments[AMD64].archive == interpreter("3.12.11")


def test_a_step_that_takes_its_bases_python_again_is_resolved_again() -> None:
    world = World()
    before = built(world.lock(BROUGHT))
    after = world.lock(TEXT, before)
    assert sorted(world.steps) == ["clean", "train"]
    assert after.interpreters == ()
    assert after.steps["clean"].environments[AMD64].image is None


@pytest.mark.parametrize(("glibc", "said"), [("", "no glibc"), ("2.12", "glibc 2.12")])
def test_a_base_that_cannot_run_the_python_is_named(glibc: str, said: str) -> None:
    world = World(root=replace(root(), glibc=glibc, python=""))
    with pytest.raises(ResolutionError, match=r"step clean cannot have Python 3\.12 on base slim") as caught:
        world.lock(BROUGHT)
    assert said in caught.value.why


def test_compiling_changes_the_image_but_no_pin() -> None:
    world = World()
    before = built(world.lock(TEXT))
    after = world.lock(TEXT.replace('python = "3.11"', 'python = "3.11"\nbytecode = true', 1), before)
    assert (world.bases, world.steps) == ([], [])
    assert after.steps["clean"].environments[AMD64].image is None
    assert after.steps["train"] == before.steps["train"]


# What CUDA follows from the pins


def cuda_of(lock: Lock) -> str:
    facts = lock.steps["clean"].environments[AMD64].cuda
    return facts.runtime if facts else ""


def test_cuda_is_derived_and_derived_again_where_nothing_is_resolved() -> None:
    world = World(runtime="12.8.90")
    lock = built(world.lock(TEXT))
    assert cuda_of(lock) == "12.8"
    step = lock.steps["clean"]
    before = replace(step, environments={AMD64: replace(step.environments[AMD64], cuda=None)})
    again = world.lock(TEXT, replace(lock, steps={**lock.steps, "clean": before}))
    assert (world.steps, cuda_of(again)) == ([], "12.8")
    assert again.steps["clean"].environments[AMD64].image == digest("clean")  # which the facts are no part of


def test_another_backend_of_pytorch_resolves_its_step_anew() -> None:
    world = World()
    lock = world.lock(TEXT)
    asked = TEXT.replace('["numpy<2"]', '["numpy<2"]\ntorch-backend = "cu128"')
    assert world.lock(asked, lock).steps["clean"].torch_backend == "cu128"
    assert world.steps == ["clean"]


def test_settings_are_asked_for_without_anything_resolved_anew() -> None:
    world = World()
    lock = built(world.lock(TEXT))
    again = world.lock(TEXT.replace('["numpy<2"]', '["numpy<2"]\ndeterministic = true'), lock)
    assert world.steps == []
    assert again.steps["clean"].deterministic["PYTHONHASHSEED"] == "0"
    assert again.steps["clean"].environments[AMD64].image == digest("clean")


@pytest.mark.parametrize(("driver", "fine"), [("<525", False), ("==470.*", False), ("<530", True), (">=550", True)])
def test_a_driver_that_cannot_run_the_steps_cuda_is_refused(driver: str, fine: bool) -> None:
    asked = f'{TEXT}[step.train.gpu]\ndriver = "{driver}"\n'
    if fine:
        World(runtime="12.8.90").lock(asked)
        return
    with pytest.raises(ResolutionError) as caught:
        World(runtime="12.8.90").lock(asked)
    assert caught.value.what == "step train asks for a driver that cannot run its CUDA"
    assert "CUDA 12.8, from nvidia-cuda-runtime-cu12 12.8.90, needs 525.60.13 or newer" in caught.value.why


def test_every_step_with_such_a_driver_is_told_at_once() -> None:
    tables = "".join(f'[step.{name}.gpu]\ndriver = "<{driver}"\n' for name, driver in (("clean", 500), ("train", 525)))
    with pytest.raises(ResolutionError) as caught:
        World(runtime="12.8.90").lock(TEXT + tables)
    assert caught.value.what == "steps clean, train ask for drivers that cannot run their CUDA"
    assert [line.partition(",")[0] for line in caught.value.why.splitlines()] == [
        "clean: gpu.driver is <500",
        "train: gpu.driver is <525",
    ]


@pytest.mark.parametrize(
    ("driver", "cuda", "branches", "fine"),
    [
        ("<580", "13.1", (535, 550), True),
        ("==535.*", "13.1", (535, 550), True),
        ("==545.*", "13.1", (535, 550), False),
        ("<500", "13.1", (535, 550), False),
        ("<580", "12.9", (535, 550), False),  # it brings an older CUDA than the step's
        ("<500", "13.1", (), True),  # it does not say for which drivers it is
    ],
)
def test_a_driver_that_the_bases_compat_package_bridges_is_not_refused(
    driver: str, cuda: str, branches: tuple[int, ...], *, fine: bool
) -> None:
    asked = f'{TEXT}[step.train.gpu]\ndriver = "{driver}"\n'.replace(
        'debian = "bookworm"', 'image = "a.example/cuda:1"'
    )
    compat = CudaCompat(cuda=cuda, driver="590.44.01", branches=branches, path="/usr/local/cuda/compat")
    world = World(runtime="13.1.80", compat=compat)
    if fine:
        world.lock(asked)
        return
    with pytest.raises(ResolutionError, match="the base's cuda-compat is of CUDA") as caught:
        world.lock(asked)
    assert caught.value.what == "step train asks for a driver that cannot run its CUDA"
