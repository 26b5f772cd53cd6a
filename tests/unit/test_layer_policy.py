"""What of an image is written anew when its packages change: the layers of whole environments, side by side."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from layers import files_of, keep_wheel
from wheelmaker import WheelRecipe, make_wheel

from repro_env.build import layout
from repro_env.build.environment import Assembler
from repro_env.edges.report import Silent
from repro_env.errors import BuildError
from repro_env.image.layer import Layer
from repro_env.image.store import Store
from repro_env.lock.model import Environment, ImageRoot, Lock, LockedBase, LockedStep, Wheel
from repro_env.values import Digest, Platform, PythonVersion

AMD64 = Platform("amd64")
NOTHING = Digest.of(b"")
BARE = ImageRoot(
    manifest=NOTHING, config=NOTHING, glibc="2.36", python="3.11.2", interpreter="/usr/bin/python3.11", layers=()
)


@pytest.fixture(autouse=True)
def _small_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "ALONE_FROM", 10_000)


class Shop:
    """Wheels in a store, and the layers of environments made of them."""

    def __init__(self, directory: Path, store: Store) -> None:
        self.directory, self.store = directory, store
        self.names: dict[Digest, str] = {}

    def wheel(self, name: str, size: int = 10, version: str = "1.0", **files: bytes) -> Wheel:
        noise = random.Random(name + version).randbytes(size)  # does not compress
        contents = {f"{name}/data": noise, **{f"{path}.py": content for path, content in files.items()}}
        return keep_wheel(
            self.store, make_wheel(self.directory, WheelRecipe(name=name, version=version, files=contents))
        )

    def layers(self, wheels: Sequence[Wheel], workers: int = 2) -> list[Layer]:
        """Return the layers above the virtual environment's."""
        environment = Environment(interpreter="3.11.2", wheels=tuple(sorted(wheels)))
        step = LockedStep(
            name="s", base="b", python=PythonVersion(11), command=("true",), environments={AMD64: environment}
        )
        bases = {"b": LockedBase(name="b", image="bare", roots={AMD64: BARE})}
        lock = Lock(project="p", inputs={}, bases=bases, steps={"s": step}, data={})
        return list(Assembler(self.store, workers, Silent()).image(lock, step, AMD64).layers[1:])


@pytest.fixture
def shop(tmp_path: Path, store: Store) -> Shop:
    (tmp_path / "wheels").mkdir()
    return Shop(tmp_path / "wheels", store)


def test_a_small_package_that_is_added_rewrites_only_the_bundle(shop: Shop) -> None:
    large = [shop.wheel(name, 20_000) for name in ("numpy", "pandas", "torch")]
    small = [shop.wheel(name) for name in ("click", "six")]
    before = shop.layers([*large, *small])
    after = shop.layers([*large, *small, shop.wheel("idna")])
    assert len(before) == len(after) == 4
    assert before[:3] == after[:3]
    assert before[3].digest != after[3].digest
    assert [layer.comment for layer in after] == [
        "numpy 1.0",
        "pandas 1.0",
        "torch 1.0",
        "click 1.0, idna 1.0, six 1.0",
    ]


def test_a_large_package_that_is_added_or_upgraded_rewrites_nothing_else(shop: Shop) -> None:
    large = [shop.wheel(name, 20_000) for name in ("numpy", "torch")]
    small = [shop.wheel("six")]
    before = shop.layers([*large, *small])
    added = shop.layers([*large, *small, shop.wheel("pandas", 20_000)])
    assert [layer for layer in added if layer in before] == before
    upgraded = shop.layers([large[0], shop.wheel("torch", 20_000, "2.0"), *small])
    assert [old == new for old, new in zip(before, upgraded, strict=True)] == [True, False, True]


def test_two_steps_share_the_layers_of_the_large_packages_they_share(shop: Shop) -> None:
    shared = [shop.wheel(name, 20_000) for name in ("numpy", "torch")]
    one = shop.layers([*shared, shop.wheel("six")])
    blobs = {path.name for path in shop.store.blobs.iterdir()}
    other = shop.layers([*shared, shop.wheel("idna")])
    made = {path.name for path in shop.store.blobs.iterdir()} - blobs
    assert one[:2] == other[:2]
    assert made == {other[2].digest.hex, *(wheel.sha256.hex for wheel in [shop.wheel("idna")])}


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_the_order_depends_on_nothing_but_names(shop: Shop, workers: int) -> None:
    wheels = [shop.wheel(f"p{number}", 5_000 * number) for number in range(8)]
    first = shop.layers(wheels)
    for seed in range(3):
        random.Random(seed).shuffle(wheels)
        assert shop.layers(wheels, workers) == first


def test_more_large_packages_than_layers_end_in_an_image_within_the_limit(shop: Shop) -> None:
    wheels = [shop.wheel(f"p{number:03}", 10_000 + 100 * number) for number in range(130)]
    layers = shop.layers(wheels)
    assert len(layers) < layout.MOST_LAYERS
    held = {path for layer in layers for path in files_of(shop.store, layer)}
    assert {f"opt/env/lib/python3.11/site-packages/{wheel.name}/data" for wheel in wheels} <= held


@pytest.mark.parametrize(("first", "second"), [(10, 10), (20_000, 10), (20_000, 20_000)])
def test_two_packages_that_write_one_file_are_named_wherever_they_stand(shop: Shop, first: int, second: int) -> None:
    wheels = [shop.wheel("one", first, shared=b"a"), shop.wheel("two", second, shared=b"b"), shop.wheel("six")]
    with pytest.raises(BuildError, match="two packages write one file") as caught:
        shop.layers(wheels)
    assert "shared.py" in caught.value.why
    assert "one-1.0" in caught.value.why
    assert "two-1.0" in caught.value.why


def test_two_packages_may_write_one_file_with_one_content(shop: Shop) -> None:
    layers = shop.layers([shop.wheel("one", 20_000, shared=b"a"), shop.wheel("two", 10, shared=b"a")])
    assert len(layers) == 2
