"""Which wheels share a layer, and the layer that makes `/opt/env` a virtual environment."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from layers import read_layer
from locks import image_root, root

from repro_env.build.interpreter import interpreter_layer
from repro_env.build.layout import ALONE_FROM, MOST_LAYERS, group_wheels, most_alone
from repro_env.image.store import Store
from repro_env.lock.model import Wheel
from repro_env.values import Digest, PythonVersion

MOST = most_alone(None, bytecode=False)


def wheel(name: str, size: int) -> Wheel:
    file = f"{name}-1.0-py3-none-any.whl"
    return Wheel(name=name, version="1.0", file=file, url="", sha256=Digest.of(name.encode()), size=size)


def test_large_wheels_stand_alone_in_the_order_of_names() -> None:
    wheels = [wheel("c", ALONE_FROM), wheel("b", ALONE_FROM - 1), wheel("a", 10 * ALONE_FROM), wheel("d", 0)]
    alone, bundle = group_wheels(wheels, MOST)
    assert [each.name for each in alone] == ["a", "c"]
    assert [each.name for each in bundle] == ["b", "d"]


def test_no_wheels_no_groups() -> None:
    assert group_wheels([], MOST) == ((), ())


def test_adding_a_package_moves_no_other() -> None:
    chance = random.Random(6)
    wheels = [wheel(f"p{number:02}", chance.randrange(3 * ALONE_FROM)) for number in range(60)]
    for added in wheels:
        before, _ = group_wheels((each for each in wheels if each is not added), MOST)
        after, _ = group_wheels(wheels, MOST)
        assert [each for each in after if each is not added] == list(before)


def test_more_than_an_image_holds_raises_the_threshold() -> None:
    wheels = [wheel(f"p{number:03}", ALONE_FROM + number) for number in range(150)]
    alone, bundle = group_wheels([*wheels, wheel("huge", 100 * ALONE_FROM)], MOST)
    assert [each.name for each in alone] == ["huge"]
    assert len(bundle) == 150
    assert len(group_wheels(wheels[:MOST], MOST)[0]) == MOST
    assert group_wheels(wheels, 0) == ((), tuple(wheels))


def test_the_layers_of_the_base_and_of_byte_code_count() -> None:
    thirty = replace(image_root(), layers=image_root().layers * 15)
    full = replace(image_root(), layers=image_root().layers * 60)
    assert most_alone(None, bytecode=False) == most_alone(root(), bytecode=False) == MOST
    assert most_alone(thirty, bytecode=False) == MOST - 27
    assert 2 * most_alone(thirty, bytecode=True) + 30 < MOST_LAYERS
    assert most_alone(full, bytecode=True) == most_alone(full, bytecode=False) == 0


def test_the_interpreter_layer_is_a_virtual_environment(store: Store, tmp_path: Path) -> None:
    minor = sys.version_info[1]
    version = PythonVersion(minor)
    program = Path(sys.base_prefix) / "bin" / f"python{version}"
    layer = interpreter_layer(version, f"3.{minor}.0", store, program=str(program))
    found = read_layer(store, layer)
    assert found["opt/env/bin/python"].link == found["opt/env/bin/python3"].link == f"python{version}"
    assert found[f"opt/env/bin/python{version}"].link == str(program)
    for mount in ("repro/code", "repro/input", "repro/output", f"opt/env/lib/python{version}/site-packages"):
        assert found[mount].kind == "directory"
    subprocess.run(["tar", "-xzf", store.blob(layer.digest), "-C", tmp_path], check=True)
    asked = "import sys, sysconfig; print(sys.prefix, sysconfig.get_path('purelib'), sysconfig.get_path('scripts'))"
    words = [str(tmp_path / "opt/env/bin/python"), "-I", "-c", asked]
    prefix, packages, scripts = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    assert Path(prefix) == tmp_path / "opt/env"
    assert Path(packages) == tmp_path / f"opt/env/lib/python{version}/site-packages"
    assert Path(scripts) == tmp_path / "opt/env/bin"
