"""Looking into an image: once, with the packages asked for once, and never where it cannot be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from found import AMD64, SITE, base, library

from repro_env.build.inspect import Inspected, inspect_image
from repro_env.build.missing_findings import Packages
from repro_env.image.layer import Layer
from repro_env.image.libraries import LayerLibraries, remember_libraries
from repro_env.image.oci import Image, write_image
from repro_env.image.store import Store
from repro_env.values import Digest

GL = Packages({"libGL.so.1": "libgl1"}, {"libgl1": ["libx11-6"]})
NEEDY = LayerLibraries(files=(library(f"{SITE}/cv2/cv2.abi3.so", "libGL.so.1"),))


class Asked:
    """Who is asked for packages, and how often."""

    def __init__(self, *answers: Packages | None) -> None:
        self.answers = list(answers)
        self.questions: list[Sequence[str]] = []

    def __call__(self, libraries: Sequence[str]) -> Packages | None:
        self.questions.append(libraries)
        return self.answers.pop(0)


def image_of(store: Store, *layers: LayerLibraries | None, env: Mapping[str, str] | None = None) -> Digest:
    """Write an image of layers of which this is known, or nothing."""
    made = []
    for number, libraries in enumerate(layers):
        digest = Digest.of(f"layer {number}".encode())
        made.append(Layer(digest=digest, diff_id=digest, size=1, unpacked=1))
        if libraries is not None:
            remember_libraries(store, digest, libraries)
    return write_image(Image(platform=AMD64, layers=tuple(made), env=env or {}), store)


def look(
    store: Store, image: Digest, asked: Asked, *, again: bool = False, variables: Mapping[str, str] | None = None
) -> Inspected:
    inspected = inspect_image(store, image, variables or {}, packages=asked, again=again)
    assert inspected is not None
    return inspected


def test_what_is_missing_is_found_and_asked_for_once(store: Store) -> None:
    image, asked = image_of(store, base(), NEEDY), Asked(GL)
    first = look(store, image, asked)
    assert not first.clean
    assert [finding["libraries"] for finding in first.missing["findings"]] == [["libGL.so.1"]]
    assert first.packages == GL
    (store.root / "derived" / "libraries").rename(store.root / "elsewhere")
    assert look(store, image, asked) == first
    assert look(store, image, asked, again=True) == first
    assert asked.questions == [["libGL.so.1"]]


def test_nobody_is_asked_about_an_image_that_lacks_nothing(store: Store) -> None:
    asked = Asked()
    assert look(store, image_of(store, base()), asked).clean
    assert asked.questions == []


def test_who_could_not_be_asked_is_asked_again_only_after_another_build(store: Store) -> None:
    image, asked = image_of(store, base(), NEEDY), Asked(None, GL)
    assert look(store, image, asked).packages == Packages()
    assert look(store, image, asked).packages == Packages()
    assert len(asked.questions) == 1
    assert look(store, image, asked, again=True).packages == GL
    assert look(store, image, asked).packages == GL


def test_the_linkers_variable_of_the_image_and_of_the_step_counts(store: Store) -> None:
    hidden = library("srv/libGL.so.1", needs={}, defines=("A",))
    user = library(f"{SITE}/cv2/cv2.abi3.so", needs={"libGL.so.1": ("B",)})
    newer = library("opt/libGL.so.1", defines=("A", "B"))
    layers = (base(), LayerLibraries(files=(hidden, user)))
    image = image_of(store, *layers, env={"LD_LIBRARY_PATH": "/srv"})
    assert not look(store, image, Asked(Packages())).clean
    with_newer = image_of(store, *layers, LayerLibraries(files=(newer,)), env={"LD_LIBRARY_PATH": "/srv"})
    assert look(store, with_newer, Asked(), variables={"LD_LIBRARY_PATH": "/opt"}).clean


@pytest.mark.parametrize("again", [True, False])
def test_an_image_whose_layers_are_elsewhere_is_not_judged(store: Store, again: bool) -> None:
    image = image_of(store, None, NEEDY)
    assert inspect_image(store, image, {}, packages=Asked(), again=again) is None
    remember_libraries(store, Digest.of(b"layer 0"), base())
    assert not look(store, image, Asked(GL), again=again).clean


@pytest.mark.parametrize("document", [{}, {"missing": []}, {"missing": {"findings": []}, "packages": {}}])
def test_what_is_remembered_in_another_form_is_found_anew(store: Store, document: dict[str, object]) -> None:
    image = image_of(store, base(), NEEDY)
    first = look(store, image, Asked(GL))
    (path,) = (store.root / "derived" / "missing").iterdir()
    store.remember("missing", path.stem, document)
    assert look(store, image, Asked(GL)) == replace(first)
