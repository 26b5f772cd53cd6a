"""From the library in a wheel to the line of the lock: noted with the layer, remembered, recorded once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from fatmaker import PTX, SASS, THIS_ONE, container, entry, gpu_elf
from layers import PYTHON, keep_wheel, layer_of
from locks import AMD64, churn, digest
from wheelmaker import WheelRecipe, make_wheel

from repro_env.build.code import Code
from repro_env.build.environment import Assembler
from repro_env.build.gpu_code import gpu_code_document, recorded_gpu_code, with_gpu_code
from repro_env.build.images import keep_newer, record_environments
from repro_env.build.native import Built
from repro_env.edges.report import Silent
from repro_env.image.store import Store
from repro_env.image.wheel_layer import wheel_layer
from repro_env.lock.gpu_code import GpuCode
from repro_env.lock.model import DebianRoot, Environment, Lock
from repro_env.values import Digest, PythonVersion

HOPPER = gpu_elf((".nv_fatbin", container(entry(SASS, 90, flags=THIS_ONE), entry(PTX, 90, version=(8, 4)))))
VOLTA = gpu_elf((".nv_fatbin", container(entry(SASS, 70))), text=bytes(3 << 20))
BROKEN = gpu_elf((".nv_fatbin", b"nonsense" * 4))

FILES = {
    "shape/core.so": HOPPER,
    "shape/old.so": VOLTA,
    "shape/odd.so": BROKEN,
    "shape/plain.so": gpu_elf(),
    "shape/notes.txt": HOPPER[1:],
    "shape-1.0.data/scripts/tool": HOPPER,
    "shape-1.0.data/data/lib/libtool.so": VOLTA,
}
CARRIED = (
    GpuCode(path="../../../bin/tool", sass=("90a",), ptx=("90/8.4",)),
    GpuCode(path="../../libtool.so", sass=("70",)),
    GpuCode(path="shape/core.so", sass=("90a",), ptx=("90/8.4",)),
    GpuCode(path="shape/odd.so", unknown="something else stands between its containers of GPU code"),
    GpuCode(path="shape/old.so", sass=("70",)),
)


def shape(directory: Path, *, name: str = "shape", files: Mapping[str, bytes] = FILES) -> Path:
    return make_wheel(directory, WheelRecipe(name=name, files=files, stored=frozenset({"shape/old.so"})))


def test_a_layer_knows_what_its_wheels_carry_and_remembers_it(store: Store, tmp_path: Path) -> None:
    wheel = keep_wheel(store, shape(tmp_path))
    plain = keep_wheel(store, make_wheel(tmp_path, WheelRecipe(name="plain", files={"plain.py": b""})))
    made = wheel_layer([wheel, plain], PYTHON, store, layout=1, comment="")
    assert made.gpu_code == {wheel.sha256: CARRIED}
    again = wheel_layer([wheel, plain], PYTHON, store, layout=1, comment="")
    assert again == made


def test_the_interpreter_makes_no_difference(store: Store, tmp_path: Path) -> None:
    wheel = keep_wheel(store, shape(tmp_path))
    other = wheel_layer([wheel], PythonVersion(9), store, layout=1, comment="")
    assert other.gpu_code == layer_of(store, shape(tmp_path)).gpu_code


def test_looking_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = layer_of(Store(tmp_path / "seen"), shape(tmp_path))
    monkeypatch.setattr("repro_env.image.gpu.observer.GpuObserver.begin", lambda *_given: None)
    blind = layer_of(Store(tmp_path / "blind"), shape(tmp_path))
    assert (blind.layer, blind.paths) == (seen.layer, seen.paths)
    assert seen.gpu_code
    assert not blind.gpu_code


def test_a_file_that_two_wheels_share_is_of_both(store: Store, tmp_path: Path) -> None:
    files = {"shared/core.so": HOPPER}
    wheels = [keep_wheel(store, shape(tmp_path, name=name, files=files)) for name in ("one", "two")]
    code = (GpuCode(path="shared/core.so", sass=("90a",), ptx=("90/8.4",)),)
    assert wheel_layer(wheels, PYTHON, store, layout=1, comment="").gpu_code == {wheel.sha256: code for wheel in wheels}


def test_what_was_remembered_otherwise_is_made_again(store: Store, tmp_path: Path) -> None:
    made = layer_of(store, shape(tmp_path))
    (remembered,) = [path for path in store.root.rglob("*") if path.is_file() and b'"gpu_code"' in path.read_bytes()]
    text = remembered.read_text()
    for damaged in (text.replace("90a", "sm_90a"), text.replace('"gpu_code"', '"gpu"')):
        remembered.write_text(damaged)
        assert layer_of(store, shape(tmp_path)) == made
        assert remembered.read_text() == text


def built(lock: Lock, step: str, found: Mapping[Digest, tuple[GpuCode, ...]], *, update: bool = False) -> Lock:
    """Return the lock as it is after a step's environment was built, in which this was found."""
    environment = lock.steps[step].environments[AMD64]
    image = digest(f"environment of {step}")
    done = Built(
        step=step,
        platform=AMD64,
        environment=image,
        packaged=image,
        image=image,
        reference="churn/clean",
        size=1,
        layers=1,
        reused=False,
        code=Code(files=()),
        gpu_code=recorded_gpu_code(with_gpu_code(lock, environment, found, update=update), environment),
    )
    assert hash(done) is not None
    return record_environments(lock, [done], Store(Path("/nowhere")), update=update)


def unbuilt(lock: Lock) -> Lock:
    steps = {
        name: replace(step, environments={AMD64: replace(step.environments[AMD64], image=None)})
        for name, step in lock.steps.items()
    }
    return replace(lock, steps=steps)


CODE = (GpuCode(path="six.so", sass=("90",)),)
OTHER = (GpuCode(path="six.so", sass=("80",)),)
SIX = next(wheel.sha256 for wheel in churn().wheels if wheel.name == "six")


def test_the_first_build_that_has_a_wheel_says_what_it_carries() -> None:
    lock = built(unbuilt(churn()), "clean", {SIX: CODE, digest("not of this environment"): CODE})
    assert lock.gpu_code == {SIX: CODE}
    assert built(lock, "train", {SIX: OTHER}).gpu_code == {SIX: CODE}
    assert built(lock, "clean", {}).gpu_code == {SIX: CODE}


def test_that_a_wheel_carries_nothing_stands_too() -> None:
    lock = built(unbuilt(churn()), "clean", {})
    assert built(lock, "train", {SIX: CODE}).gpu_code == {}


def test_an_update_takes_what_is_found_now() -> None:
    lock = built(unbuilt(churn()), "clean", {SIX: CODE})
    assert built(lock, "clean", {SIX: OTHER}, update=True).gpu_code == {SIX: OTHER}
    assert built(lock, "clean", {}, update=True).gpu_code == {}


def test_what_another_command_wrote_meanwhile_keeps_its_wheels() -> None:
    before = unbuilt(churn())
    recorded = built(before, "clean", {SIX: CODE})
    assert keep_newer(replace(before, project="other"), before, recorded).gpu_code == {SIX: CODE}
    without = {name: step for name, step in before.steps.items() if name == "train"}
    bare = {
        name: replace(step, environments={AMD64: Environment(interpreter="3.11.2", wheels=())})
        for name, step in without.items()
    }
    assert keep_newer(replace(before, steps=bare), before, recorded).gpu_code == {}


def test_it_is_shown_to_programs() -> None:
    lock = replace(churn(), gpu_code={SIX: (*CODE, GpuCode(path="x.so", unknown="it is odd"))})
    document = gpu_code_document(recorded_gpu_code(lock, lock.steps["clean"].environments[AMD64]))
    assert document == [
        {
            "package": "six",
            "version": "1.17.0",
            "sha256": SIX.hex,
            "libraries": [
                {"path": "six.so", "sass": ["90"], "ptx": [], "amd": []},
                {"path": "x.so", "sass": [], "ptx": [], "amd": [], "unknown": "it is odd"},
            ],
        }
    ]


def test_an_environment_gathers_what_its_layers_have(store: Store, tmp_path: Path) -> None:
    wheel = keep_wheel(store, shape(tmp_path))
    lock = churn()
    environment = Environment(interpreter="3.11.2", wheels=(wheel,))
    step = replace(lock.steps["clean"], environments={AMD64: environment})
    bare = DebianRoot(glibc="2.36", python="3.11.2", sources=(), packages=())
    lock = replace(lock, bases={"slim": replace(lock.bases["slim"], roots={AMD64: bare})}, steps={"clean": step})
    made = Assembler(store, 1, Silent()).assemble(lock, step, AMD64)
    assert made.gpu_code == {wheel.sha256: CARRIED}
